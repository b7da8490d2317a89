"""Records and journals: the codec, torn lines, damaged lines, several writers at once."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidFile
from profiler.record import (
    CacheMode,
    Circumstances,
    Conditions,
    Energy,
    EnergyMeasurement,
    EnergyWindow,
    Failure,
    FailureKind,
    Fingerprint,
    Journal,
    Measurement,
    Record,
    decode,
    encode,
    escaped,
)
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

SPEC = KernelSpec(
    Workload(Op.CONV2D, 1, 8, 8, 4, 4, 3, 3),
    DType.UINT8,
    DType.UINT8,
    DType.INT8,
    DType.INT8,
    Epilogue.ADD_REQUANT_RELU,
)
FINGERPRINT = Fingerprint("cpu", "A CPU", "x86_64", "uuid", "", "tvm 0.27", power_limit_w=70.0, ecc=True)

free_text = st.text(max_size=20)
text = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=20)  # printable
maybe = st.none() | st.floats(0, 1e6)
clocks_mhz = st.tuples(st.floats(0, 3000), st.floats(0, 3000)).map(sorted) | st.just((None, None))
conditions = st.builds(Conditions, threads=st.integers(1, 8), cache_mode=st.sampled_from(CacheMode))
measurements = st.builds(
    Measurement,
    spec=st.just(SPEC),
    config=text,
    conditions=conditions,
    fingerprint=text,
    artifact_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    samples_s=st.lists(st.floats(1e-9, 10), min_size=1, max_size=5).map(tuple),
    launches_per_sample=st.integers(1, 9),
    discarded=st.integers(0, 9),
    stage=st.sampled_from(["screen", "final"]),
    run_id=text,
    measured_at=st.floats(0, 2e9),
    tool_version=text,
    native=st.booleans(),
    circumstances=clocks_mhz.flatmap(
        lambda clocks: st.builds(
            Circumstances,
            st.just(clocks[0]),
            st.just(clocks[1]),
            st.none() | st.floats(-50, 200),
            maybe,
            st.none() | st.floats(0, 1),
            maybe,
            maybe,
            st.lists(free_text, max_size=2).map(tuple),
        )
    ),
)
failures = st.builds(
    Failure,
    spec=st.just(SPEC),
    config=text,
    conditions=conditions,
    fingerprint=text,
    kind=st.sampled_from(FailureKind),
    message=free_text,
    run_id=text,
    measured_at=st.floats(0, 2e9),
    tool_version=text,
)
joules = st.none() | st.floats(1e-6, 1e6)
windows = st.builds(EnergyWindow, st.integers(1, 10**6), st.floats(1e-3, 100), st.floats(1e-6, 1e6), joules)
energies = st.builds(
    EnergyMeasurement,
    spec=st.just(SPEC),
    config=text,
    conditions=conditions,
    fingerprint=text,
    artifact_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    energy=st.builds(
        Energy,
        st.lists(windows, min_size=1, max_size=4).map(tuple),
        maybe,
        maybe,
        st.lists(free_text, max_size=2).map(tuple),
        text,
    ),
    run_id=text,
    measured_at=st.floats(0, 2e9),
    tool_version=text,
)
fingerprints = st.builds(
    Fingerprint, text, text, text, text, text, text, maybe, st.none() | st.booleans(), st.none() | st.booleans()
)
records = st.one_of(measurements, energies, failures, fingerprints)


@settings(max_examples=200)
@given(records)
def test_a_record_survives_its_line(record: Record) -> None:
    line = encode(record)
    assert "\n" not in line
    assert decode(line) == record
    assert type(decode(line)) is type(record)


@given(fingerprints, fingerprints)
def test_fingerprints_that_are_equal_have_one_digest(a: Fingerprint, b: Fingerprint) -> None:
    assert (a.digest == b.digest) == (a == b)
    decoded = decode(encode(a))
    assert isinstance(decoded, Fingerprint)
    assert decoded.digest == a.digest


def test_a_power_limit_read_as_an_integer_is_the_same_instrument() -> None:
    assert replace(FINGERPRINT, power_limit_w=70).digest == FINGERPRINT.digest
    assert FINGERPRINT.short == FINGERPRINT.digest[:8]


def test_sustained_is_another_instrument_and_the_older_digests_stay() -> None:
    assert FINGERPRINT.digest == "bacb5c9f4e5ccf22db3719f70b0757c7fb49e9a527449b72459add44d7ca70a6"
    assert replace(FINGERPRINT, sustained=True).digest != FINGERPRINT.digest


def test_records_of_version_1_are_read() -> None:
    body = json.loads(encode(measurement()))
    for name in ("power_w", "floor_s"):
        del body["circumstances"][name]
    assert decode(json.dumps({**body, "version": 1})) == measurement()


def test_records_of_version_2_are_read() -> None:
    """Their lines are as those of version 3, which has one more type."""
    for record in (FINGERPRINT, measurement(), FAILED):
        assert decode(json.dumps({**json.loads(encode(record)), "version": 2})) == record


def measurement(**changes: object) -> Measurement:
    base = Measurement(SPEC, "c", Conditions(), "f", "ab" * 32, (1.0, 2.0), 1, 0, "final", "r", 1.0, "0.1")
    return replace(base, **changes)  # type: ignore[arg-type]


FAILED = Failure(SPEC, "c", Conditions(), "f", FailureKind.CRASH, "SIGSEGV", "r", 1.0, "0.1")
ENERGY = Energy((EnergyWindow(500, 5.0, 100.0, 101.0), EnergyWindow(505, 5.05, 102.0, 103.0)), 10.0, 12.0)
"""0.2 J a run at 20 W, of which 11 W are those of a device that does nothing."""


def energy_measurement(energy: Energy = ENERGY) -> EnergyMeasurement:
    return EnergyMeasurement(SPEC, "c", Conditions(), "f", "ab" * 32, energy, "r", 1.0, "0.1")


def test_what_follows_from_windows() -> None:
    assert ENERGY.counted_j_per_run == pytest.approx((100 / 500 + 102 / 505) / 2)
    assert ENERGY.integrated_j_per_run == pytest.approx((101 / 500 + 103 / 505) / 2)
    assert ENERGY.j_per_run == ENERGY.counted_j_per_run, "the counter is believed"
    assert ENERGY.above_idle_j_per_run == pytest.approx(ENERGY.j_per_run - 11 * 0.01)
    sensed = replace(ENERGY, windows=(replace(ENERGY.windows[0], counted_j=None), ENERGY.windows[1]))
    assert sensed.counted_j_per_run is None, "not of two windows of three"
    assert sensed.j_per_run == ENERGY.integrated_j_per_run


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(windows=[]),
        lambda e: e.update(windows={}),
        lambda e: e.pop("windows"),
        lambda e: e["windows"][0].update(runs=0),
        lambda e: e["windows"][0].update(runs=1.5),
        lambda e: e["windows"][0].update(duration_s=0),
        lambda e: e["windows"][0].update(counted_j=-1.0),
        lambda e: e["windows"][0].update(counted_j=0.0),
        lambda e: e["windows"][0].update(integrated_j="1"),
        lambda e: e["windows"][0].update(counted_j=None) or e["windows"][1].update(integrated_j=None),
        lambda e: e["windows"][0].update(weather="rain"),
        lambda e: e.update(idle_before_w=float("nan")),
        lambda e: e.update(notes="a note"),
        lambda e: e.update(notes=[1]),
        lambda e: e.update(counter="a\nb"),
    ],
)
def test_an_energy_that_cannot_be(change: Callable[[Any], object]) -> None:
    body = json.loads(encode(energy_measurement()))
    change(body["energy"])
    with pytest.raises(InvalidFile, match=r"a\.jsonl, line 3"):
        decode(json.dumps(body), origin="a.jsonl, line 3")


def damaged(change: object) -> str:
    body = json.loads(encode(measurement()))
    change(body)  # type: ignore[operator]
    return json.dumps(body)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        "{}",
        encode(measurement())[:-10],
        damaged(lambda b: b.update(version=99)),
        damaged(lambda b: b.pop("version")),
        damaged(lambda b: b.update(type="guess")),
        damaged(lambda b: b.pop("spec")),
        damaged(lambda b: b["spec"].update(op="conv3d")),
        damaged(lambda b: b["spec"].update(batch=0)),
        damaged(lambda b: b.update(spec=7)),
        damaged(lambda b: b.update(samples_s=[])),
        damaged(lambda b: b.update(samples_s=[-1.0])),
        damaged(lambda b: b.update(samples_s=["1"])),
        damaged(lambda b: b.update(samples_s=[float("nan")])),
        damaged(lambda b: b["conditions"].update(threads=0)),
        damaged(lambda b: b["conditions"].update(cache_mode="warm")),
        damaged(lambda b: b["circumstances"].update(weather="rain")),
        damaged(lambda b: b.update(mood="good")),
    ],
)
def test_a_damaged_line_is_an_error_that_says_where(line: str) -> None:
    with pytest.raises(InvalidFile, match=r"a\.jsonl, line 3"):
        decode(line, origin="a.jsonl, line 3")


def test_conditions_check_themselves() -> None:
    with pytest.raises(ValueError, match="threads"):
        Conditions(threads=0)
    assert Conditions(cache_mode="cold").cache_mode is CacheMode.COLD  # type: ignore[arg-type]


# -- journals ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.lists(records, max_size=3), max_size=4))
def test_a_journal_gives_back_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Record]]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal") / "folder" / "j.jsonl")
    assert list(journal.read()) == []
    for batch in batches:
        journal.append(batch)
    assert list(journal.read()) == [record for batch in batches for record in batch]


def test_a_torn_last_line_is_dropped_wherever_it_tore_and_the_journal_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.append([FINGERPRINT, measurement()])
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole), 7):
        path.write_bytes(whole[:cut])
        assert list(journal.read()) == [FINGERPRINT]
        journal.append([measurement(config="d")])
        assert list(journal.read()) == [FINGERPRINT, measurement(config="d")]


def test_a_journal_that_is_nothing_but_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b"x" * 200_000)  # longer than the block in which the last line break is looked for
    assert list(Journal(path).read()) == []
    Journal(path).append([FINGERPRINT])
    assert list(Journal(path).read()) == [FINGERPRINT]


def test_a_long_torn_line_is_cut_at_the_right_place(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path).append([FINGERPRINT])
    with path.open("ab") as file:
        file.write(b"\x00" * 150_000)
    Journal(path).append([measurement()])
    assert list(Journal(path).read()) == [FINGERPRINT, measurement()]


def test_a_line_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path).append([FINGERPRINT, measurement(), measurement()])
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"\xff" + lines[1]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InvalidFile, match="line 2"):
        list(Journal(path).read())


def test_an_append_waits_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path).append([FINGERPRINT])
    before = path.read_bytes()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(target=Journal(path).append, args=([measurement()],))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        assert path.read_bytes() == before
    writer.join(30)
    assert list(Journal(path).read()) == [FINGERPRINT, measurement()]


def test_two_processes_append_without_losing_or_tearing_lines(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    script = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from profiler.record import Fingerprint, Journal\n"
        "for i in range(60):\n"
        "    Journal(Path(sys.argv[1])).append([Fingerprint(sys.argv[2], str(i), 'x' * 5000, '', '', '')] * 2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(path), name], env=environment, stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    assert [(w.communicate(timeout=60)[1], w.returncode) for w in workers] == [(b"", 0)] * 2
    seen = [(r.device, r.device_name) for r in Journal(path).read() if isinstance(r, Fingerprint)]
    assert sorted(seen) == sorted((name, str(i)) for name in "ab" for i in range(60) for _ in range(2))
    assert [name for name, _ in seen[::2]] == [name for name, _ in seen[1::2]]  # a batch stays together


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config", (5, None, "a\nb", "\x1b[2J", "\ud800", ["c"])),
        ("fingerprint", (None, "a\rb")),
        ("run_id", (1, "x\ny")),
        ("tool_version", (0.1, "\0")),
        ("measured_at", ("x", True, None, -1.0, float("nan"), float("inf"), 1e300, 10**400)),
        ("artifact_sha256", ("", None, "AB" * 32, "ab" * 32 + "\n", int("1" * 64))),
        ("stage", ("bogus", None, ["final"], "final\n")),
        ("launches_per_sample", (0, -1, 1.0, True, None, "1", 10**20)),
        ("discarded", (None, -1, 0.5, False, "0", 10**20)),
        ("native", (None, 1, "true")),
        ("samples_s", (None, 1.0, "12", [True], [None], [0.0], [float("inf")], [1e300], [10**400], [[1.0]])),
        ("circumstances", (None, [], "", {"notes": "a note"}, {"notes": [1]}, {"notes": None})),
        ("conditions", (None, {"threads": True}, {"threads": 1.0}, {"threads": 10**20}, {"threads": "1"})),
        ("spec", (None, [])),
        ("odd\x1b\n", (1,)),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_with_its_line(tmp_path: Path, name: str, values: list[object]) -> None:
    path = tmp_path / "journal.jsonl"
    for value in values:
        path.write_text(json.dumps({**json.loads(encode(measurement())), name: value}) + "\n")
        with pytest.raises(InvalidFile, match=r"journal\.jsonl, line 1: not a record") as caught:
            list(Journal(path).read())
        assert str(caught.value).isprintable(), value


@pytest.mark.parametrize("name", [f.name for f in fields(Circumstances) if f.name != "notes"])
@pytest.mark.parametrize("value", ["70", True, float("nan"), float("-inf"), [1.0]])
def test_a_circumstance_of_the_wrong_kind(name: str, value: object) -> None:
    with pytest.raises(InvalidFile):
        decode(damaged(lambda b: b["circumstances"].update({name: value})))


@pytest.mark.parametrize(
    "changes",
    [{"sm_clock_mhz_low": 2.0, "sm_clock_mhz_high": 1.0}, {"power_capped_fraction": 1.1}, {"power_w": -1.0}],
)
def test_circumstances_that_cannot_be(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidFile):
        decode(damaged(lambda b: b["circumstances"].update(changes)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device_name", "a\nb"),
        ("uuid", None),
        ("power_limit_w", "70"),
        ("power_limit_w", float("nan")),
        ("ecc", "yes"),
        ("clocks_locked", 1),
        ("sustained", None),
        ("locked_sm_clock_mhz", 0),
        ("locked_sm_clock_mhz", 585.5),
    ],
)
def test_a_fingerprint_of_the_wrong_kind(name: str, value: object) -> None:
    with pytest.raises(InvalidFile):
        decode(json.dumps({**json.loads(encode(FINGERPRINT)), name: value}))


@pytest.mark.parametrize(
    "changes", [{"in_channels": 10**20, "out_channels": 10**20}, {"input_layout": 5}, {"output_layout": "n\n"}]
)
def test_a_kernel_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidFile):
        decode(damaged(lambda b: b["spec"].update(changes)))


def test_a_failure_s_message_is_any_text() -> None:
    failure = Failure(SPEC, "c", Conditions(), "f", FailureKind.CRASH, "two\nlines", "r", 1.0, "0.1")
    assert decode(encode(failure)) == failure
    for message in (None, 5):
        with pytest.raises(InvalidFile):
            decode(json.dumps({**json.loads(encode(failure)), "message": message}))


def test_a_deep_line_is_no_record() -> None:
    with pytest.raises(InvalidFile):
        decode("[" * 100_000)


@given(free_text)
def test_what_is_escaped_is_on_one_line(raw: str) -> None:
    assert escaped(raw).isprintable()
    assert (escaped(raw) == raw) == raw.isprintable()
