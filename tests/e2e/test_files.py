"""Output that was torn, damaged, or cannot be written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from profiler.lut import store
from profiler.record import Fingerprint, Journal, encode
from tests.e2e.command import KERNELS, Outcome, Place

Command = Callable[[list[str]], Outcome]


def test_torn_journals(profiled: Place, command: Command) -> None:
    """Cut each journal somewhere else; what stands in whole lines ahead of the cut is not measured again."""
    whole = profiled.journals()
    names = sorted(whole)
    ends = {name: [i + 1 for i, byte in enumerate(data) if byte == ord("\n")] for name, data in whole.items()}
    cuts: list[Callable[[list[int]], int]] = [
        lambda ends: ends[-1] - 1,  # the line break alone is missing
        lambda ends: (ends[-2] + ends[-1]) // 2,  # within the last record
        lambda ends: ends[-2] + 1,  # behind its first byte
        lambda ends: ends[0] + 40,  # within the first measurement
        lambda ends: ends[0] // 2,  # within the first line, the fingerprint
    ]
    assert len(names) == len(cuts)
    kept = {}
    for name, cut in zip(names, cuts, strict=True):
        at = cut(ends[name])
        path = profiled.out / "tuning_logs" / "cpu" / name
        path.write_bytes(whole[name][:at])
        kept[name] = whole[name][: whole[name][:at].rfind(b"\n") + 1]
    answer = command(profiled.profile("--json"))
    assert answer.code == 0, answer.err
    after = profiled.journals()
    for name in names:
        assert after[name].startswith(kept[name])
        assert len(after[name].splitlines()) == len(whole[name].splitlines())
    assert profiled.measured_twice() == []
    assert len(store.read(profiled.lut)) == KERNELS


@pytest.mark.parametrize("damage", [b"{}", b"\xff\x00", b"", b"<<<<<<< HEAD"])
def test_a_damaged_line_in_a_journal(profiled: Place, command: Command, damage: bytes) -> None:
    path = profiled.journal("mean")
    lines = path.read_bytes().splitlines()
    lines[2] = damage
    path.write_bytes(b"\n".join(lines) + b"\n")
    before = profiled.journals()
    answer = command(profiled.profile())
    assert (answer.code, answer.out) == (2, "")
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"error: {path}, line 3: not a record of the profiler: ")
    assert sum(line.startswith("error") for line in answer.err.splitlines()) == 1
    assert profiled.journals() == before


@pytest.mark.parametrize("where", ["file", "file/deeper", "/proc/nowhere", "/dev/null"])
def test_no_folder_to_write_to(place: Place, command: Command, where: str) -> None:
    (place.folder / "file").touch()
    out = place.folder / where
    answer = command(place.profile(out=out))
    assert answer.refused(f"{out}/lut: cannot be written: ", "choose another place with --out")


def _mounted(place: Place, kind: str, options: str, *more: str) -> tuple[str, ...]:
    """A prefix that runs a program with a file system of its own at ``place.out``; skips where that is not allowed."""
    place.out.mkdir(exist_ok=True)
    script = " && ".join((f'mount -t {kind} -o {options} none "{place.out}"', *more, 'exec "$@"'))
    prefix = ("unshare", "--mount", "sh", "-c", script, "sh")
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    return prefix


def test_a_read_only_folder(place: Place) -> None:
    prefix = _mounted(place, "tmpfs", "ro")
    answer = place.run(place.profile(), prefix=prefix)
    assert answer.refused(f"{place.out}/lut: cannot be written: Read-only file system")


def test_a_full_disk(place: Place) -> None:
    """Refused before anything is measured."""
    prefix = _mounted(place, "tmpfs", "size=256k")
    answer = place.run(place.profile(), prefix=prefix)
    assert answer.refused(f"{place.out}/lut: cannot be written: No space left on device")


def test_a_journal_that_cannot_grow(place: Place, command: Command) -> None:
    """As on a disk that fills up in the middle: what was written stays, and the next run goes on behind it."""
    limit_bytes = (1 << 20) + 4096
    path = place.journal("fc")
    path.parent.mkdir(parents=True)
    other = Fingerprint("cpu", "another", "avx2", "", "linux", "")
    line = encode(other).encode() + b"\n"
    path.write_bytes(line * (limit_bytes // len(line) - 2))
    before = path.read_bytes()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    answer = place.run(place.profile(model=place.dense), before=limited)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1].startswith(f"error: {path}: cannot be written: File too large; ")
    assert "Traceback" not in answer.err
    assert path.read_bytes().startswith(before)
    assert (place.strays(), place.temporary_files()) == ([], [])
    again = command(place.profile("--json", model=place.dense))
    assert again.code == 0, again.err
    assert json.loads(again.out)["measured"] == 1
    assert path.read_bytes().startswith(before)
    assert place.measured_twice() == []


def test_a_journal_of_another_instrument_does_not_count(profiled: Place, command: Command) -> None:
    """Its records stay, and what they measured is measured again."""
    path = profiled.journal("mean")
    records = list(Journal(path).read())
    mine = records[0]
    assert isinstance(mine, Fingerprint)
    other = replace(mine, compiler="another")
    path.write_text(path.read_text().replace(mine.digest, other.digest).replace(encode(mine), encode(other)))
    before = path.read_bytes()
    answer = command(profiled.profile("--json"))
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["measured"] == 1
    assert path.read_bytes().startswith(before)
    assert len(list(Journal(path).read())) == 2 * len(records)


def test_a_journal_that_is_a_folder(place: Place, command: Command) -> None:
    place.journal("fc").mkdir(parents=True)
    answer = command(place.profile(model=place.dense))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1].startswith(f"error: {place.journal('fc')}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_journal_that_cannot_be_read(profiled: Place, command: Command) -> None:
    profiled.journal("fc").chmod(0)
    answer = command(profiled.profile())
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1].startswith(f"error: {profiled.journal('fc')}")


def test_the_lut_of_a_run_that_was_killed_while_writing(profiled: Place, command: Command) -> None:
    left = profiled.lut.with_name(".cpu.csv.tmp")
    left.write_text("torn")
    profiled.lut.unlink()
    assert command(profiled.profile()).code == 0
    assert len(store.read(profiled.lut)) == KERNELS
    assert not left.exists()
