"""Write run.txt and dev.txt anew from pyproject.toml, and peers.txt from peers.in, with hashes, and no index named in them.

torch stands apart in torch.txt: the CPU wheel of one version differs from place to place, so no hash of it can hold.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
OPTIONS = [
    "--quiet",
    "--generate-hashes",
    "--allow-unsafe",
    "--unsafe-package=torch",
    "--strip-extras",
    "--no-annotate",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-emit-trusted-host",
    "--no-emit-options",
]


def main() -> None:
    compile_lock("run.txt")
    compile_lock("dev.txt", "--extra", "dev", "--constraint", "requirements/run.txt")
    compile_lock("peers.txt", source="requirements/peers.in")


def compile_lock(name: str, *extra: str, source: str = "pyproject.toml") -> None:
    target = FOLDER / name
    command = [sys.executable, "-m", "piptools", "compile", *OPTIONS, *extra, "-o", str(target), source]
    subprocess.run(command, check=True, cwd=FOLDER.parent)
    target.write_text(without_torch(target.read_text()))


def without_torch(lock: str) -> str:
    """The lock less torch and its hashes, and less comments. A requirement's hashes stand indented under it."""
    kept: list[str] = []
    leaving = False
    for line in lock.splitlines():
        if not line.startswith(" "):
            leaving = line.startswith(("torch==", "#")) or not line.strip()
        if not leaving:
            kept.append(line)
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    main()
