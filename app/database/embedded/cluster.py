"""The data directory of the embedded Postgres: made, recognised, and who may connect to it.

Processes are in postmaster.py; this file runs only `initdb`, to the end.
"""

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.database.embedded.home import Account, EmbeddedPostgresError, account, binary, service_user, sync_method

MAJOR = "18"
ADMIN, ROLE, DATABASE = "postgres", "shelfcast", "shelfcast"
_UNFINISHED = "data.unfinished"
# One locale on every machine, whatever the C library knows, and checksums on every page.
_INITDB = (
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    f"--username={ADMIN}",
    "--auth-local=peer",
    "--auth-host=reject",
    "--no-instructions",
)


@dataclass(frozen=True)
class PidFile:
    """The lines of postmaster.pid that matter here."""

    pid: int
    sockets: Path
    ready: bool


class Cluster:
    """`folder` (mode 0700, the service's) holds `data` (Postgres' own) and, where it fits, the socket."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "postgres"
        self.data = self.folder / "data"
        self.log = home / "postgres.log"

    @property
    def name(self) -> str:
        """In the title of every process of this cluster; a moved home keeps it, a copied one gets its own."""
        found = self.data.stat()
        return f"shelfcast-{found.st_dev:x}-{found.st_ino:x}"

    async def make(self) -> None:
        """Makes the data directory unless it is there, whole or not at all: initdb uses another name."""
        self._discard_unfinished()
        if self.data.is_dir() and not any(self.data.iterdir()):
            self.data.rmdir()
        if self.data.exists():
            self._check_version()
            return
        unfinished = self.folder / _UNFINISHED
        owner = account()
        unfinished.mkdir(mode=0o700)
        if owner.switch:
            os.chown(unfinished, owner.uid, owner.gid)
        await _initdb(unfinished, owner)
        unfinished.rename(self.data)
        _sync_directory(self.folder)

    def _check_version(self) -> None:
        marker = self.data / "PG_VERSION"
        if not marker.is_file():
            raise EmbeddedPostgresError(
                f"{self.data} is not a Postgres data directory (no PG_VERSION). "
                "Move it away, or restore a back-up there."
            )
        found = marker.read_text().strip()
        if found != MAJOR:
            raise EmbeddedPostgresError(
                f"{self.data} was made by Postgres {found}, this Shelfcast brings Postgres {MAJOR}. "
                "Dump it with the version that made it (pg_dump) and load the dump into a new home; "
                "the directory was left untouched."
            )

    def _discard_unfinished(self) -> None:
        """Ends an initdb that outlived a killed service, and removes what it had made."""
        unfinished = self.folder / _UNFINISHED
        if not unfinished.exists():
            return
        for process in psutil.process_iter():
            command = _command(process)
            if str(unfinished) in command and "initdb" in (Path(word).name for word in command):
                psutil.wait_procs(_kill_family(process.pid), timeout=5)
        shutil.rmtree(unfinished)

    def write_access(self) -> bool:
        """Lets in the service's OS user, on the local socket, and no one else. True when files changed."""
        user = '"' + service_user().replace('"', '""') + '"'
        hba = "".join(f"local {database} all peer map=shelfcast\n" for database in ("all", "replication"))
        ident = "".join(f"shelfcast {user} {role}\n" for role in (ADMIN, ROLE))
        texts = {"pg_hba.conf": hba, "pg_ident.conf": ident}
        changed = {name: text for name, text in texts.items() if (self.data / name).read_text() != text}
        for name, text in changed.items():
            self._replace(self.data / name, text)
        return bool(changed)

    def _replace(self, path: Path, text: str) -> None:
        owner = self.data.stat()
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fchown(file.fileno(), owner.st_uid, -1)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def pid_file(self) -> PidFile | None:
        """postmaster.pid, or None while there is none or it is still being written."""
        try:
            lines = os.fsdecode((self.data / "postmaster.pid").read_bytes()).splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 5 or not lines[0].strip().isdigit():
            return None
        return PidFile(int(lines[0]), Path(lines[4]), len(lines) > 7 and lines[7].strip() == "ready")

    def discard_stale_lock(self) -> None:
        """Removes postmaster.pid when its process id now belongs to another program; Postgres would believe it.

        Only for a cluster without processes. Postgres itself sees through a number that belongs to nobody.
        """
        found = self.pid_file()
        if found is None or not _is_postgres(found.pid):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def processes(self) -> list[psutil.Process]:
        """Every live process of this cluster, known by the name in its title."""
        if not self.data.exists():
            return []
        name = self.name
        return [process for process in psutil.process_iter() if _shows(_command(process), name)]


async def _initdb(target: Path, owner: Account) -> None:
    process = await asyncio.create_subprocess_exec(
        *owner.switch,
        str(binary("initdb")),
        *_INITDB,
        f"--sync-method={sync_method()}",
        "-D",
        str(target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env=process_environment(),
        cwd="/",
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        _kill_family(process.pid)
        await process.wait()
        raise
    if process.returncode != 0:
        shutil.rmtree(target)
        last = "\n".join(output.decode(errors="replace").splitlines()[-8:])
        raise EmbeddedPostgresError(f"The database could not be set up in {target.parent}. initdb said:\n{last}")


def process_environment() -> dict[str, str]:
    """What Postgres programs see: no PG* variable of the caller may change what they do."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def _shows(command: list[str], name: str) -> bool:
    """Whether a command line is that of a postmaster or a backend of the cluster `name`."""
    if not command:
        return False
    postmaster = Path(command[0]).name == "postgres" and f"--cluster_name={name}" in command
    return postmaster or command[0].startswith(f"postgres: {name}: ")


def _is_postgres(pid: int) -> bool:
    if not psutil.pid_exists(pid):
        return False
    command = _command(psutil.Process(pid))
    return bool(command) and (Path(command[0]).name == "postgres" or command[0].startswith("postgres: "))


def _kill_family(pid: int) -> list[psutil.Process]:
    """Kills a process and its children; what was killed."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    return family


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
