"""The section on throughput: what ran end to end goes ahead, sums are arithmetic on the rows, and gaps are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.errors import FingerprintMismatch, InvalidFile
from profiler.frontend import load_network
from profiler.lut.demand import demand
from profiler.lut.schema import Source
from profiler.report.content.report import Section
from profiler.report.content.throughput import ThroughputCurves
from profiler.report_stages.report import report_of
from profiler.report_stages.throughputs import throughput_section
from profiler.throughput import file
from profiler.throughput.digests import network_digest
from profiler.throughput.file import Throughputs
from profiler.throughput.knee import KneeKind
from profiler.throughput.point import Point, Window
from profiler.workload import INT4, INT8, Network, Op
from tests.report.stages.cases import DEVICE, Place, chain, invented_s, place, row, without_measurement
from tests.throughput.examples import point, windows

BATCHES = (1, 2, 8)
FIXED_S = 1e-5


def latency_s(spec: Any) -> float:
    """A launch takes some time, and an image so much as ever."""
    alone = replace(spec, workload=spec.workload.with_batch(1))
    return FIXED_S + spec.workload.batch * invented_s(alone)


def several(folder: Path, energy: float | None = None, without: Any = lambda spec: False) -> Place:
    """A table of three batches."""
    first = place(folder)
    rows = [
        row(wanted.spec, latency_s(wanted.spec), energy_j=None if energy is None else energy * latency_s(wanted.spec))
        for batch in BATCHES
        for wanted in demand(load_network(str(first.model), batch), (INT8, INT4), mixed=True)
        if not without(wanted.spec)
    ]
    return place(folder, rows=rows)


def ran(there: Place, *points: Point, fingerprint: str = DEVICE.short, name: str = "cpu") -> Path:
    path = there.table.parent / f"{name}{file.SUFFIX}"
    digest = network_digest(there.network)
    own = tuple(replace(p, network=there.network.name, network_digest=digest) for p in points)
    file.update(path, Throughputs(DEVICE.device, DEVICE.device_name, DEVICE.arch, fingerprint, own))
    return path


def curves_in(section: Section) -> ThroughputCurves:
    assert isinstance(section.figure, ThroughputCurves)
    return section.figure


def sum_s(network: Network, bits: int) -> float:
    """Of a chain every layer has one kernel."""
    return sum(
        latency_s(wanted.spec)
        for wanted in demand(network, (INT8 if bits == 8 else INT4,), mixed=False)
        for _ in wanted.layers
    )


# -- sums -------------------------------------------------------------------------------------------------------------


def test_without_a_run_the_rows_are_added_up(tmp_path: Path) -> None:
    there = several(tmp_path)
    section = throughput_section(there.subject())
    curves = curves_in(section)
    assert [(c.name, c.source) for c in curves.curves] == [("INT8", "sum of kernels"), ("INT4", "sum of kernels")]
    for curve, bits in zip(curves.curves, (8, 4), strict=True):
        for found, batch in zip(curve.points, BATCHES, strict=True):
            expected_s = sum_s(load_network(str(there.model), batch), bits)
            assert (found.batch, found.images_per_s) == (batch, pytest.approx(batch / expected_s))
            assert found.j_per_image is None
    assert section.notes[0].startswith("Nothing is told per watt, since no energy was measured: make throughput")
    assert "ENERGY=1" in section.notes[0]
    assert "INT8 and INT4: sums of the table's kernels, which did not run as a network" in section.notes[1]
    assert "UNIFORM=int8,int4" in section.notes[1]
    assert [len(table.table.rows) for table in section.tables] == [6]


def test_joules_of_rows_are_added_up(tmp_path: Path) -> None:
    """At 30 W each kernel."""
    there = several(tmp_path, energy=30.0)
    section = throughput_section(there.subject())
    for curve in curves_in(section).curves:
        for found in curve.points:
            assert found.power_w == pytest.approx(30)
            assert found.images_per_j == pytest.approx(found.images_per_s / 30)
    assert not any("Nothing is told per watt" in note for note in section.notes)
    assert "for each watt" in section.lead
    missing = several(tmp_path / "b", energy=30.0)
    rows = list(missing.subject().rows)
    rows[0] = replace(rows[0], energy_j=None)
    found = curves_in(throughput_section(place(tmp_path / "b", rows=rows).subject()))
    known = [p.j_per_image is not None for curve in found.curves for p in curve.points]
    assert known.count(False) == 1, "what lacks a kernel's joules has none"


def test_a_batch_that_lacks_a_layer_has_no_sum(tmp_path: Path) -> None:
    def lacks(spec: Any) -> bool:
        return spec.workload.op is Op.DENSE and spec.workload.batch == 2

    section = throughput_section(several(tmp_path, without=lacks).subject())
    assert [[p.batch for p in curve.points] for curve in curves_in(section).curves] == [[1, 8]] * 2


def test_a_table_without_a_layer_has_none_and_says_so(tmp_path: Path) -> None:
    there = several(tmp_path, without=lambda spec: spec.workload.op is Op.AVG_POOL)
    section = throughput_section(there.subject())
    assert section.figure is None
    assert "No sum of INT8 at batch 1: 1 of 5 layers have no latency (pooling)." in section.notes


def test_predicted_rows_are_said(tmp_path: Path) -> None:
    there = several(tmp_path)
    rows = [without_measurement(one, Source.PREDICTED) for one in there.subject().rows]
    section = throughput_section(place(tmp_path, rows=rows).subject())
    assert "Some of these latencies are predicted, not measured." in section.notes


# -- runs -------------------------------------------------------------------------------------------------------------


def test_what_ran_end_to_end_goes_ahead_of_sums(tmp_path: Path) -> None:
    there = several(tmp_path, energy=30.0)
    ran(
        there, point(1, 0.004), point(4, 0.008), point(64, 0.1), point(1, 0.003, configuration="b", bits_digest="a" * 8)
    )
    section = throughput_section(there.subject())
    curves = curves_in(section)
    assert [(c.name, c.source) for c in curves.curves] == [
        ("INT8", "end to end"), ("b", "end to end"), ("INT4", "sum of kernels"),
    ]  # fmt: skip
    assert [(p.batch, round(p.images_per_s)) for p in curves.curves[0].points] == [(1, 250), (4, 500), (64, 640)]
    assert curves.curves[0].knee.kind is KneeKind.RISING
    assert "INT8, end to end: 640 images/s at batch 64, no knee in the range" in section.lead
    assert any(note.startswith("INT4: sums of the table's kernels") for note in section.notes)
    assert "Rows at batch 2, 8 did not run as a network." in section.notes


def test_a_counter_that_nobody_could_read_is_one_line(tmp_path: Path) -> None:
    there = several(tmp_path)
    ran(there, point(1, no_energy="RAPL: none here"), point(8, 0.03, no_energy="RAPL: none here"))
    notes = throughput_section(there.subject()).notes
    assert [note for note in notes if "per watt" in note] == [
        "Nothing is told per watt, since no counter was readable: RAPL: none here."
    ]


def test_joules_of_a_run(tmp_path: Path) -> None:
    there = several(tmp_path)
    ran(there, point(4, windows=tuple(Window(100, 2.0, 50.0) for _ in range(6))))
    section = throughput_section(there.subject())
    (found,) = curves_in(section).curves[0].points
    assert (found.images_per_s, found.images_per_j, found.power_w) == pytest.approx((200, 8, 25))
    assert any("idle power included" in note for note in section.notes)


@pytest.mark.parametrize("another", ["instrument", "network"])
def test_runs_of_something_else_are_not_shown(tmp_path: Path, another: str) -> None:
    there = several(tmp_path)
    if another == "instrument":
        path = ran(there, point(1), fingerprint="89abcdef")
        with pytest.raises(FingerprintMismatch, match=r"is of Invented CPU \(89abcdef\), and the table of"):
            throughput_section(there.subject(), path)
    else:
        content = Throughputs(DEVICE.device, DEVICE.device_name, DEVICE.arch, DEVICE.short, (point(1),))
        file.update(there.table.parent / "cpu.throughput.json", content)
    assert {c.end_to_end for c in curves_in(throughput_section(there.subject())).curves} == {False}


def test_a_damaged_file_beside_the_table_is_told(tmp_path: Path) -> None:
    there = several(tmp_path)
    path = ran(there, point(1))
    path.write_bytes(path.read_bytes()[:-30])
    section = throughput_section(there.subject())
    assert "cpu.throughput.json: is no file of throughputs: not JSON." in section.notes
    assert str(tmp_path) not in repr(section)
    with pytest.raises(InvalidFile, match="not JSON"):
        throughput_section(there.subject(), path)


def test_points_of_several_runs_and_of_defaults_are_told(tmp_path: Path) -> None:
    there = several(tmp_path)
    ran(there, point(1), point(8, 0.03, run_id="another", by_default=3))
    notes = throughput_section(there.subject()).notes
    assert any("Points of several runs make one curve" in note for note in notes)
    assert any("config of the analytic model" in note for note in notes)


def test_a_file_that_is_named_counts_alone(tmp_path: Path) -> None:
    there = several(tmp_path)
    ran(there, point(1))
    elsewhere = there.folder / "mine.json"
    elsewhere.write_bytes(ran(there, point(2, windows=windows(0.01)), name="other").read_bytes())
    report = report_of(there.subject(), there.request(throughput=elsewhere))
    (section,) = [found for found in report.sections if found.name == "throughput"]
    assert [p.batch for p in curves_in(section).curves[0].points] == [2]


def test_the_order_of_files_and_points_is_nothing(tmp_path: Path) -> None:
    points: Sequence[Point] = (point(1), point(8, 0.03), point(1, 0.003, configuration="int4"))
    one, other = several(tmp_path / "a"), several(tmp_path / "b")
    ran(one, *points)
    for index, found in enumerate(reversed(points)):
        ran(other, found, name=f"cpu-{index}")
    first, second = (throughput_section(there.subject()) for there in (one, other))
    assert first == second
    assert [c.name for c in curves_in(first).curves] == ["INT8", "INT4"]


def test_a_chain_is_in_the_report(tmp_path: Path) -> None:
    there = place(tmp_path, chain())
    names = [section.name for section in report_of(there.subject(), there.request()).sections]
    assert names.index("throughput") == names.index("time") + 1
