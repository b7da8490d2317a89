"""The zip: same content, same bytes; all of it or nothing."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from unittest import mock

import pytest

from profiler.bundle.pack import write
from profiler.errors import OutputError

CONTENT = {"b.py": b"text " * 100, "a/c.lbk": bytes(1000), "wheels/x.whl": bytes(1000)}


def test_same_content_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "first.zip", CONTENT)
    with mock.patch("time.time", return_value=time.time() + 10**6):
        write(tmp_path / "second.zip", dict(reversed(CONTENT.items())))
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENT
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.getinfo("wheels/x.whl").compress_type == zipfile.ZIP_STORED


def test_an_older_file_stays_if_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "run.zip"
    path.write_bytes(b"older")
    full = OSError(28, "No space left on device")
    with mock.patch("zipfile.ZipFile.writestr", side_effect=full), pytest.raises(OutputError, match="No space left"):
        write(path, CONTENT)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("run.zip", b"older")]
