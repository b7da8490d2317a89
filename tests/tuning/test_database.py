"""The journals as the tuner sees them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import InvalidFile, ProfilerError
from profiler.record import CacheMode, Conditions, Failure, FailureKind, Fingerprint, Journal, Measurement
from profiler.tuning.database import TuningDatabase
from tests.tuning.simulation import CONDITIONS, CONV, FINGERPRINT, POOL, conv, pool

OTHER = replace(FINGERPRINT, driver="newer")


def measured(config: str, latency_s: float, stage: str = "screen", bits: int = 8) -> Measurement:
    digest = FINGERPRINT.digest
    return Measurement(conv(bits), config, CONDITIONS, digest, "ab" * 32, (latency_s,), 1, 0, stage, "r", 0.0, "0")


def failed(config: str) -> Failure:
    return Failure(conv(), config, CONDITIONS, FINGERPRINT.digest, FailureKind.CRASH, "", "r", 0.0, "0")


def database(
    folder: Path, fingerprint: Fingerprint = FINGERPRINT, conditions: Conditions = CONDITIONS
) -> TuningDatabase:
    return TuningDatabase(folder, fingerprint, conditions)


def test_one_file_per_workload_begins_with_the_fingerprint(tmp_path: Path) -> None:
    ours = database(tmp_path / "cpu")
    ours.append(CONV, [measured("a", 1.0)])
    ours.append(CONV, [measured("b", 1.0, bits=4), failed("c")])
    pooled = replace(measured("a", 1.0), spec=pool())
    ours.append(POOL, [pooled])
    ours.append(POOL, [])
    assert {p.name for p in (tmp_path / "cpu").iterdir()} == {f"{CONV.text}.jsonl", f"{POOL.text}.jsonl"}
    lines = list(Journal(ours.path(CONV)).read())
    assert lines == [FINGERPRINT, measured("a", 1.0), measured("b", 1.0, bits=4), failed("c")]
    assert database(tmp_path / "cpu").measurements() == (measured("a", 1.0), measured("b", 1.0, bits=4), pooled)


def test_each_instrument_is_described_once_by_each_run(tmp_path: Path) -> None:
    database(tmp_path).append(CONV, [measured("a", 1.0)])
    later = database(tmp_path)
    later.tried(CONV)
    later.append(CONV, [measured("b", 1.0)])
    other = database(tmp_path, OTHER)
    other.append(CONV, [replace(measured("a", 2.0), fingerprint=OTHER.digest)])
    kinds = [record for record in Journal(later.path(CONV)).read() if isinstance(record, Fingerprint)]
    assert kinds == [FINGERPRINT, OTHER]
    later.path(CONV).unlink()
    later.append(CONV, [measured("c", 1.0)])
    assert next(iter(Journal(later.path(CONV)).read())) == FINGERPRINT


def test_only_the_own_instrument_and_conditions_count(tmp_path: Path) -> None:
    cold = Conditions(1, CacheMode.COLD)
    database(tmp_path).append(CONV, [measured("a", 1.0)])
    database(tmp_path, OTHER).append(CONV, [replace(measured("b", 1.0), fingerprint=OTHER.digest)])
    database(tmp_path, conditions=cold).append(CONV, [replace(measured("c", 1.0), conditions=cold)])
    assert list(database(tmp_path).tried(CONV)[conv()].screened) == ["a"]
    assert list(database(tmp_path, OTHER).tried(CONV)[conv()].screened) == ["b"]
    assert list(database(tmp_path, conditions=cold).tried(CONV)[conv()].screened) == ["c"]
    for record in (replace(measured("b", 1.0), fingerprint=OTHER.digest), replace(failed("c"), conditions=cold)):
        with pytest.raises(ValueError, match="another instrument"):
            database(tmp_path).append(CONV, [record])


def test_what_others_write_is_seen(tmp_path: Path) -> None:
    ours, theirs = database(tmp_path), database(tmp_path)
    assert ours.tried(CONV) == {}
    theirs.append(CONV, [measured("a", 2.0)])
    assert list(ours.tried(CONV)[conv()].measured_s) == ["a"]
    ours.append(CONV, [measured("b", 1.0)])
    assert theirs.tried(CONV)[conv()].ranked == ("b", "a")


def test_tried(tmp_path: Path) -> None:
    ours = database(tmp_path)
    ours.append(CONV, [measured("a", 3.0), measured("b", 2.0), failed("c"), measured("d", 1.0)])
    tried = ours.tried(CONV)[conv()]
    assert (len(tried), "c" in tried, "e" in tried) == (4, True, False)
    assert (tried.ranked, tried.finished, tried.best) == (("d", "b", "a"), False, None)
    ours.append(CONV, [failed("d"), measured("b", 2.5, "final"), measured("a", 2.4, "final")])
    tried = ours.tried(CONV)[conv()]
    assert (tried.ranked, tried.finished, tried.best) == (("b", "a"), True, measured("a", 2.4, "final"))


def test_a_torn_last_line_is_dropped_and_cut_off(tmp_path: Path) -> None:
    ours = database(tmp_path)
    ours.append(CONV, [measured("a", 1.0), measured("b", 1.0)])
    data = ours.path(CONV).read_bytes()
    ours.path(CONV).write_bytes(data[:-20])
    again = database(tmp_path)
    assert list(again.tried(CONV)[conv()].screened) == ["a"]
    again.append(CONV, [measured("c", 1.0)])
    assert list(database(tmp_path).tried(CONV)[conv()].screened) == ["a", "c"]


def test_a_torn_first_line_is_written_anew(tmp_path: Path) -> None:
    ours = database(tmp_path)
    ours.path(CONV).write_text('{"version":1,"type":"finge')
    assert ours.tried(CONV) == {}
    ours.append(CONV, [measured("a", 1.0)])
    assert list(Journal(ours.path(CONV)).read()) == [FINGERPRINT, measured("a", 1.0)]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    ours = database(tmp_path)
    ours.append(CONV, [measured("a", 1.0), measured("b", 1.0)])
    lines = ours.path(CONV).read_text().splitlines(keepends=True)
    ours.path(CONV).write_text(lines[0] + lines[1][: len(lines[1]) // 2] + "\n" + lines[2])
    with pytest.raises(InvalidFile, match=rf"{CONV.text}\.jsonl, line 2"):
        database(tmp_path).tried(CONV)


def test_a_journal_of_another_workload_that_cannot_be_read_stops_nobody(tmp_path: Path) -> None:
    ours = database(tmp_path)
    ours.append(CONV, [measured("a", 1.0)])
    (tmp_path / "older.jsonl").write_text("of another version\n")
    assert database(tmp_path).measurements() == (measured("a", 1.0),)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ProfilerError, match="cannot be written: Permission denied"):
        database(tmp_path / "cpu").append(CONV, [measured("a", 1.0)])


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text("")
    with pytest.raises(ProfilerError, match=r"cannot be written: .*; make its folder writable"):
        database(tmp_path / "cpu").append(CONV, [measured("a", 1.0)])
