"""Turns between processes; order is observed through pipes, not clocks."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from profiler.errors import ProfilerError
from profiler.measure import turns
from profiler.measure.lock_holders import described, holders, is_stopped
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


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Other]:
    """A process that has been stopped in its turn."""
    other = Other(tmp_path / "lock", "compiling")
    assert other.has_turn(20)
    other.process.send_signal(signal.SIGSTOP)
    yield other
    other.process.kill()
    other.process.communicate()


def test_a_stopped_process_is_not_waited_for_long_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: Other
) -> None:
    monkeypatch.setattr(turns, "STOPPED_S", 0.2)
    monkeypatch.setattr(turns, "_HOLDERS_EVERY_S", 0.05)
    pid = stopped.process.pid
    begin = time.monotonic()
    said = rf"process {pid} \(.*\) has the device and is stopped; continue it \(kill -CONT {pid}\), or end it"
    with pytest.raises(NoTurn, match=said), MachineTurns(tmp_path / "lock", limit_s=60).measuring():
        pass
    assert 0.2 <= time.monotonic() - begin < 10
    # Whoever has a limit of the moment alone, as a bundle's time budget, hears of that limit.
    with pytest.raises(NoTurn, match="another run has the device"), MachineTurns(tmp_path / "lock").measuring(0.5):
        pass
    stopped.process.send_signal(signal.SIGCONT)
    stopped.end()
    with MachineTurns(tmp_path / "lock", limit_s=60).measuring():
        pass


def test_one_that_goes_on_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: Other) -> None:
    monkeypatch.setattr(turns, "STOPPED_S", 5.0)
    monkeypatch.setattr(turns, "_HOLDERS_EVERY_S", 0.05)
    timer = threading.Timer(0.3, lambda: (stopped.process.send_signal(signal.SIGCONT), stopped.end()))
    timer.start()
    with MachineTurns(tmp_path / "lock", limit_s=60).measuring():
        pass
    timer.join()


def test_who_has_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with open(path, "ab") as file:
        assert holders(file.fileno()) == ()
        two = [Other(path, "compiling") for _ in range(2)]
        assert all(other.has_turn(20) for other in two)
        assert set(holders(file.fileno())) == {other.process.pid for other in two}
        assert not any(is_stopped(other.process.pid) for other in two)
        assert described(two[0].process.pid).startswith(f"process {two[0].process.pid} ({sys.executable} -c")
        for other in two:
            other.end()
        assert holders(file.fileno()) == ()
    assert not is_stopped(two[0].process.pid)
    assert described(two[0].process.pid) == f"process {two[0].process.pid}"
