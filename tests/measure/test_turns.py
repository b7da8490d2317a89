"""Turns between processes; order is observed through pipes, not clocks."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

from profiler.errors import ProfilerError
from profiler.measure.turns import MachineTurns, NoTurn

_OTHER = """
import sys
from pathlib import Path
from profiler.measure.turns import MachineTurns
with getattr(MachineTurns(Path(sys.argv[1])), sys.argv[2])():
    print("in", flush=True)
    sys.stdin.readline()
"""


class Other:
    """A process that takes a turn and keeps it until it is told otherwise."""

    def __init__(self, path: Path, turn: str) -> None:
        arguments = [sys.executable, "-c", _OTHER, str(path), turn]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def has_turn(self, limit_s: float) -> bool:
        ready, _, _ = select.select([self.process.stdout], [], [], limit_s)
        return bool(ready)

    def end(self) -> None:
        self.process.communicate("\n", timeout=20)


@pytest.mark.parametrize(
    ("ours", "theirs", "together"),
    [("compiling", "compiling", True), ("compiling", "measuring", False), ("measuring", "compiling", False),
     ("measuring", "measuring", False)],
)  # fmt: skip
def test_who_may_work_at_the_same_time(tmp_path: Path, ours: str, theirs: str, together: bool) -> None:
    path = tmp_path / "lock"
    with getattr(MachineTurns(path), ours)():
        other = Other(path, theirs)
        assert other.has_turn(20 if together else 1) == together
    assert other.has_turn(20)
    other.end()


def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = Other(path, "measuring")
    assert other.has_turn(20)
    other.process.kill()
    other.process.communicate()
    with MachineTurns(path).measuring():
        pass


def test_turns_of_a_device_belong_to_a_user() -> None:
    path = MachineTurns.of_cpu().path
    assert path.parent == Path(tempfile.gettempdir())
    assert f"-{os.getuid()}-cpu" in path.name


def test_compiling_for_a_gpu_disturbs_the_cpu_alone(tmp_path: Path) -> None:
    cpu, gpu = tmp_path / "cpu", tmp_path / "gpu"
    card = MachineTurns(cpu, gpu)
    other = Other(cpu, "measuring")
    assert other.has_turn(20)
    with card.measuring():
        pass
    other.end()
    with card.measuring():
        compiling = Other(cpu, "compiling")
        assert compiling.has_turn(20)
        compiling.end()
        measuring = Other(gpu, "measuring")
        assert not measuring.has_turn(0.3)
    assert measuring.has_turn(20)
    measuring.end()


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ProfilerError, match="set TMPDIR"), MachineTurns(tmp_path / "missing" / "lock").compiling():
        pass


def test_somebody_else_s_turn_is_waited_for_as_long_as_was_said(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with MachineTurns(path).measuring():
        with pytest.raises(NoTurn, match="another run has the device"), MachineTurns(path).measuring(0.0):
            pass
        with pytest.raises(NoTurn), MachineTurns(path).measuring(0.01):
            pass
    with MachineTurns(path).measuring(0.0):
        assert not Other(path, "measuring").has_turn(0.3)


def test_no_folder_for_locks() -> None:
    with mock.patch("tempfile.gettempdir", side_effect=FileNotFoundError), pytest.raises(ProfilerError, match="TMPDIR"):
        MachineTurns.of_cpu()
