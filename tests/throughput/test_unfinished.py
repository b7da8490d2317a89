"""Windows of a run that has not come to its end: kept, gone on with, refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from profiler.errors import InvalidFile, OutputError
from profiler.throughput.point import Window
from profiler.throughput.unfinished import Taken, Unfinished, path_for

ONE = Taken(0, Window(10, 3.0, None, 60.5), "", ("a note",), "run")
TWO = Taken(1, Window(7, 3.5), "no counter", (), "run")


def kept(path: Path) -> list[Taken]:
    with Unfinished(path) as found:
        return list(found.taken)


def test_windows_are_kept_until_the_run_is_done(tmp_path: Path) -> None:
    path = tmp_path / "lut" / "x.windows.jsonl"
    with Unfinished(path) as run:
        run.append(ONE)
        assert len(path.read_bytes().splitlines()) == 2, "on disk at once"
        run.append(TWO)
    assert kept(path) == [ONE, TWO]
    with Unfinished(path) as run:
        run.finished()
    assert not path.exists()
    assert kept(path) == []
    assert not path.exists(), "nothing was begun"


def test_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.windows.jsonl"
    with Unfinished(path) as run:
        run.append(ONE)
        run.append(TWO)
    whole = path.read_bytes()
    second = whole.rindex(b"{")
    for end in range(second, len(whole)):
        path.write_bytes(whole[:end])
        assert kept(path) == [ONE]
    for end in range(1, whole.index(b"\n") + 1):
        path.write_bytes(whole[:end])
        assert kept(path) == []
    path.write_bytes(whole[: second + 5])
    with Unfinished(path) as run:
        run.append(TWO)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"version": 1', b'"version": 2', "line 1: no windows of this version"),
        (b'"runs": 10', b'"runs": -1', "line 2: runs of a window is -1"),
        (b'"point": 0', b'"point": "a"', "line 2: the window.point is not an integer"),
        (b'"point": 0', b'"point": -1', "line 2: the index of a point is not negative"),
        (b'{"point": 0', b'["point": 0', "line 2: "),
    ],
)
def test_a_damaged_file_is_named_and_untouched(tmp_path: Path, old: bytes, new: bytes, said: str) -> None:
    path = tmp_path / "x.windows.jsonl"
    with Unfinished(path) as run:
        run.append(ONE)
    damaged = path.read_bytes().replace(old, new)
    path.write_bytes(damaged)
    with pytest.raises(InvalidFile) as error, Unfinished(path):
        pass
    assert f"{path.name}, {said}" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == damaged


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.windows.jsonl"
    code = (
        "import sys; from pathlib import Path; from profiler.throughput.unfinished import Unfinished\n"
        "with Unfinished(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"in\n"
    with pytest.raises(OutputError, match="another run of the same command is at work"), Unfinished(path):
        pass
    other.kill()
    other.communicate()
    assert kept(path) == []


def test_a_file_for_each_run(tmp_path: Path) -> None:
    throughputs = tmp_path / "cpu.throughput.json"
    paths = {path_for(throughputs, run) for run in (["a", "b"], ["b", "a"], ["ab"], ["a", "b"])}
    assert len(paths) == 3
    assert all(path.parent == tmp_path and path.name.startswith("cpu.throughput.") for path in paths)
