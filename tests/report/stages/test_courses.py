"""Where the time of a network goes: totals against the printed table, and against what an allocation says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import fsum
from pathlib import Path

import pandas as pd
import pytest

from profiler.allocation.bits_file import Bits
from profiler.allocation.limit_text import LimitText
from profiler.allocation.problem import Quantity
from profiler.allocation_stages.allocate import AllocateRequest, allocate
from profiler.lut.table import network_table
from profiler.report.content.time_course import Work, summary_of, table_of
from profiler.report_stages.courses import course_section, courses_of
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.subject import Subject, subject_of
from profiler.units import format_duration
from profiler.workload import INT4, INT8, KernelSpec, Op
from tests.allocation.networks import residual
from tests.report.stages.cases import HOST, SHAPES, T4, chain, place, rows_of_network, sensitivities


@pytest.fixture(scope="module")
def host() -> Subject:
    return subject_of(ReportRequest(lut=HOST))


def allocated(model: str, table: Path, batch: int, **limit: float) -> Bits:
    asked = AllocateRequest(model, lut=table, limits=(LimitText(Quantity.LATENCY, **limit),), batch=batch)
    return allocate(replace(asked, only_priced=table == T4)).bits


@pytest.fixture(scope="module")
def mixed() -> Bits:
    """Of the recorded host, as fast as it gets: with conversions or additions apart, whatever pays."""
    return allocated("resnet18", HOST, 1, amount=4.17e-3)


def lines_of(about: Subject) -> Mapping[str, tuple[float | None, ...]]:
    """Seconds of each line in INT8 and INT4, by the way of the printed table."""
    seconds = {spec: price.latency_s for spec, price in about.priced.prices.items()}
    table = network_table(about.network, (INT8, INT4), seconds)
    return {" + ".join(line.layers): tuple(cell.latency_s for cell in line.cells) for line in table.rows}


def uniform_totals(about: Subject) -> tuple[float, ...]:
    """Of the lines that have both."""
    both = [(a, b) for a, b in lines_of(about).values() if a is not None and b is not None]
    return fsum(a for a, _ in both), fsum(b for _, b in both)


@pytest.mark.parametrize(
    ("path", "model"), [(HOST, "resnet18"), (SHAPES, "resnet50"), (SHAPES, "inceptionv3"), (T4, "resnet50")]
)
def test_uniform_networks_take_what_the_printed_table_says(path: Path, model: str) -> None:
    about = subject_of(ReportRequest(lut=path, model=model))
    found = courses_of(about, None)
    assert [course.total_s for course in found.courses] == pytest.approx(uniform_totals(about))
    assert [course.name.split()[0] for course in found.courses] == ["INT8", "INT4"]


def test_the_recorded_host_by_kind_of_kernel(host: Subject) -> None:
    """Max pool, average pool and the dense layer are one row each; pandas reads them."""
    frame = pd.read_csv(HOST)
    course = courses_of(host, None).courses[0]
    pools = frame[(frame.op == "max_pool") & (frame.input_dtype == "uint8")].latency_median_s.sum()
    pools += frame[(frame.op == "avg_pool") & (frame.input_dtype == "uint8") & (frame.output_dtype == "uint8")][
        "latency_median_s"
    ].sum()
    dense = frame[(frame.op == "dense") & (frame.weight_dtype == "int8")].latency_median_s.sum()
    assert course.of(Work.POOLING) == pytest.approx(float(pools))
    assert course.of(Work.DENSE) == pytest.approx(float(dense))
    assert course.of(Work.CONVERSION) == course.of(Work.CONCATENATION) == 0
    assert fsum(course.of(work) for work in Work) == pytest.approx(course.total_s)


def test_a_mixed_network_takes_what_its_bits_say(host: Subject, mixed: Bits) -> None:
    found = courses_of(host, ("mixed", mixed))
    course = found.courses[2]
    assert course.name == "mixed"
    assert course.total_s == pytest.approx(mixed.latency.total_s, rel=1e-12)
    assert len({layer.precision for layer in mixed.layers}) == 2


def test_conversions_are_a_kind_of_their_own(tmp_path: Path) -> None:
    """Two readers of one tensor in two precisions: one of them reads a copy."""
    there = place(tmp_path, residual())
    asked = AllocateRequest(
        str(there.model), lut=there.table, sensitivity=sensitivities(there), keep=(), forbid=("a=int4", "shortcut=int8")
    )
    bits = allocate(replace(asked, batch=there.network.batch)).bits
    course = courses_of(there.subject(), ("mixed", bits)).courses[2]
    copies = [kernel for kernel in course.kernels if kernel.work is Work.CONVERSION]
    assert len(copies) == len(bits.conversions) == 1
    assert copies[0].name in ("conversion for a", "conversion for shortcut")
    assert course.total_s == pytest.approx(bits.latency.total_s, rel=1e-12)


def test_bare_kernels_of_others() -> None:
    """The published table: pools have no row, the stem and the last layer none in INT4. All times are over the layers
    that all of them have, else the slowest network would be the one of which most is known."""
    about = subject_of(ReportRequest(lut=T4))
    bits = allocated("resnet18", T4, 8, fraction=0.5)
    found = courses_of(about, ("mixed", bits))
    lines = lines_of(about)
    missing = ("conv1", "maxpool", "avgpool", "fc")
    assert tuple(name for name, cells in lines.items() if None in cells) == missing
    assert [(course.name, found.priced(course)) for course in found.courses] == [
        ("INT8", 19),
        ("INT4", 19),
        ("mixed", 19),
    ]
    for course in found.courses:
        assert course.unpriced == missing
        assert {found.layers[kernel.place] for kernel in course.kernels} == set(found.layers) - set(missing)
    assert [course.total_s for course in found.courses[:2]] == pytest.approx(uniform_totals(about))
    known = [lines[name][0] for name in ("conv1", "fc")]
    assert found.courses[2].total_s == pytest.approx(bits.latency.total_s - sum(s for s in known if s), rel=1e-9)
    section = course_section(about, found, "")
    assert section.lead.count("(19 of 23 layers)") == 3
    assert any("bias, requantization, ReLU and additions are not in these times" in note for note in section.notes)
    assert [note for note in section.notes if note.startswith("Not in any of these times")] == [
        f"Not in any of these times: conv1, which has only {format_duration(lines['conv1'][0] or 0)} in INT8.",
        "Not in any of these times: maxpool, which has no row.",
        "Not in any of these times: avgpool, which has no row.",
        f"Not in any of these times: fc, which has only {format_duration(lines['fc'][0] or 0)} in INT8.",
    ]


def test_a_layer_that_only_the_mixed_network_lacks_is_in_no_time(tmp_path: Path) -> None:
    """INT8 with INT4 results, which no uniform network needs: its latencies are known, and would not compare."""
    whole = place(tmp_path / "whole")
    asked = AllocateRequest(str(whole.model), lut=whole.table, sensitivity=sensitivities(whole), batch=1)
    bits = allocate(replace(asked, forbid=("two=int8",))).bits
    assert [layer.precision for layer in bits.layers if layer.name == "two"] == ["int4"]
    rows = [one for one in rows_of_network(chain()) if not crosses(one.spec)]
    about = place(tmp_path / "part", rows=rows).subject()
    lines = lines_of(about)
    assert not any(None in cells for cells in lines.values())
    courses = courses_of(about, ("mixed", bits))
    assert [course.name for course in courses.courses] == ["INT8", "INT4", "mixed"]
    left_out = courses.courses[0].unpriced
    assert left_out
    assert set(left_out) < set(lines)
    for index, course in enumerate(courses.courses):
        assert course.unpriced == left_out
        if index < 2:
            kept = [cells[index] for name, cells in lines.items() if name not in left_out]
            assert course.total_s == pytest.approx(fsum(s for s in kept if s is not None))
    notes = course_section(about, courses, "").notes
    for name in left_out:
        assert f"Not in any of these times: {name}, of which a kernel of the mixed network has no row." in notes


def crosses(spec: KernelSpec) -> bool:
    """From one width of activations to the other."""
    return spec.output_dtype.bits <= 8 and spec.output_dtype.bits != spec.input_dtype.bits


def test_places_rise_and_add_up(host: Subject, mixed: Bits) -> None:
    found = courses_of(host, ("mixed", mixed))
    for course in found.courses:
        places = [kernel.place for kernel in course.kernels]
        assert places == sorted(places)
        assert set(places) == set(range(len(found.layers)))
        ends = course.until(len(found.layers))
        assert list(ends) == sorted(ends)
        assert ends[-1] == pytest.approx(course.total_s)


def test_the_tables_hold_the_same_numbers(host: Subject, mixed: Bits) -> None:
    found = courses_of(host, ("mixed", mixed))
    columns, rows = [column.name for column in table_of(found).columns], table_of(found).rows
    lines = pd.DataFrame(rows, columns=columns)
    for course in found.courses:
        mine = lines[lines.network == course.name]
        assert float(mine.latency_s.sum()) == pytest.approx(course.total_s)
        assert float(mine.cumulative_s.iloc[-1]) == pytest.approx(course.total_s)
        assert list(mine.layer.unique()) == list(found.layers)
    summary = summary_of(found)
    kinds = pd.DataFrame(summary.rows, columns=[column.name for column in summary.columns]).set_index("network")
    for course in found.courses:
        line = kinds.loc[course.name]
        assert line.total_s == pytest.approx(course.total_s)
        parts = [float(line[name]) for name in kinds.columns if name.endswith("_s") and name != "total_s"]
        assert fsum(parts) == pytest.approx(course.total_s)


def test_without_a_layer_in_both_there_is_no_figure(tmp_path: Path) -> None:
    """A pool in INT4, all else in INT8."""
    rows = [
        one
        for one in rows_of_network(chain())
        if {dtype.bits for dtype in (one.spec.input_dtype, one.spec.output_dtype) if dtype.bits <= 8}
        == {4 if one.spec.workload.op is Op.AVG_POOL else 8}
    ]
    about = place(tmp_path, rows=rows).subject()
    assert [sum(s is not None for s in column) for column in zip(*lines_of(about).values(), strict=True)] == [4, 1]
    courses = courses_of(about, None)
    assert [course.kernels for course in courses.courses] == [(), ()]
    section = course_section(about, courses, "no reason")
    assert section.figure is None
    assert section.notes == ("No layer has a latency in all of INT8 and INT4.",)
