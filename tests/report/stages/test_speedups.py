"""Speedups of layers against figures that pandas reads from the tables by keys written here by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import exp, hypot, log, sqrt
from pathlib import Path

import pandas as pd
import pytest

from profiler.lut.demand import units
from profiler.lut.table import network_table
from profiler.report.content.speedup import LayerSpeedup, Speedups
from profiler.report_stages.rates import rates_of
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.speedups import headline, speedup_section, speedups_of
from profiler.report_stages.subject import Subject, subject_of
from profiler.verdict import Verdict
from profiler.workload import INT4, INT8, KernelSpec
from tests.report.stages.cases import HOST, SHAPES, T4, chain, place, rows_of_network

NOISE = 0.019
"""Of README.md: the standard deviation of a logarithm from one run to the next on the authors' machine."""

CONV1 = {"op": "conv2d", "in_height": 224, "in_channels": 3, "out_channels": 64, "kernel_h": 7, "stride_h": 2}
BLOCK = {"op": "conv2d", "in_height": 56, "in_channels": 64, "out_channels": 64, "kernel_h": 3, "stride_h": 1}
SHORTCUT = {"op": "conv2d", "in_height": 28, "in_channels": 128, "out_channels": 256, "kernel_h": 1, "stride_h": 2}
ADDITION = {"op": "add", "in_height": 56, "in_channels": 64, "input_dtype": "int32"}
POOL = {"op": "max_pool", "in_height": 112, "in_channels": 64, "kernel_h": 3}
FC = {"op": "dense", "in_channels": 512, "out_channels": 1000}


def of_bits(bits: int, read: str, written: str = "", operand: str = "") -> dict[str, str]:
    """Columns of the types: ``read``, ``written`` and ``operand`` are ``u`` (unsigned) or ``s``."""
    names = {"u": f"uint{bits}", "s": f"int{bits}", "i": "int32", "": None}
    found = {"input_dtype": names[read], "output_dtype": names[written], "input2_dtype": names[operand]}
    return {column: name for column, name in found.items() if name is not None}


def subject(path: Path, model: str | None = None, batch: int | None = None) -> Subject:
    return subject_of(ReportRequest(lut=path, model=model, batch=batch))


def speedups(about: Subject) -> Speedups:
    return speedups_of(about, rates_of(about.rows, about.facts, about.conditions, about.precisions), about.narrow)


def by_layer(found: Speedups) -> Mapping[str, LayerSpeedup]:
    return {layer.layer: layer for layer in found.layers}


class Lines:
    """The lines of a table."""

    def __init__(self, path: Path) -> None:
        self.frame = pd.read_csv(path)

    def span(self, key: Mapping[str, object]) -> tuple[float, float, float]:
        """Median and interval of the one line that has these cells."""
        found = self.frame
        for column, value in key.items():
            found = found[found[column] == value]
        assert len(found) == 1, (key, len(found))
        columns = ["latency_median_s", "latency_ci95_low_s", "latency_ci95_high_s"]
        median, low, high = (float(value) for value in found.iloc[0][columns])
        return median, low, high


@pytest.fixture(scope="module")
def host() -> Subject:
    return subject(HOST)


@pytest.fixture(scope="module")
def host_speedups(host: Subject) -> Speedups:
    return speedups(host)


def expected(wide: tuple[float, float, float], narrow: tuple[float, float, float]) -> tuple[float, float, float]:
    """Quotient and interval: half widths of logarithms, and the noise of both runs, in quadrature."""
    value, between = wide[0] / narrow[0], 1.96 * sqrt(2) * NOISE
    up = hypot(log(wide[2] / wide[0]), log(narrow[0] / narrow[1]), between)
    down = hypot(log(wide[0] / wide[1]), log(narrow[2] / narrow[0]), between)
    return value, value * exp(-down), value * exp(up)


@pytest.mark.parametrize(
    ("layer", "shape", "epilogue", "types"),
    [
        ("conv1", CONV1, "requant_relu", ("s", "u")),
        ("layer1.0.conv1", BLOCK, "requant_relu", ("u", "u")),
        ("layer3.0.downsample", SHORTCUT, "requant", ("u", "s")),
        ("maxpool", POOL, "none", ("u", "u")),
        ("fc", FC, "bias", ("u", "i")),
    ],
)
def test_a_layer_of_the_recorded_table(
    host_speedups: Speedups, layer: str, shape: dict[str, object], epilogue: str, types: tuple[str, str]
) -> None:
    lines = Lines(HOST)
    wide, narrow = (lines.span({**shape, "epilogue": epilogue, **of_bits(bits, *types)}) for bits in (8, 4))
    found = by_layer(host_speedups)[layer]
    assert found.wide is not None
    assert found.narrow is not None
    assert found.speedup is not None
    assert (found.wide.latency_s, found.wide.low_s, found.wide.high_s) == wide
    assert (found.narrow.latency_s, found.narrow.low_s, found.narrow.high_s) == narrow
    assert (found.speedup.value, found.speedup.low, found.speedup.high) == pytest.approx(expected(wide, narrow))
    assert found.source == "measured"


def test_an_addition_counts_with_its_convolution_fused_or_apart_whichever_is_faster(host_speedups: Speedups) -> None:
    lines, found, ways = Lines(HOST), by_layer(host_speedups)["layer1.0.conv2 + layer1.0.add"], set()
    for bits, span in ((8, found.wide), (4, found.narrow)):
        types = of_bits(bits, "u", "u", "u")
        fused = lines.span({**BLOCK, "epilogue": "add_requant_relu", **types})
        sums = lines.span({**BLOCK, "epilogue": "bias", **of_bits(bits, "u", "i")})
        add = lines.span({**ADDITION, "output_dtype": types["output_dtype"], "input2_dtype": types["input2_dtype"]})
        apart = (sums[0] + add[0], sums[1] + add[1], sums[2] + add[2])
        assert span is not None
        assert (span.latency_s, span.low_s, span.high_s) == pytest.approx(min(fused, apart))
        ways.add("fused" if fused < apart else "apart")
    assert ways == {"fused", "apart"}  # this table has a case of both


def test_the_whole_of_the_recorded_table(host: Subject, host_speedups: Speedups) -> None:
    """Against the table that `profile` prints, which goes its own way."""
    seconds = {row.spec: row.latency_median_s for row in host.rows}
    table = network_table(host.network, (INT8, INT4), seconds)
    assert host_speedups.compared == table.totals[1].compared == 23
    assert host_speedups.total is not None
    assert host_speedups.total.value == pytest.approx(table.totals[1].speedup)
    assert [layer.layer for layer in host_speedups.layers] == [" + ".join(row.layers) for row in table.rows]
    for found, line in zip(host_speedups.layers, table.rows, strict=True):
        assert found.speedup is not None
        assert found.speedup.value == pytest.approx(line.speedup(1))


@pytest.mark.parametrize("model", ["resnet50", "inceptionv3"])
def test_other_networks_of_the_recorded_shapes(model: str) -> None:
    about = subject(SHAPES, model)
    found = speedups(about)
    table = network_table(about.network, (INT8, INT4), {row.spec: row.latency_median_s for row in about.rows})
    assert found.compared == table.totals[1].compared == len(table.rows)
    assert found.total is not None
    assert found.total.value == pytest.approx(table.totals[1].speedup)


def test_the_published_table_is_compared_by_bare_kernels() -> None:
    """Signed INT8 against unsigned INT4, in layouts that differ; of several layouts the fastest. No interval is
    known."""
    about = subject(T4)
    found = by_layer(speedups(about))
    frame = pd.read_csv(T4)
    for layer, shape in (
        ("layer1.0.conv1", BLOCK),
        ("layer4.0.conv2 + layer4.0.add", {**BLOCK, "in_height": 7, "in_channels": 512, "out_channels": 512}),
    ):
        mine = frame[(frame[list(shape)] == pd.Series(shape)).all(axis=1)]
        wide = float(mine[mine.weight_dtype == "int8"].latency_median_s.min())
        narrow = float(mine[mine.weight_dtype == "int4"].latency_median_s.min())
        line = found[layer]
        assert line.wide is not None
        assert line.speedup is not None
        assert not line.wide.known
        assert line.speedup.value == pytest.approx(wide / narrow)
        between = exp(1.96 * sqrt(2) * 0.073)  # of two tuning sessions of one kernel: lut/published/README.md
        assert line.speedup.high / line.speedup.value == pytest.approx(between)
        assert line.source == "published"
    assert (about.network.name, about.network.batch) == ("resnet18", 8)
    assert found["conv1"].narrow is None
    assert found["conv1"].speedup is None
    assert found["conv1"].cause == "no INT4 row"
    assert found["maxpool"].cause == "no INT8 and no INT4 row"


# -- verdicts --------------------------------------------------------------------------------------------------------


def with_factor(folder: Path, factor: float) -> Speedups:
    """Of a network whose 4-bit kernels take ``factor`` times as long as those of 8 bits, whatever they do."""

    def price(spec: KernelSpec) -> float:
        return 1e-4 * (factor if (spec.weight_dtype or spec.input_dtype).bits == 4 else 1.0)

    return speedups(place(folder, rows=rows_of_network(chain(), price)).subject())


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.93, 0.945, 0.95, 0.97, 1.0, 1.03, 1.05, 1.06, 1.08, 1.1, 2.0])
def test_a_layer_is_ambiguous_just_where_its_interval_holds_one(tmp_path: Path, factor: float) -> None:
    found = with_factor(tmp_path, factor)
    half = hypot(log(1.01), log(1.01), 1.96 * sqrt(2) * NOISE)  # `cases.row`: 1% to either side, about
    for layer in found.layers:
        assert layer.speedup is not None
        assert layer.speedup.value == pytest.approx(1 / factor)
        holds_one = layer.speedup.low <= 1 <= layer.speedup.high
        assert (layer.verdict is Verdict.AMBIGUOUS) == holds_one
        assert holds_one == (abs(log(factor)) < half)
        assert layer.verdict in (Verdict.FASTER if factor < 1 else Verdict.SLOWER, Verdict.AMBIGUOUS)
        assert bool(layer.cause) == (layer.verdict is not Verdict.FASTER)


@pytest.mark.parametrize("path", [HOST, T4])
def test_so_it_is_in_the_tables_that_ship(path: Path) -> None:
    found = speedups(subject(path, "resnet50" if path == T4 else None))
    for layer in found.layers:
        if layer.speedup is None:
            assert layer.verdict is None
        elif layer.speedup.low <= 1 <= layer.speedup.high:
            assert layer.verdict is Verdict.AMBIGUOUS
        else:
            assert layer.verdict is (Verdict.FASTER if layer.speedup.value > 1 else Verdict.SLOWER)
    assert found.count(Verdict.AMBIGUOUS) > 0


@pytest.mark.parametrize(
    ("factor", "answer", "counts"),
    [
        (0.5, "INT4 is 2.00x as fast as INT8.", "5 are faster, 0 slower, 0 inside the noise"),
        (
            2.0,
            "INT4 does not pay: its kernels take 2.00 times as long as those of INT8.",
            "0 are faster, 5 slower, 0 inside the noise",
        ),
        (
            1.0,
            "INT4 and INT8 cannot be told apart (1.00x, 95% interval 0.95 to 1.06).",
            "0 are faster, 0 slower, 5 inside the noise",
        ),
    ],
)
def test_the_answer_is_a_sentence(tmp_path: Path, factor: float, answer: str, counts: str) -> None:
    """1% to either side and 1.9% of noise: sqrt((1.96 * sqrt(2) * 0.019)^2 + 2 * 0.01^2) is 5.5% to either side."""
    found = with_factor(tmp_path, factor)
    assert headline(found) == answer
    assert counts in speedup_section(place(tmp_path).subject(), found, first=True).lead


def test_a_total_is_over_the_layers_that_have_both(tmp_path: Path) -> None:
    """A layer with one latency only is in no total, and is named."""
    rows = [row for row in rows_of_network(chain()) if not is_int4_dense(row.spec)]
    about = place(tmp_path, rows=rows).subject()
    found = speedups(about)
    seconds = {row.spec: row.latency_median_s for row in rows}
    assert found.compared == 4
    assert found.total is not None
    total = network_table(about.network, (INT8, INT4), seconds).totals[1]
    assert found.total.value == pytest.approx(total.speedup)
    section = speedup_section(about, found, first=True)
    assert headline(found).endswith("over the 4 layers that have both.")
    assert "1 without a row in one of both" in section.lead
    assert "Without a latency in one of both: classifier." in section.notes


def is_int4_dense(spec: KernelSpec) -> bool:
    return spec.workload.op.value == "dense" and spec.input_dtype.bits == 4


def test_the_first_precision_is_the_one_that_others_are_compared_with(tmp_path: Path) -> None:
    there = place(tmp_path).subject()
    back = replace(there, precisions=(INT4, INT8))
    one, other = speedups(there), speedups(back)
    assert (one.wide, one.narrow, other.wide, other.narrow) == ("INT8", "INT4", "INT4", "INT8")
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.speedup is not None
        assert b.speedup is not None
        assert a.speedup.value * b.speedup.value == pytest.approx(1)


def test_lines_are_the_units_of_the_network(host: Subject, host_speedups: Speedups) -> None:
    assert len(host_speedups.layers) == len(units(host.network)) == 23
    assert sum(" + " in layer.layer for layer in host_speedups.layers) == 8
    assert len({layer.layer for layer in host_speedups.layers}) == 23
