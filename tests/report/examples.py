"""Invented reports: a network in two precisions, with every kind of figure. No number in here was measured."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from math import sin

from profiler.report.content import health as health_content
from profiler.report.content import prediction as prediction_content
from profiler.report.content import published as published_content
from profiler.report.content import roofline as roofline_content
from profiler.report.content import speedup as speedup_content
from profiler.report.content import time_course as time_course_content
from profiler.report.content import tuning as tuning_content
from profiler.report.content.front import FigurePoint, FrontFigure
from profiler.report.content.health import Health, KernelHealth
from profiler.report.content.prediction import PredictedKernel, Predictions, SplitError
from profiler.report.content.published import BesideLayer, BesideNetwork, Published
from profiler.report.content.report import NamedTable, Report, Section
from profiler.report.content.roofline import Roof, Roofline, RooflinePoint
from profiler.report.content.speedup import LayerSpeedup, Speedups
from profiler.report.content.table import Column, Kind, Table
from profiler.report.content.time_course import Course, TimeCourses, TimedKernel, Work
from profiler.report.content.tuning import Search, TuningHistory
from profiler.verdict import Span, Verdict, judge, ratio

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{7*7}}{% raw %}",
    "</style></script></title><h1>out</h1>",
    "javascript:alert(3)",
    "plan\u202egnp.exe",
    "\u05d0\u05d1\u05d2 right to left",
    "emoji \U0001f9ea\U0001f469\u200d\U0001f52c",
    "&lt;b&gt; is text & stays so",
    "a" * 200,
    "control \x00\x07 and half \ud800 a character",
    "$x_1$ \\(y\\) `z` 'quoted' |pipe|",
)
"""Names that a file made by somebody else may hold."""


def wave(index: int, low: float, high: float) -> float:
    """Some number in that range, the same for an index on every machine."""
    return low + (high - low) * (0.5 + 0.5 * sin(12.9898 * index + 78.233))


def layer_names(count: int = 21) -> tuple[str, ...]:
    """As those of a residual network: ``conv1``, ``layer1.0.conv1``, ..., ``fc``."""
    blocks = [f"layer{1 + 4 * i // count}.{i // 2}.conv{1 + i % 2}" for i in range(count - 2)]
    return ("conv1", *blocks, "fc")


def span(latency_s: float, halfwidth: float = 0.01) -> Span:
    return Span(latency_s, latency_s * (1 - halfwidth), latency_s * (1 + halfwidth))


def speedups(names: tuple[str, ...], unpriced: tuple[str, ...] = ()) -> Speedups:
    """All verdicts are there; ``unpriced`` layers have no INT4 latency."""
    layers = []
    for index, name in enumerate(names):
        wide = span(wave(index, 5e-5, 8e-4))
        factor = 1.003 if index % 6 == 2 else wave(index + 100, 0.55, 1.25)
        narrow = None if name in unpriced else span(wide.latency_s * factor, 0.12 if index % 7 == 1 else 0.005)
        layers.append(_layer(index, name, wide, narrow))
    compared = [layer for layer in layers if layer.wide and layer.narrow]
    total = ratio(
        Span.total(tuple(layer.wide for layer in compared)), Span.total(tuple(layer.narrow for layer in compared))
    )  # fmt: skip
    return Speedups("INT8", "INT4", tuple(layers), 1.04, total if compared else None, len(compared))


def _layer(index: int, name: str, wide: Span, narrow: Span | None) -> LayerSpeedup:
    workload = f"conv2d {56 >> index % 4}x{56 >> index % 4}x{64 << index % 4} -> {64 << index % 4}, 3x3"
    if narrow is None:
        return LayerSpeedup(name, workload, wide, None, None, None, "measured", "no INT4 latency in the table")
    verdict = judge(ratio(narrow, wide))
    cause = "" if narrow.latency_s < 0.95 * wide.latency_s else "unpacking the weights takes longer than it saves"
    return LayerSpeedup(name, workload, wide, narrow, ratio(wide, narrow), verdict, "measured", cause)


def layer_table(speedups: Speedups) -> NamedTable:
    """As a report of two precisions ends with it; every third layer has no share of the peak."""
    columns = (
        Column("number", "#", Kind.NUMBER),
        Column("layer", "layer"),
        Column("workload", "workload"),
        Column("int8_s", "INT8", Kind.SECONDS),
        Column("int4_s", "INT4", Kind.SECONDS),
        Column("int4_speedup", "INT4 speedup", Kind.RATIO),
        Column("int4_verdict", "INT4 is"),
        Column("int4_cause", "likely cause"),
        Column("mixed", "mixed network"),
        Column("int8_share_of_peak_percent", "INT8 of peak", Kind.PERCENT),
        Column("source", "source"),
    )
    rows = tuple(
        (
            index + 1,
            layer.layer,
            layer.workload,
            layer.wide.latency_s,
            None if layer.narrow is None else layer.narrow.latency_s,
            None if layer.speedup is None else layer.speedup.value,
            "not known" if layer.verdict is None else layer.verdict.value,
            layer.cause,
            ("INT8", "INT4")[index % 2],
            None if index % 3 == 2 else wave(index, 5, 95),
            layer.source,
        )
        for index, layer in enumerate(speedups.layers)
    )
    return NamedTable("layers", "All layers", Table(columns, rows))


def time_courses(names: tuple[str, ...]) -> TimeCourses:
    works = (Work.CONVOLUTION, Work.CONVOLUTION, Work.ADDITION, Work.CONVERSION)
    courses = tuple(
        Course(
            name,
            tuple(
                TimedKernel(i, f"{works[i % 4].value} of {layer}", works[i % 4], wave(i, 5e-5, 8e-4) * factor)
                for i, layer in enumerate(names)
            ),
        )
        for name, factor in (("INT8", 1.0), ("INT4", 0.8), ("mixed", 0.85))
    )
    return TimeCourses(names, courses)


def roofline(names: tuple[str, ...]) -> Roofline:
    roofs = (Roof("INT8", 2.6e11, "invented"), Roof("INT4", 2.6e11, "invented"))
    points = []
    for index, name in enumerate(names):
        for precision, factor in (("INT8", 1.0), ("INT4", 0.8)):
            ops, moved = wave(index, 2e7, 2.4e8), wave(index + 7, 1e5, 3e6) * factor
            latency_s = wave(index, 3e-4, 2e-3) * factor
            points.append(RooflinePoint(name, precision, ops, moved, latency_s, max(ops / 2.6e11, moved / 2e10)))
    return Roofline(roofs, 2e10, "invented", tuple(points))


def predictions(names: tuple[str, ...]) -> Predictions:
    kernels = []
    for index, name in enumerate(names):
        measured_s = wave(index, 5e-5, 8e-4)
        predicted_s = measured_s * wave(index + 3, 0.8, 1.25)
        kernels.append(
            PredictedKernel(name, measured_s, predicted_s, 0.85 * predicted_s, 1.15 * predicted_s, index % 9 == 0)
        )
    splits = (
        SplitError("a quarter of the workloads", len(names), 4.2, 6.3, 81.0, "19 of 21"),
        SplitError("the widest layers", 6, 9.8, 14.1, 52.0, "4 of 6"),
    )
    return Predictions("invented.model.json", 90.0, tuple(kernels), splits, 1.8, "two runs of 12 kernels")


def front(names: tuple[str, ...]) -> FrontFigure:
    points = tuple(
        FigurePoint(
            0.01 + 0.9 * (5 - kept) / 5,
            2.0 + 0.3 * kept,
            tuple("INT8" if index % 5 < kept else "INT4" for index in range(len(names))),
        )
        for kept in reversed(range(6))
    )
    return FrontFigure(
        "invented network", "latency (ms)", names, points, points[2], (("all INT8", 3.5), ("all INT4", 2.0))
    )


def points_of(figure: FrontFigure) -> Table:
    columns = (Column("latency_s", "latency", Kind.SECONDS), Column("sensitivity", "sensitivity", Kind.NUMBER))
    return Table(columns, tuple((point.amount / 1e3, point.sensitivity) for point in figure.points))


def tuning(names: tuple[str, ...]) -> TuningHistory:
    searches = tuple(
        Search(
            f"conv2d of {name}",
            (name,),
            ("int8", "int4")[index % 2],
            (None, *accumulate((1e-4 * wave(13 * index + trial, 1, 3) for trial in range(11)), min)),
            1 + index % 3,
        )
        for index, name in enumerate(names)
    )
    return TuningHistory(searches, (("wrong result", 14), ("compile timeout", 3)))


def health(names: tuple[str, ...]) -> Health:
    kernels = tuple(
        KernelHealth(
            kernel=f"conv2d of {name}",
            measured_at=1.75e9 + 40 * index,
            latency_s=wave(index, 5e-5, 8e-4),
            samples=30 + index % 15,
            discarded=index % 4,
            halfwidth_percent=None if index == 3 else wave(index, 0.2, 3.0),
            clock_mhz_low=wave(index, 3600, 3900),
            clock_mhz_high=wave(index, 3950, 4100),
            power_capped_fraction=None,
            temperature_c=None,
            load=wave(index, 0.1, 1.4),
        )
        for index, name in enumerate(names)
    )
    return Health(kernels, (-1.4, 0.2, 0.9, 2.1))


def published(names: tuple[str, ...]) -> Published:
    layers = tuple(
        BesideLayer(name, precision, span(wave(index, 5e-5, 8e-4)), wave(index + 5, 6e-5, 6e-4), index % 2 == 0)
        for index, name in enumerate(names[:6])
        for precision in ("INT8", "INT4")
    )
    networks = (
        BesideNetwork("INT8", 8, 3.4e-3, 71.5, 2.9e-3, len(names), len(names)),
        BesideNetwork("INT4", 8, 2.3e-3, None, None, 0, len(names)),
    )
    return Published("this device", "Tesla T4", layers, networks, ("invented authors, 2021",))


def report(names: tuple[str, ...] | None = None) -> Report:
    """Of a quiet run: a section with every kind of figure, shown and linked tables."""
    names = layer_names() if names is None else names
    layers = speedups(names)
    return Report(
        title="resnet18 on an invented CPU",
        headline=f"INT4 is {layers.total.value:.2f}x as fast as INT8 over all {len(names)} layers: faster in "
        f"{layers.count(Verdict.FASTER)} of them, slower in {layers.count(Verdict.SLOWER)}.",
        doubts=(),
        facts=(
            ("device", "Invented CPU (26/2/1), 1 thread"),
            ("fingerprint", "8cfd341f"),
            ("batch", "1"),
            ("cache mode", "network: weights from memory, input from the cache"),
            ("table", "lut/cpu-8cfd341f.csv, 184 rows, all measured"),
            ("measured", "2026-11-20 14:02 to 15:31 UTC"),
        ),
        sections=_sections(names, layers),
        layers=layer_table(layers),
    )


def _sections(names: tuple[str, ...], layers: Speedups) -> tuple[Section, ...]:
    courses, roofs, predicted = time_courses(names), roofline(names), predictions(names)
    searched, measured, beside = tuning(names), health(names), published(names)
    return (
        Section(
            "speedup", "Speedup of each layer", "Most layers gain; the widest ones gain most.", layers,
            "A dot with its interval per layer: how many times faster INT4 is than INT8.",
            (NamedTable("speedup", "INT4 against INT8", speedup_content.table_of(layers), shown=False),),
            notes=("Intervals are of 95% and hold the noise from one run to the next.",),
        ),
        Section(
            "time_course", "Where the time goes", "Half of the time passes in the last stage.", courses,
            "Three bars, one per network, divided into its kernels in order.",
            (
                NamedTable("time_course_summary", "Time by kind of kernel", time_course_content.summary_of(courses)),
                NamedTable("time_course", "Each kernel", time_course_content.table_of(courses), shown=False),
            ),
        ),
        Section(
            "roofline", "Roofline", "No layer comes near the memory roof.", roofs,
            "Layers as points below two roofs: operations per second over operations per byte.",
            (NamedTable("roofline", "Each layer and precision", roofline_content.table_of(roofs), shown=False),),
        ),
        Section(
            "prediction", "What the predictor makes of it", "Nine in ten kernels lie in their intervals.", predicted,
            "Predicted over measured latency of held-out kernels, with a diagonal.",
            (
                NamedTable("prediction_splits", "Ways of holding out", prediction_content.splits_of(predicted)),
                NamedTable("prediction", "Each kernel", prediction_content.table_of(predicted), shown=False),
            ),
        ),
        Section(
            "front", "Allocation", "Three layers in INT8 buy most of the accuracy.", front(names),
            "A falling staircase: sensitivity over latency.",
            (NamedTable("front", "Points of the front", points_of(front(names)), shown=False),),
        ),
        Section(
            "tuning", "Tuning", "Most searches were over after eight trials.", searched,
            "The best latency after each trial, one line per kernel.",
            (
                NamedTable("tuning_failures", "What failed", tuning_content.failures_of(searched)),
                NamedTable("tuning", "Each trial", tuning_content.table_of(searched), shown=False),
            ),
        ),
        Section(
            "health", "How well it was measured", "Intervals are below 3%.", measured,
            "Half widths of intervals over time.",
            (NamedTable("health", "Each kernel", health_content.table_of(measured), shown=False),),
        ),
        Section(
            "published", "Beside published figures", "Another card, shown for orientation.", beside,
            "Pairs of points: latency here and published.",
            (
                NamedTable("published_networks", "Networks", published_content.networks_of(beside)),
                NamedTable("published", "Layers", published_content.layers_of(beside)),
            ),
        ),
    )  # fmt: skip


def report_with_gaps() -> Report:
    """Of a run that went badly: doubts, layers without a price, sections that say why they are empty."""
    names = layer_names()
    gaps = names[4:9]
    layers = speedups(names, gaps)
    whole = report(names)
    return replace(
        whole,
        headline="INT4 and INT8 can be compared in 16 of 21 layers only.",
        doubts=(
            "no latency for 5 of 42 kernels; conv2d 28x28x128: no config compiled",
            "other processes were busy while 7 of 42 kernels were measured",
        ),
        sections=(
            replace(whole.sections[0], figure=layers, notes=("5 layers are left out: no INT4 latency in the table.",)),
            Section("front", "Allocation", "", None, notes=("No sensitivities were given. Say --sensitivity FILE.",)),
            Section("published", "Beside published figures", "", None, notes=("Nobody published this network.",)),
        ),
        layers=layer_table(layers),
    )


def hostile_report() -> Report:
    """Every text that comes from outside is one of `HOSTILE`."""
    names = HOSTILE
    whole = report(names)
    first = replace(whole.sections[0], title=names[0], lead=names[1], alt=names[1], notes=names)
    return replace(
        whole,
        title=names[3],
        headline=names[0],
        doubts=names,
        facts=tuple(zip(names, reversed(names), strict=True)),
        sections=(first, *whole.sections[1:], Section("gap", names[3], names[4], None, notes=names)),
        layers=replace(whole.layers, title=names[1]),
    )


def svg(color: str, width: int = 720, height: int = 320) -> bytes:
    """A figure of one colour (``#rrggbb``), without text."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="{width}" height="{height}" fill="{color}"/></svg>'
    ).encode()
