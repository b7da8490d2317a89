"""Rows of two tables beside each other: which belong together, and which are one measurement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.lut.comparison import RowPair, differing, join, subject, usual_clock_mhz
from profiler.lut.schema import LutRow, Source
from profiler.predictor.observation import Observation
from profiler.record import CacheMode, Conditions
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.predictor.invented_lut import lut_row, published


def row(channels: int = 8, latency_s: float = 1e-5, **changes: object) -> LutRow:
    """A measured row of a pointwise convolution."""
    work = Workload(Op.CONV2D, 1, 7, 7, channels, 64)
    spec = KernelSpec(work, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT)
    return replace(lut_row(Observation(spec, latency_s, 0.01)), **changes)  # type: ignore[arg-type]


def predicted(measured: LutRow) -> LutRow:
    return replace(measured, source=Source.PREDICTED, samples=0, artifact_sha256="", run_id="")


@pytest.mark.parametrize("measured_first", [True, False])
def test_a_measured_row_goes_ahead_of_a_published_one(measured_first: bool) -> None:
    measured, other = row(latency_s=1e-5), published(row(latency_s=2e-5))
    a = [measured, other] if measured_first else [other, measured]
    joined = join(a, [row(latency_s=3e-5)])
    assert [pair.a for pair in joined.pairs] == [measured]
    assert (joined.only_a, joined.only_b) == (0, 0)


def test_a_published_row_is_compared_where_none_is_measured() -> None:
    a, b = published(row()), row(latency_s=2e-5)
    assert join([a], [b]).pairs == (RowPair(a, b),)


def test_predicted_rows_neither_join_nor_count() -> None:
    joined = join([row(8), predicted(row(16)), predicted(row(24))], [row(8), row(16), predicted(row(32))])
    assert [pair.a.spec.workload.in_channels for pair in joined.pairs] == [8]
    assert (joined.only_a, joined.only_b) == (0, 1)


def test_a_predicted_row_hides_no_measured_one() -> None:
    measured = row(8)
    for a in ([measured, predicted(row(8))], [predicted(row(8)), measured]):
        assert join(a, [row(8)]).pairs[0].a == measured


def test_a_bare_kernel_is_another_one_than_the_fused() -> None:
    fused = row()
    bare = replace(fused, spec=replace(fused.spec, epilogue=Epilogue.NONE, output_dtype=DType.INT32))
    joined = join([bare], [fused])
    assert (joined.pairs, joined.only_a, joined.only_b) == ((), 1, 1)


def test_pairs_come_in_the_order_of_the_first() -> None:
    a, b = [row(24), row(8), row(16)], [row(8), row(16), row(24)]
    assert [pair.a.spec.workload.in_channels for pair in join(a, b).pairs] == [24, 8, 16]


@pytest.mark.parametrize(
    ("change", "once"),
    [
        ({}, True),
        ({"config": "renamed"}, True),
        ({"run_id": "another"}, False),
        ({"measured_at": 2.0}, False),
        ({"artifact_sha256": "cd" * 32}, False),
        ({"latency_median_s": 1.001e-5}, False),
    ],
)
def test_two_measurements_differ_in_run_time_artifact_or_latency(change: dict[str, object], once: bool) -> None:
    a = row()
    assert RowPair(a, replace(a, **change)).once is once  # type: ignore[arg-type]


def test_published_rows_are_one_if_they_are_equal_in_every_cell() -> None:
    a = published(row())
    assert RowPair(a, replace(a)).once
    assert not RowPair(a, replace(a, citation="somebody else")).once
    assert not RowPair(a, row()).once, "one is published, the other measured"


def test_what_tells_instruments_apart() -> None:
    a = row()
    assert differing(a, replace(a, fingerprint="22222222")) == ()
    assert differing(a, replace(a, device="t4", arch="sm_75")) == ("device", "arch")


def test_what_a_table_is_about() -> None:
    a = row()
    b = replace(
        a, conditions=Conditions(2, CacheMode.HOT), spec=replace(a.spec, workload=a.spec.workload.with_batch(8))
    )
    assert subject([b, a]) == "batch 1, 8, threads 1, 2, cache mode hot, network"


def test_the_usual_clock_is_the_median_of_the_middles() -> None:
    clocks = [(900.0, 1100.0), (1900.0, 2100.0), (2000.0, 4000.0), (None, None)]
    rows = [row(8 * i, sm_clock_mhz_low=low, sm_clock_mhz_high=high) for i, (low, high) in enumerate(clocks, start=1)]
    assert usual_clock_mhz(rows) == 2000.0
    assert usual_clock_mhz(rows[3:]) is None
