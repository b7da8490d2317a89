"""What came back: into journals and LUT, once; what is wrong is refused ahead of any change."""

from __future__ import annotations

import csv
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from profiler.allocation.calibration import read_end_to_end
from profiler.allocation_stages.which_lut import which_lut
from profiler.bundle.box.network_record import NetworkRecord
from profiler.bundle.box.results import NO_ENERGY, End, Header, Reason, ResultsFile
from profiler.bundle.ingest import ingest
from profiler.errors import FingerprintMismatch, InvalidFile
from profiler.lut import store
from profiler.lut.check import check
from profiler.record import EnergyMeasurement, FailureKind, Fingerprint, Journal, Record
from profiler.tuning.database import TuningDatabase
from tests.bundle.examples import (
    CONDITIONS,
    INSTRUMENT,
    configuration,
    energy_of,
    failure,
    forged,
    kernel,
    measurement,
    network_fault,
    network_round,
    spec,
)

RECORDS = (
    measurement(spec(), "c0", 3.0),
    measurement(spec(), "c1", 1.0, stage="screen"),
    measurement(spec(), "c1", 2.0),
    measurement(spec(bits=4), "c0", 4.0),
    failure(spec(bits=4), "c1"),
    measurement(spec(16), "c0", 5.0),
)
BEST_S = {("8", "uint8"): 2.0, ("8", "uint4"): 4.0, ("16", "uint8"): 5.0}


def write(path: Path, records: tuple[Record, ...], instrument: Fingerprint = INSTRUMENT, ended: bool = True) -> Path:
    with ResultsFile(path) as file:
        file.begin(Header("ab" * 32, "0.1.0", instrument, CONDITIONS, "made up", 1, 3, {}, 1000.0))
        file.append(record for record in records if not isinstance(record, Fingerprint))
        if ended:
            file.end(End(Reason.COMPLETE, 5, 1, 2000.0))
    return path


def everything(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def latencies(lut: Path) -> dict[tuple[str, str], float]:
    with open(lut, newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["in_channels"], row["input_dtype"]): float(row["latency_median_s"]) for row in rows}


def records(out: Path) -> list[Record]:
    return [record for path in sorted(out.glob("tuning_logs/cpu/*.jsonl")) for record in Journal(path).read()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "results.jsonl", RECORDS)


def test_records_and_rows(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (taken,) = ingest([file], out)
    assert (taken.records, taken.added, taken.measured, taken.header.kernels) == (6, 6, 3, 3)
    assert taken.lut == out / "lut" / "cpu.csv"
    assert latencies(taken.lut) == BEST_S
    assert check(taken.lut) == []
    kept = records(out)
    assert sorted(map(repr, kept)) == sorted(map(repr, [*RECORDS, INSTRUMENT, INSTRUMENT]))  # two workloads


def test_energies_come_home_with_their_latencies(tmp_path: Path) -> None:
    metered = (*RECORDS, energy_of(spec(), "c1"), energy_of(spec(16), "c0", 2.0), energy_of(spec(), "c0", 9.0))
    (taken,) = ingest([write(tmp_path / "results.jsonl", metered)], tmp_path / "home")
    assert (taken.added, taken.energies, taken.no_energy) == (len(metered), 2, "")
    assert taken.lut is not None
    energies = {row.spec: row.energy_j for row in store.read(taken.lut)}
    assert energies == {spec(): 0.5, spec(16): 2.0, spec(bits=4): None}, "those of the configs that the rows are of"
    assert {r.spec for r in records(tmp_path / "home") if isinstance(r, EnergyMeasurement)} == {spec(), spec(16)}
    before = everything(tmp_path / "home")
    (again,) = ingest([write(tmp_path / "other.jsonl", metered)], tmp_path / "home")
    assert (again.added, again.energies, everything(tmp_path / "home")) == (0, 2, before)


def test_energies_that_come_later_go_into_the_same_rows(file: Path, tmp_path: Path) -> None:
    (first,) = ingest([file], tmp_path / "home")
    assert first.energies == 0
    (later,) = ingest([write(tmp_path / "later.jsonl", (*RECORDS, energy_of(spec(), "c1")))], tmp_path / "home")
    assert (later.added, later.energies) == (1, 1)


def test_a_config_that_failed_at_its_energy_leaves_the_table(file: Path, tmp_path: Path) -> None:
    """Into which an earlier part of the same run had brought it."""
    ingest([file], tmp_path / "home")
    later = (*RECORDS, failure(spec(), "c1"), failure(spec(16), "c0"))
    (taken,) = ingest([write(tmp_path / "later.jsonl", later)], tmp_path / "home")
    assert (taken.added, taken.measured) == (2, 2)
    assert taken.lut is not None
    assert latencies(taken.lut) == {("8", "uint8"): 3.0, ("8", "uint4"): 4.0}


def test_a_box_that_told_no_energy_is_quoted(tmp_path: Path) -> None:
    with ResultsFile(tmp_path / "results.jsonl") as results:
        host = {NO_ENERGY: "RAPL: none there"}
        results.begin(Header("ab" * 32, "0.1.0", INSTRUMENT, CONDITIONS, "made up", 1, 3, host, 1000.0))
        results.append([measurement(spec(), "c0", 3.0)])
        results.end(End(Reason.COMPLETE, 1, 0, 2000.0))
    (taken,) = ingest([tmp_path / "results.jsonl"], tmp_path / "home")
    assert (taken.energies, taken.no_energy) == (0, "RAPL: none there")


def test_an_energy_that_makes_no_row_is_refused_ahead_of_any_change(tmp_path: Path) -> None:
    path = write(tmp_path / "results.jsonl", (*RECORDS, energy_of(spec(), "c1", 9e12)))
    refused([path], tmp_path / "home", "energy_j")


def test_twice_changes_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingest([file], out)
    before = everything(out)
    (again,) = ingest([file], out)
    assert again.added == 0
    assert everything(out) == before
    assert [taken.added for taken in ingest([file, file], tmp_path / "other")] == [6, 0]


def test_a_longer_file_adds_what_is_new(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingest([file], out)
    with ResultsFile(file) as longer:
        longer.append([replace(measurement(spec(16), "c1", 1.5), measured_at=200.0)])
        longer.end(End(Reason.COMPLETE, 6, 1, 3000.0))
    (taken,) = ingest([file], out)
    assert (taken.added, latencies(out / "lut/cpu.csv")) == (1, {**BEST_S, ("16", "uint8"): 1.5})


def test_into_a_lut_of_ones_own(file: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine" / "a.csv"
    ingest([write(tmp_path / "first.jsonl", RECORDS[-1:])], tmp_path / "out", own)
    assert latencies(own) == {("16", "uint8"): 5.0}
    (taken,) = ingest([file], tmp_path / "out", own)
    assert (taken.lut, latencies(own)) == (own, BEST_S)
    assert not (tmp_path / "out/lut/cpu.csv").exists()


def test_two_instruments_are_kept_apart(file: Path, tmp_path: Path) -> None:
    other = replace(INSTRUMENT, uuid="4567")
    second = write(tmp_path / "second.jsonl", (measurement(spec(), "c0", 7.0, instrument=other),), other)
    first, taken = ingest([file, second], tmp_path / "out")
    assert first.lut != taken.lut
    assert taken.lut is not None
    assert latencies(taken.lut) == {("8", "uint8"): 7.0}
    before = everything(tmp_path)
    for out in ("out", "new"):
        with pytest.raises(FingerprintMismatch, match=r"lut/cpu\.csv: rows of two instruments"):
            ingest([second], tmp_path / out, tmp_path / "out/lut/cpu.csv")
    with pytest.raises(FingerprintMismatch, match=r"mine\.csv"):
        ingest([file, second], tmp_path / "new", tmp_path / "mine.csv")
    assert everything(tmp_path) == before


def test_failures_alone_make_no_row(tmp_path: Path) -> None:
    (taken,) = ingest([write(tmp_path / "results.jsonl", (failure(spec(), "c0"),))], tmp_path / "out")
    assert (taken.added, taken.measured, taken.lut) == (1, 0, None)


def refused(paths: list[Path], out: Path, *parts: str, incomplete: bool = False) -> None:
    """In one line with these parts, and nothing was written."""
    before = everything(out)
    with pytest.raises(InvalidFile) as caught:
        ingest(paths, out, incomplete=incomplete)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)
    assert everything(out) == before


@pytest.mark.parametrize("incomplete", [False, True])
def test_an_edited_file_is_refused(file: Path, tmp_path: Path, incomplete: bool) -> None:
    lines = file.read_text().splitlines(keepends=True)
    body = json.loads(lines[3])
    body["record"]["samples_s"] = [1e-6] * 3
    lines[3] = json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    edited = tmp_path / "edited.jsonl"
    edited.write_text("".join(lines))
    refused([file, edited], tmp_path / "out", "edited.jsonl, line 4", "never", incomplete=incomplete)


def test_a_cut_file_is_refused_but_for_its_verified_part(file: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out", file.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    file.write_bytes(data[: ends[-2]])
    refused([file], out, "line 7: the file ends here without its closing line", "same -o", "--incomplete")
    file.write_bytes(data[: ends[3] + 5])
    refused([file], out, "line 5: it is cut short", "same -o", "--incomplete")
    (taken,) = ingest([file], out, incomplete=True)
    assert (taken.records, taken.measured) == (3, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"discarded": None},
        {"run_id": "x\ny"},
        {"run_id": ""},
        {"native": 1},
        {"launches_per_sample": 0},
        {"circumstances": {"sm_clock_mhz_low": "a text"}},
        {"circumstances": {"notes": [5]}},
    ],
    ids=str,
)
def test_a_record_that_makes_no_row_is_refused_ahead_of_any_change(
    file: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    """Though whoever wrote it has linked it well."""
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_bytes(forged(write(tmp_path / "one.jsonl", RECORDS[:1]).read_bytes(), "record", changes))
    refused([file, wrong], tmp_path / "out", "wrong.jsonl")
    ingest([file], tmp_path / "out")
    refused([wrong], tmp_path / "out", "wrong.jsonl")
    assert latencies(tmp_path / "out/lut/cpu.csv") == BEST_S


def test_a_lut_that_is_damaged_is_found_ahead_of_any_change(file: Path, tmp_path: Path) -> None:
    lut = tmp_path / "out" / "lut" / "cpu.csv"
    lut.parent.mkdir(parents=True)
    lut.write_text("no table")
    refused([file], tmp_path / "out", "cpu.csv, line 1")


def test_a_lut_beside_another_instrument_s_that_is_damaged_is_found_too(file: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", replace(INSTRUMENT, uuid="4567")
    ingest([write(tmp_path / "other.jsonl", (measurement(spec(), "c0", instrument=other),), other)], out)
    (out / "lut" / f"cpu-{INSTRUMENT.short}.csv").write_text("no table")
    refused([file], out, f"cpu-{INSTRUMENT.short}.csv, line 1")


def test_a_journal_that_is_damaged_is_found_ahead_of_any_change(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingest([write(tmp_path / "one.jsonl", RECORDS[-1:])], out)
    (journal,) = (out / "tuning_logs" / "cpu").glob("*.jsonl")
    journal.write_text("no record\n")
    refused([file], out, f"{journal.name}, line 1")


def test_two_at_once_add_a_record_once(file: Path, tmp_path: Path) -> None:
    """The second one waits until the first, which is held up within, is done."""
    out, inside, go_on = tmp_path / "out", threading.Event(), threading.Event()
    append = TuningDatabase.append

    def held_up(database: TuningDatabase, *arguments: Any) -> None:
        inside.set()
        assert go_on.wait(60)
        append(database, *arguments)

    with mock.patch.object(TuningDatabase, "append", held_up), ThreadPoolExecutor(2) as pool:
        first = pool.submit(ingest, [file], out)
        assert inside.wait(60)
        second = pool.submit(ingest, [file], out)
        with pytest.raises(TimeoutError):
            second.result(0.3)
        go_on.set()
        assert [future.result(60)[0].added for future in (first, second)] == [6, 0]
    assert len(records(out)) == len(RECORDS) + 2


# -- networks ---------------------------------------------------------------------------------------------------------

RAN = configuration("uniform int8", kernel(spec(), 2), kernel(spec(), 2), kernel(spec(bits=4), 1))
WRONG = configuration("wrong.json", kernel(spec(), 1))
UNKNOWN = configuration("unknown.json", kernel(spec(64), 1))
"""Runs a kernel that was not measured."""


def write_networks(path: Path, *networks: NetworkRecord) -> Path:
    with ResultsFile(path) as file:
        file.begin(Header("ab" * 32, "0.1.0", INSTRUMENT, CONDITIONS, "made up", 1, 3, {}, 1000.0, 3))
        file.append(RECORDS)
        for record in networks:
            file.append_network(record)
        file.end(End(Reason.COMPLETE, 5, 1, 2000.0))
    return path


def test_networks_become_what_allocate_reads(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = (network_round(RAN, 9.0), network_fault(WRONG), network_round(UNKNOWN))
    path = write_networks(tmp_path / "results.jsonl", *made)
    (taken,) = ingest([path], out)
    assert [one.configuration for one in taken.networks] == ["uniform int8", "wrong.json", "unknown.json"]
    assert taken.end_to_end == out / "tuning_logs/cpu/end_to_end.csv"
    (point,) = read_end_to_end(taken.end_to_end, "made up", 1, INSTRUMENT.short)
    assert (point.lut_sum_s, point.latency_s) == (3.0 + 3.0 + 4.0, 9.0)
    assert which_lut("cpu", out).path == out / "lut/cpu.csv"
    before = everything(out)
    ingest([path], out)
    assert everything(out) == before


def test_of_two_latencies_the_later_one_stays(tmp_path: Path) -> None:
    out, older = tmp_path / "out", write_networks(tmp_path / "older.jsonl", network_round(RAN, 9.0))
    newer = write_networks(tmp_path / "newer.jsonl", network_round(RAN, 8.0, measured_at=200.0))
    for files in ([older, newer], [newer, older]):
        ingest(files, out)
        points = read_end_to_end(out / "tuning_logs/cpu/end_to_end.csv", "made up", 1, INSTRUMENT.short)
        assert [point.latency_s for point in points] == [8.0]
    others = replace(RAN, steps=RAN.steps[1:])
    ingest([write_networks(tmp_path / "others.jsonl", network_round(others, 7.0))], out)
    points = read_end_to_end(out / "tuning_logs/cpu/end_to_end.csv", "made up", 1, INSTRUMENT.short)
    assert sorted(point.latency_s for point in points) == [7.0, 8.0]  # of other kernels


@pytest.mark.parametrize("fault", [FailureKind.WRONG_OUTPUT, FailureKind.UNSTABLE])
def test_a_network_that_was_wrong_once_gives_no_latency(tmp_path: Path, fault: FailureKind) -> None:
    path = write_networks(tmp_path / "results.jsonl", network_round(RAN), network_fault(RAN, fault))
    (taken,) = ingest([path], tmp_path / "out")
    assert (taken.end_to_end is None) == (fault is FailureKind.WRONG_OUTPUT)


@pytest.mark.parametrize("text", ["notes", "network,batch,fingerprint,lut_sum_s,latency_s\n", "\xff"])
def test_latencies_of_another_kind_are_found_ahead_of_any_change(tmp_path: Path, text: str) -> None:
    path = write_networks(tmp_path / "results.jsonl", network_round(RAN))
    there = tmp_path / "out/tuning_logs/cpu/end_to_end.csv"
    there.parent.mkdir(parents=True)
    there.write_bytes(text.encode("latin-1"))
    refused([path], tmp_path / "out", "end_to_end.csv: not a file of end-to-end latencies")


def test_a_device_that_is_a_path_is_refused(tmp_path: Path) -> None:
    instrument = replace(INSTRUMENT, device="../cpu")
    path = write(tmp_path / "results.jsonl", (), instrument)
    refused([path], tmp_path / "out", "line 1: '../cpu' is not the name of a device")


@pytest.mark.parametrize("data", [b"", b'{"cha', b"a text\n", b"{}\n", b"\0" * 100])
def test_no_result_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(data)
    refused([path], tmp_path / "out", "results.jsonl", incomplete=True)
    refused([tmp_path / "missing.jsonl"], tmp_path / "out", "missing.jsonl: cannot be read")
