"""An artifact comes back as it was saved, or not at all with the file that is at fault named."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import fsspec
import pytest

from app.errors import Problem
from app.registry import artifacts
from app.registry.artifacts import ArtifactDamaged, ArtifactMissing, load, save
from app.registry.serving import load_forecaster
from tests.registry.support import a_forecaster, flip_byte, weights_of

JOB = uuid.UUID(int=1)


@pytest.fixture(params=["folder", "file URL", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder that is not there yet, with a space in its path, also as a URL; and an object store."""
    folder = tmp_path / "a home" / "artifacts"
    if request.param != "memory":
        yield f"file://{folder}" if request.param == "file URL" else str(folder)
        return
    yield f"memory://{uuid.uuid4().hex}/artifacts"
    fsspec.filesystem("memory").store.clear()


def test_what_is_saved_comes_back_to_the_bit(location: str) -> None:
    weights, description = weights_of()
    artifact = save(location, weights, description, job_id=JOB)
    assert load(location, artifact.sha256) == (weights, description)
    loaded = load_forecaster(location, artifact.sha256)
    for name, tensor in a_forecaster().members[0].network.state_dict().items():
        assert loaded.members[0].network.state_dict()[name].equal(tensor)


def test_the_same_artifact_saved_again_is_the_same(location: str) -> None:
    weights, description = weights_of()
    first = save(location, weights, description, job_id=JOB)
    assert save(location, weights, description, job_id=JOB) == first
    assert artifacts.stored(location) == {first.sha256}


def test_the_bytes_told_are_those_on_disk(tmp_path: Path) -> None:
    artifact = save(str(tmp_path), *weights_of(), job_id=JOB)
    assert artifact.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("ending", ["json", "safetensors"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.999])
def test_a_flipped_byte_is_found_and_its_file_named(tmp_path: Path, ending: str, place: float) -> None:
    artifact = save(str(tmp_path), *weights_of(), job_id=JOB)
    file = tmp_path / f"{artifact.sha256}.{ending}"
    flip_byte(file, int(place * file.stat().st_size))
    with pytest.raises(ArtifactDamaged, match=file.name):
        load(str(tmp_path), artifact.sha256)


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_cut_or_empty_file_is_found(tmp_path: Path, ending: str) -> None:
    artifact = save(str(tmp_path), *weights_of(), job_id=JOB)
    file = tmp_path / f"{artifact.sha256}.{ending}"
    for content in (file.read_bytes()[:-1], b""):
        file.write_bytes(content)
        with pytest.raises(ArtifactDamaged, match=file.name):
            load(str(tmp_path), artifact.sha256)


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_missing_file_is_named(location: str, ending: str) -> None:
    artifact = save(location, *weights_of(), job_id=JOB)
    filesystem, folder = fsspec.core.url_to_fs(location)
    filesystem.rm(f"{folder}/{artifact.sha256}.{ending}")
    with pytest.raises(ArtifactMissing, match=f"{artifact.sha256}.{ending} is missing"):
        load(location, artifact.sha256)


def test_whole_bytes_of_another_architecture_are_damage_too(tmp_path: Path) -> None:
    weights, description = weights_of()
    model = {**description["model"], "members": [{**description["model"]["members"][0], "width": 16}]}
    artifact = save(str(tmp_path), weights, {**description, "model": model}, job_id=JOB)
    with pytest.raises(ArtifactDamaged, match=f"{artifact.sha256} cannot be used: The weights do not fit"):
        load_forecaster(str(tmp_path), artifact.sha256)


@pytest.mark.parametrize("location", ["nosuch://bucket/artifacts"])
def test_a_store_that_cannot_be_opened_is_said(location: str) -> None:
    with pytest.raises(Problem, match="artifact store cannot be opened") as raised:
        save(location, *weights_of(), job_id=JOB)
    assert raised.value.code == "unavailable"


def test_a_store_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("not a folder")
    with pytest.raises(Problem, match="artifact store cannot be written to") as raised:
        save(str(tmp_path / "artifacts"), *weights_of(), job_id=JOB)
    assert raised.value.code == "unavailable"


def test_housekeeping_says_when_the_store_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    location = str(tmp_path / "file" / "artifacts")
    for look in (
        lambda: artifacts.stored(location),
        lambda: artifacts.older(location, {"a" * 64}, timedelta(0)),
        lambda: artifacts.remove(location, "a" * 64),
        lambda: artifacts.remove_unfinished(location, timedelta(0)),
    ):
        with pytest.raises(Problem, match="artifact store cannot be used") as raised:
            look()
        assert raised.value.code == "unavailable"


SAVE_WITH_A_FULL_DISK = """
import resource, sys, uuid
from app.errors import Problem
from app.registry.artifacts import save
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    save(sys.argv[1], bytes(200_000), {"of": "a small network"}, job_id=uuid.UUID(int=1))
except Problem as problem:
    print(problem.code, problem.detail, sep=": ")
else:
    print("saved")
"""


@pytest.mark.parametrize("allowed", [0, 50, 4096, 199_999])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, allowed: int) -> None:
    """The limit on a file's size makes the kernel refuse the write in the middle, as a full disk does."""
    ended = subprocess.run(
        [sys.executable, "-c", SAVE_WITH_A_FULL_DISK, str(tmp_path / "artifacts"), str(allowed)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.startswith(
        "disk_full: The artifact could not be written (File too large); no part of it is used"
    )
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_with_room_enough_the_same_save_goes_well(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE_WITH_A_FULL_DISK, str(tmp_path), "200000"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "saved\n"
    [address] = artifacts.stored(str(tmp_path))
    assert load(str(tmp_path), address) == (bytes(200_000), {"of": "a small network"})


def test_a_description_that_is_not_plain_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(str(tmp_path / "artifacts"), b"", {"scale": float("nan")}, job_id=JOB)
    assert not (tmp_path / "artifacts").exists()


def test_removed_is_gone_and_removing_again_is_no_error(location: str) -> None:
    kept = save(location, *weights_of(1), job_id=JOB)
    gone = save(location, *weights_of(0), job_id=JOB)
    assert artifacts.remove(location, gone.sha256) is True
    assert artifacts.remove(location, gone.sha256) is False
    assert artifacts.stored(location) == {kept.sha256}
    with pytest.raises(ArtifactMissing):
        load(location, gone.sha256)


def test_an_empty_store_holds_nothing(location: str) -> None:
    assert artifacts.stored(location) == set()
    assert artifacts.remove_unfinished(location, timedelta(0)) == 0


def test_only_old_unfinished_files_of_ours_are_swept(tmp_path: Path) -> None:
    ours = f".{'a' * 64}.json.{'b' * 32}.tmp"
    for name in (ours, ours.replace("a", "c"), "notes.json", ".hidden.tmp"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / ours)
    assert artifacts.remove_unfinished(str(tmp_path), timedelta(days=1)) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([ours, "notes.json", ".hidden.tmp"])


def test_the_age_of_an_artifact_is_told_in_any_store(location: str) -> None:
    artifact = save(location, *weights_of(), job_id=JOB)
    assert artifacts.older(location, {artifact.sha256}, timedelta(hours=1)) == []
    assert artifacts.older(location, {artifact.sha256}, timedelta(hours=-1)) == [(artifact.sha256, JOB)]
