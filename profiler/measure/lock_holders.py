"""Who holds the lock of a file that others wait for: told to whoever waits, by what Linux lists in /proc/locks."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_LISTED = 60
"""Characters of a command line that are told."""


def holders(descriptor: int) -> tuple[int, ...]:
    """Process ids of those that hold a `flock` on the open file; empty where Linux does not tell (as of processes of
    another container)."""
    status = os.fstat(descriptor)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = (_PROC / "locks").read_text().splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        words = line.split()  # 1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF; one who waits has -> behind the number
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == file and words[4].isdigit() and int(words[4]) > 0:
            found.append(int(words[4]))
    return tuple(dict.fromkeys(found))


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped it; no for one that is gone."""
    try:
        status = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def described(pid: int) -> str:
    """For people."""
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    text = "".join(c if c.isprintable() else " " for c in command)
    return f"process {pid}" + (f" ({text[:_LISTED]}{'...' * (len(text) > _LISTED)})" if text else "")
