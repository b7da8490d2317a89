"""Artifacts on disk: whole or not at all, and nothing that lies there stops a run."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler.errors import OutputError
from profiler.kernels.cache import ArtifactCache
from tests.test_artifact import ARTIFACT, GPU_ARTIFACT

KEY = "0123456789abcdef" * 4
SPEC = GPU_ARTIFACT.spec


def test_what_was_put_is_found(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path / "new" / "folder")
    assert cache.get(SPEC, KEY) is None
    cache.put(KEY, GPU_ARTIFACT)
    assert cache.get(SPEC, KEY) == GPU_ARTIFACT
    assert cache.get(SPEC, "f" * 64) is None
    assert cache.get(replace(SPEC, input_dtype=SPEC.weight_dtype), KEY) is None
    cache.put(KEY, ARTIFACT)
    assert cache.get(SPEC, KEY) == ARTIFACT
    path = cache.path(SPEC, KEY)
    assert path == tmp_path / "new" / "folder" / SPEC.key / "0123456789abcdef.lbk"
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary file stays"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans())
def test_a_damaged_entry_is_absent_and_replaced(tmp_path: Path, place: int, change: int, torn: bool) -> None:
    cache = ArtifactCache(tmp_path)
    cache.put(KEY, GPU_ARTIFACT)
    path = cache.path(SPEC, KEY)
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place] ^= change
    path.write_bytes(data[:place] if torn else data)
    assert cache.get(SPEC, KEY) in (None, GPU_ARTIFACT)  # other white space in the header is no damage
    cache.put(KEY, GPU_ARTIFACT)
    assert cache.get(SPEC, KEY) == GPU_ARTIFACT


def test_the_entry_of_another_kernel_is_absent(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)
    other = replace(SPEC, input_dtype=SPEC.weight_dtype)
    cache.put(KEY, GPU_ARTIFACT)
    cache.path(other, KEY).parent.mkdir()
    cache.path(SPEC, KEY).rename(cache.path(other, KEY))
    assert cache.get(other, KEY) is None


def test_a_folder_in_the_place_of_an_entry(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)
    cache.path(SPEC, KEY).mkdir(parents=True)
    assert cache.get(SPEC, KEY) is None
    with pytest.raises(OutputError, match=r"lbk: cannot be written: Is a directory; make room"):
        cache.put(KEY, GPU_ARTIFACT)


def test_a_full_disk_is_one_line_and_leaves_the_old_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ArtifactCache(tmp_path)
    cache.put(KEY, ARTIFACT)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"^[^\n]*cannot be written: No space left on device; make room[^\n]*$"):
        cache.put(KEY, GPU_ARTIFACT)
    assert cache.get(SPEC, KEY) == ARTIFACT
    assert len(list(cache.path(SPEC, KEY).parent.iterdir())) == 1


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ArtifactCache(tmp_path)

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.put(KEY, GPU_ARTIFACT)
    assert list(cache.path(SPEC, KEY).parent.iterdir()) == []


KILLED_IN_A_WRITE = """
import os, signal, sys
from pathlib import Path
from profiler.kernels.cache import ArtifactCache
from tests.kernels.test_cache import GPU_ARTIFACT, KEY
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
ArtifactCache(Path(sys.argv[1])).put(KEY, GPU_ARTIFACT)
"""


def test_leftovers_of_dead_processes_go_and_all_else_stays(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)
    cache.remove_leftovers()
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", KILLED_IN_A_WRITE, str(tmp_path)], cwd=root, check=False)
    folder = cache.path(SPEC, KEY).parent
    (left,) = folder.iterdir()
    assert left.name.endswith(".tmp")
    cache.put(KEY, GPU_ARTIFACT)
    being_written = folder / f".{cache.path(SPEC, KEY).name}.{os.getppid()}.tmp"
    being_written.touch()
    others = [folder / "notes.tmp", folder / ".mine.lbk.copy.tmp", tmp_path / left.name]
    for path in others:
        path.touch()
    cache.remove_leftovers()
    assert not left.exists()
    assert all(path.exists() for path in (being_written, *others))
    assert cache.get(SPEC, KEY) == GPU_ARTIFACT


def test_leftovers_that_cannot_be_removed_stop_nobody(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)
    stubborn = cache.path(SPEC, KEY).parent / f".x.lbk.{2**31}.tmp"
    stubborn.mkdir(parents=True)
    (tmp_path / "a file").touch()
    cache.remove_leftovers()
    cache.put(KEY, GPU_ARTIFACT)
    assert cache.get(SPEC, KEY) == GPU_ARTIFACT


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    cache = ArtifactCache(tmp_path / "cache")
    assert cache.get(SPEC, KEY) is None
    with pytest.raises(OutputError, match="cannot be written"):
        cache.put(KEY, GPU_ARTIFACT)
