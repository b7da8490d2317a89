"""Rows from records: which measurement stands for a kernel, and where each cell comes from."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidFile
from profiler.lut.build import build
from profiler.lut.schema import Source
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
    Measurement,
    Record,
)
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

HERE = Fingerprint("cpu", "A CPU", "x86_64", "u", "", "tvm 0.27")
THERE = replace(HERE, compiler="tvm 0.28")
SPEC = KernelSpec(
    Workload(Op.CONV2D, 1, 8, 8, 4, 4, 3, 3), DType.UINT8, DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT
)
FINAL = Measurement(
    spec=SPEC,
    config="a",
    conditions=Conditions(2, CacheMode.COLD),
    fingerprint=HERE.digest,
    artifact_sha256="ab" * 32,
    samples_s=(3.0, 1.0, 2.0, 5.0, 4.0),
    launches_per_sample=3,
    discarded=2,
    stage="final",
    run_id="run",
    measured_at=10.0,
    tool_version="0.1",
    native=False,
    circumstances=Circumstances(900.0, 950.0, 60.0, 0.1, 0.25),
)


def test_every_cell() -> None:
    (row,) = build([HERE, FINAL], HERE)
    assert (row.spec, row.conditions, row.source) == (SPEC, FINAL.conditions, Source.MEASURED)
    assert (row.fingerprint, row.device, row.device_name, row.arch) == (HERE.short, "cpu", "A CPU", "x86_64")
    assert (row.latency_median_s, row.latency_q1_s, row.latency_q3_s) == (3.0, 2.0, 4.0)
    assert (row.latency_ci95_low_s, row.latency_ci95_high_s) == (1.0, 5.0)
    assert (row.samples, row.discarded, row.native) == (5, 2, False)
    assert (row.sm_clock_mhz_low, row.sm_clock_mhz_high, row.power_capped_fraction) == (900.0, 950.0, 0.25)
    assert (row.config, row.artifact_sha256, row.run_id) == ("a", "ab" * 32, "run")
    assert (row.tool_version, row.measured_at, row.energy_j, row.citation) == ("0.1", 10.0, None, "")
    assert row.macs == 6 * 6 * 4 * 36


def at(time_s: float, median_s: float, config: str) -> Measurement:
    return replace(FINAL, measured_at=time_s, samples_s=(median_s,), config=config, run_id=str(time_s))


def test_the_fastest_config_by_the_latest_run_of_each() -> None:
    records: list[Record] = [HERE, at(1, 1.0, "a"), at(2, 3.0, "a"), at(1, 2.0, "b"), at(3, 2.5, "b"), at(2, 4.0, "c")]
    (row,) = build(records, HERE)
    assert (row.config, row.latency_median_s, row.measured_at) == ("b", 2.5, 3)


def test_a_run_of_the_future_is_not_the_latest() -> None:
    wrong, right = at(1e9, 1.0, "a"), at(2.0, 2.0, "a")
    assert [row.measured_at for row in build([HERE, wrong, right], HERE, now=10.0)] == [2.0]
    assert [row.measured_at for row in build([HERE, wrong, right], HERE, now=2e9)] == [1e9]
    assert [row.measured_at for row in build([HERE, wrong], HERE, now=10.0)] == [1e9], "there is no other one"


def test_what_is_passed_over() -> None:
    records: list[Record] = [
        HERE,
        THERE,
        replace(FINAL, stage="screen"),
        replace(FINAL, fingerprint=THERE.digest),
        Failure(SPEC, "a", FINAL.conditions, HERE.digest, FailureKind.CRASH, "signal 11", "run", 1.0, "0.1"),
    ]
    assert build(records, HERE) == ()
    assert len(build(records, THERE)) == 1


def test_a_measurement_of_an_undescribed_instrument_is_an_error() -> None:
    with pytest.raises(InvalidFile, match="unknown fingerprint"):
        build([HERE, replace(FINAL, fingerprint=HERE.short)], HERE)


def test_conditions_and_specs_have_rows_of_their_own() -> None:
    other = replace(SPEC, input_dtype=DType.INT8)
    records = [FINAL, replace(FINAL, conditions=Conditions(1)), replace(FINAL, spec=other)]
    assert len(build(records, HERE)) == 3


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=3),
            st.sampled_from("abc"),
        ),
        min_size=1,
        max_size=8,
    ),
    st.randoms(),
)
def test_the_order_of_records_does_not_matter(runs: list[tuple[int, list[float], str]], random: object) -> None:
    records = [replace(FINAL, measured_at=float(t), samples_s=tuple(s), config=c) for t, s, c in runs]
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    (row,) = build(records, HERE)
    assert build(shuffled, HERE) == (row,)
    newest = {c: max(r.measured_at for r in records if r.config == c) for c in {r.config for r in records}}
    candidates = [r for r in records if r.measured_at == newest[r.config]]
    assert row.latency_median_s in [statistics.median(r.samples_s) for r in candidates]


def joules(time_s: float, per_run_j: float, config: str = "a") -> EnergyMeasurement:
    energy = Energy((EnergyWindow(100, 5.0, 100 * per_run_j, None),), None, None)
    return EnergyMeasurement(
        SPEC, config, FINAL.conditions, HERE.digest, "ab" * 32, energy, str(time_s), time_s, FINAL.tool_version
    )


def test_the_energy_is_the_latest_of_the_same_config_on_the_same_instrument() -> None:
    records: list[Record] = [
        joules(3, 0.5),
        HERE,
        FINAL,
        joules(2, 0.25),
        joules(9, 4.0, "b"),
        replace(joules(9, 8.0), conditions=Conditions(1)),
        replace(joules(9, 16.0), fingerprint=THERE.digest),
    ]
    (row,) = build(records, HERE)
    assert row.energy_j == pytest.approx(0.5)
    assert replace(row, energy_j=None) == build([HERE, FINAL], HERE)[0], "the rest is the latency's"
    (other,) = build([*records, at(4, 1e-3, "b")], HERE)
    assert (other.config, other.energy_j) == ("b", pytest.approx(4.0))
    assert build([HERE, joules(3, 0.5)], HERE) == (), "an energy alone is no row"


def test_a_config_that_ever_failed_is_not_taken() -> None:
    """However fast it once was: a kernel that computes something else now and then has no latency."""
    fast = replace(FINAL, config="wrong", samples_s=(1e-9,) * 5)
    failure = Failure(SPEC, "wrong", FINAL.conditions, HERE.digest, FailureKind.WRONG_OUTPUT, "no", "run", 11.0, "0.1")
    assert [row.config for row in build([HERE, fast, failure, FINAL], HERE)] == ["a"]
    assert build([HERE, failure, fast], HERE) == ()
    elsewhere = replace(failure, fingerprint=THERE.digest)
    assert [row.config for row in build([HERE, fast, THERE, elsewhere], HERE)] == ["wrong"]
