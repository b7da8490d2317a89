"""A Python with NumPy for Arm, unpacked beside this machine's own: what the tests run under QEMU's user emulation.

python3 -m tests.arm.sysroot: fetch Debian's packages for arm64 (some 25 MB) through apt-get into a cache folder of this
user. Nothing of the system is changed, and no root is needed. Any Python will do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PLACE = Path.home() / ".cache" / "lowbit-profiler" / "arm64-python"
"""Written whole or not at all; may be deleted."""
PYTHON = PLACE / "usr" / "bin" / "python3"
MOST_BYTES = 64 << 20
_LIMIT_S = 120
_LIBRARIES = Path("usr/lib/aarch64-linux-gnu")


class NotFetched(Exception):
    """Why, in one line."""


def fetch() -> None:
    """Make `PLACE`. Raises `NotFetched`."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NotFetched(f"there is no {tool}")
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".arm64-", dir=PLACE.parent) as temporary:
        packages = _download(Path(temporary))
        root = Path(temporary) / "root"
        root.mkdir()
        for package in packages:
            _run(["dpkg-deb", "-x", str(package), str(root)])
        _finish(root)
        os.replace(root, PLACE)


def _download(folder: Path) -> list[Path]:
    """The packages of NumPy and of all that it needs, by an apt-get with a state of its own."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    options = [
        "APT::Architecture=arm64", "APT::Architectures=arm64", "Acquire::Languages=none", "Acquire::Retries=1",
        "Acquire::http::Timeout=20", "Acquire::https::Timeout=20", "APT::Sandbox::User=", "Debug::NoLocking=1",
        f"Dir::State={folder}/state", f"Dir::State::status={folder}/status", f"Dir::Cache={folder}/cache",
    ]  # fmt: skip
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    wanted = ["install", "-y", "--no-install-recommends", "python3-numpy"]
    _run([*apt, "update"])
    listed = _run([*apt, "--print-uris", "-qq", *wanted])
    size = sum(int(line.split()[2]) for line in listed.splitlines() if line.startswith("'"))
    if not 0 < size <= MOST_BYTES:
        raise NotFetched(f"the packages have {size} bytes, which is not what they should have")
    _run([*apt, "--download-only", *wanted])
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _finish(root: Path) -> None:
    """What the packages' own scripts would do."""
    for library in ("blas/libblas.so.3", "lapack/liblapack.so.3"):
        link = root / _LIBRARIES / Path(library).name
        if not link.exists():
            link.symlink_to(library)
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NotFetched(f"{command[0]} takes longer than {_LIMIT_S} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotFetched(f"{command[0]} ended with {done.returncode}: {said[-1] if said else ''}")
    return done.stdout


if __name__ == "__main__":
    if not PYTHON.exists():
        try:
            fetch()
        except (NotFetched, OSError) as error:
            sys.exit(f"no Python for arm64: {error}")
    print(PYTHON)
