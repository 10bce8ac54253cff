"""The service writes nowhere but into its home: here every other file system is read-only for it, as in a container."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
APART = (
    ["unshare", "--mount"]
    if os.geteuid() == 0
    else ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
)
# What the kernel shows or gives as memory and devices is left as it is; everything that keeps files is closed.
CLOSED = r"""
set -e
mount --bind "$HOME_OF_TEST" "$HOME_OF_TEST"
while read -r _ _ _ _ point _; do
    point=$(printf '%b' "$point")
    case $point in "$HOME_OF_TEST" | /proc* | /sys* | /dev*) ;; *) mount -o remount,bind,ro "$point" ;; esac
done </proc/self/mountinfo
for folder in /tmp /var/tmp "$PWD"; do
    if touch "$folder/written" 2>/dev/null; then echo "$folder can be written to" >&2; exit 9; fi
done
exec "$@"
"""
SECONDS = 120


def can_be_closed() -> bool:
    with tempfile.TemporaryDirectory() as home:
        command = [*APART, "bash", "-c", CLOSED, "bash", "true"]
        try:
            tried = subprocess.run(command, env=os.environ | {"HOME_OF_TEST": home}, capture_output=True, check=False)
        except FileNotFoundError:
            return False
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(not can_be_closed(), reason="no file system can be made read-only for one process here")


@pytest.fixture
def home() -> Iterator[Path]:
    """Short enough for a socket's path: the socket of a longer home lies in the temporary folder, which is closed here."""
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        yield Path(folder)


@pytest.fixture
def address(home: Path) -> Iterator[str]:
    """The address of a service on `home`."""
    variables = {"HOME_OF_TEST": home, "SHELFCAST_HOME": home, "TMPDIR": home, "SHELFCAST_PORT": 0}
    service = subprocess.Popen(
        [*APART, "bash", "-c", CLOSED, "bash", sys.executable, "-m", "app.cli", "serve"],
        env=os.environ | {name: str(value) for name, value in variables.items()} | {"PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    try:
        said = service.stdout.readline()
        found = re.search(r"ready on (\S+)", said)
        assert found is not None, f"said {said!r} and ended with {service.wait(SECONDS)}"
        yield found.group(1)
    finally:
        service.terminate()
        code = service.wait(SECONDS)
        service.stdout.close()
    assert code == 0


def test_all_that_is_written_lies_in_the_home(address: str, home: Path) -> None:
    headers = {"Authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
    rows = "sku,date,quantity\n" + "".join(
        f"A-{n},2026-11-{day:02},{n}\n" for n in range(3_000) for day in range(1, 24)
    )
    with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
        posted = client.post(
            "/v1/sales", content=rows, headers={"Content-Type": "text/csv"}
        )  # larger than is kept in memory
        assert posted.status_code == 200, posted.text
        job = client.post("/v1/training-jobs", json={"model": "lstm"}).json()["id"]
        assert ended(client, job)["error"]["code"] == "not_trainable"  # 23 days: the child came as far as reading them
        assert client.get("/v1/forecasts", params={"sku": "A-7"}).json()["fallback"]["reason"] == "no_champion"


def ended(client: httpx.Client, job: str) -> dict[str, dict[str, str]]:
    deadline = time.monotonic() + SECONDS
    while True:
        found: dict[str, dict[str, str]] = client.get(f"/v1/training-jobs/{job}").json()
        if found["finished_at"]:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.1)
