"""Files that are written whole: whatever happens, and whoever else writes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from profiler.errors import OutputError
from profiler.output_folder import write_whole


def test_the_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    for data in (b"first", b"", b"another, longer one"):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".a.json.tmp").write_text("torn, and longer than what comes")
    write_whole(tmp_path / "a.json", b"whole")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.json": b"whole"}


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_disk_that_refuses_leaves_the_old_file(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    write_whole(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, refuse)
        with pytest.raises(OutputError, match=r"^[^\n]*a\.json: cannot be written: No space left on device; [^\n]*$"):
            write_whole(path, b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.json": b"old"}


@pytest.mark.parametrize("place", [".", "..", "/", "folder", "file/a.json"])
def test_places_where_no_file_can_be(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written: (Is a directory|File exists)"):
        write_whole(Path(place), b"data")
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "file"}


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    contents = [bytes([65 + writer]) * (100_000 + 50_000 * writer) for writer in range(4)]
    failures: list[BaseException] = []
    seen: set[bytes] = set()
    start = threading.Barrier(len(contents))

    def write_often(data: bytes) -> None:
        try:
            start.wait()
            for _ in range(10):
                write_whole(path, data)
                seen.add(path.read_bytes())
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write_often, args=(data,)) for data in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert seen <= set(contents)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
