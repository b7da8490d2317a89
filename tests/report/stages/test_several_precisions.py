"""A report of five precisions: columns, bars and a sentence for each; with two it is as it always was."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.lut.demand import demand
from profiler.report.content.overview import TOTAL, Overview
from profiler.report.content.report import Report
from profiler.report.content.table import to_csv
from profiler.report.figures import render
from profiler.report_stages.report import make_report, report_of
from profiler.workload import KernelSpec, Precision
from tests.report.stages.cases import chain, place, row, sensitivities

ALL = tuple(map(Precision.parse, ("int8", "int4", "a2w2", "a2w1", "a1w1")))
FACTORS = {"int8": 1.0, "int4": 1.25, "a2w2": 0.5, "a2w1": 0.25, "a1w1": 0.2}
LEFT_OUT = "two"


def seconds(spec: KernelSpec) -> float:
    """By the widths alone: layers are of known ratios."""
    bits = (spec.input_dtype.bits, None if spec.weight_dtype is None else spec.weight_dtype.bits)
    known: dict[tuple[int, int | None], float] = {(8, 8): 1.0, (4, 4): 1.25, (2, 2): 0.5, (2, 1): 0.25, (1, 1): 0.2}
    factor = known.get(bits)
    return 1e-5 * (factor if factor is not None else {8: 1.0, 4: 1.25, 2: 0.5, 1: 0.2}[spec.input_dtype.bits])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("five")
    network = chain()
    rows = [row(found.spec, seconds(found.spec)) for found in demand(network, ALL, mixed=True)]
    there = place(folder, network, rows)
    request = there.request(precisions=ALL, sensitivity=None, out=folder / "report")
    result = make_report(request)
    assert {"speedups.csv", "speedup-a1w1.csv", "layers.csv"} <= set(result.files)
    return result.report


def test_each_precision_has_its_speedups(report: Report) -> None:
    (section,) = [section for section in report.sections if section.name == "speedups"]
    assert isinstance(section.figure, Overview)
    assert section.figure.narrow == ("INT4", "A2W2", "A2W1", "A1W1")
    (table,) = section.tables
    lines = to_csv(table.table).splitlines()
    assert lines[0].startswith("layer,workload,int4_speedup,int4_speedup_low,int4_speedup_high,a2w2_speedup,")
    found = dict(zip(lines[0].split(","), lines[2].split(","), strict=True))
    assert found["layer"] == LEFT_OUT
    for name, factor in FACTORS.items():
        if name != "int8":
            assert float(found[f"{name}_speedup"]) == pytest.approx(1 / factor)
            assert float(found[f"{name}_speedup_low"]) < 1 / factor < float(found[f"{name}_speedup_high"])
    assert lines[-1].startswith(TOTAL)
    for name in ("INT4", "A2W2", "A2W1", "A1W1"):
        assert f"{name} " in section.lead
        assert f"{name} " in report.headline
        assert any(column.title == f"{name} speedup" for column in report.layers.table.columns)
    assert render(section.figure, "svg") == render(section.figure, "svg")


def test_two_precisions_have_no_overview(tmp_path: Path) -> None:
    there = place(tmp_path)
    report = report_of(there.subject(), there.request(sensitivity=sensitivities(there)))
    assert "speedups" not in [section.name for section in report.sections]
