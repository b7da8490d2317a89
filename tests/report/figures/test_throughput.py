"""The figure and the table of throughput say what their content says."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from profiler.report.content.table import to_csv
from profiler.report.content.throughput import AtBatch, ThroughputCurve, ThroughputCurves, curves_of, table_of
from profiler.report.figures import render
from profiler.report.figures.theme import DARK, LIGHT
from profiler.verdict import Span
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, outside, overlaps, written
from tests.throughput.examples import point, windows

BATCHES = (1, 2, 4, 8, 16, 32, 64)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def curve(
    name: str = "INT8",
    kind: str = "INT8",
    batches: tuple[int, ...] = BATCHES,
    per_image_s: float = 1e-3,
    joules: float | None = None,
    end_to_end: bool = True,
    half: float = 0.5,
) -> ThroughputCurve:
    """``half`` images are half of the way up; as much as ``joules`` an image, and less the larger the batch."""
    points = []
    for batch in batches:
        latency_s = (batch + half) * per_image_s
        j = None if joules is None else joules * (1 + half / batch)
        points.append(AtBatch(batch, Span(latency_s, 0.999 * latency_s, 1.001 * latency_s), j))
    return ThroughputCurve(name, kind, end_to_end, tuple(points))


def curves(*found: ThroughputCurve) -> ThroughputCurves:
    return ThroughputCurves("resnet18", "Invented card", found)


USUAL = curves(curve(), curve("INT4", "INT4", per_image_s=6e-4))
ENERGY = curves(curve(joules=0.05), curve("INT4", "INT4", joules=0.03), curve("bits", "MIXED", per_image_s=8e-4))
OTHERS = {
    "usual": USUAL,
    "energy": ENERGY,
    "one batch": curves(curve(batches=(1,)), curve("INT4", "INT4", (1,), 9e-4, end_to_end=False)),
    "every batch": curves(curve(batches=tuple(range(1, 65)))),
    "far apart": curves(curve(batches=(1, 4096)), curve("INT4", "INT4", (3,), 1e-9)),
    "slow": curves(curve(per_image_s=1e4)),
    "flat": curves(curve(half=0.0), curve("INT4", "INT4", half=0.0)),
    "nothing": curves(),
    "many": curves(*(curve(f"bits-{i}", "MIXED", per_image_s=1e-3 * (1 + i / 9)) for i in range(9))),
    "hostile": curves(*(curve(name, "MIXED") for name in contents.HOSTILE)),
}


@pytest.mark.parametrize("name", list(OTHERS))
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_everything_is_inside_and_readable(name: str, theme: object) -> None:
    figure = draw("throughput", OTHERS[name], theme)  # type: ignore[arg-type]
    assert outside(figure) == []
    assert overlaps(figure) == []
    assert min(text.size_pt for text in written(figure)) >= 8


def test_points_lie_at_their_batch_and_rate() -> None:
    rate, latency = draw("throughput", USUAL).axes
    for found in USUAL.curves:
        (line,) = lines(rate, found.name)
        np.testing.assert_allclose(line.get_xdata(), BATCHES)
        np.testing.assert_allclose(line.get_ydata(), [p.batch / p.latency.latency_s for p in found.points])
        (line,) = lines(latency, found.name)
        np.testing.assert_allclose(line.get_ydata(), [1e3 * p.latency.latency_s for p in found.points])
        (look,) = LIGHT.precisions_of([found.kind])
        assert (line.get_color(), line.get_marker()) == (look.color, look.marker)
    assert (rate.get_ylabel(), latency.get_ylabel()) == ("images/s", "latency of a batch (ms, log scale)")
    assert rate.get_ylim()[0] == 0, "a flat curve looks flat"
    assert [label.get_text() for label in rate.get_xticklabels()] == [str(batch) for batch in BATCHES]


def test_the_knee_has_a_ring_where_there_is_one() -> None:
    """(b + 0.5): 95% of what 64 reach are reached at 16 images, not yet at 8."""
    figure = draw("throughput", USUAL)
    rings = lines(figure.axes[0], "_knee")
    assert [float(ring.get_xdata()[0]) for ring in rings] == [16, 16]
    assert [float(r.get_ydata()[0]) for r in rings] == pytest.approx([1e3 * 16 / 16.5, 1e3 / 0.6 * 16 / 16.5])
    assert legend_texts(figure) == [
        "INT8, end to end: knee 16", "INT4, end to end: knee 16", "knee: 95% of the best",
    ]  # fmt: skip
    flat = draw("throughput", OTHERS["flat"])
    assert not lines(flat.axes[0], "_knee")
    assert legend_texts(flat) == ["INT8, end to end: no knee", "INT4, end to end: no knee"]


def test_sums_look_otherwise() -> None:
    figure = draw("throughput", OTHERS["one batch"])
    ran, sums = (lines(figure.axes[0], name)[0] for name in ("INT8", "INT4"))
    assert ran.get_markerfacecolor() == ran.get_color()
    assert sums.get_markerfacecolor() == LIGHT.background
    assert legend_texts(figure) == ["INT8, end to end", "INT4, sum of kernels"], "of one batch a knee is no question"


def test_energy_has_a_row_of_its_own() -> None:
    axes = draw("throughput", ENERGY).axes
    assert [a.get_ylabel() for a in axes[2:]] == ["images/s per watt", "mean power (W)"]
    (line,) = lines(axes[2], "INT8")
    np.testing.assert_allclose(line.get_ydata(), [1 / (0.05 * (1 + 0.5 / b)) for b in BATCHES])
    (line,) = lines(axes[3], "INT8")
    np.testing.assert_allclose(line.get_ydata(), [50.0] * 7, err_msg="0.05 J in a thousandth of a second")
    assert not lines(axes[2], "bits")


def test_the_same_content_gives_the_same_bytes() -> None:
    for file_format in ("svg", "png", "pdf"):
        assert render(ENERGY, file_format) == render(ENERGY, file_format)
    assert b"script" not in render(OTHERS["hostile"], "svg")


def test_the_table_has_all_of_it() -> None:
    rows = [line.split(",") for line in to_csv(table_of(ENERGY)).splitlines()]
    assert [len(row) for row in rows] == [13] * 22
    found = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [row["batch"] for row in found if row["knee"]] == ["16"] * 3
    first = found[0]
    assert float(first["images_per_s"]) == pytest.approx(1 / 1.5e-3)
    assert float(first["images_per_s_low"]) == pytest.approx(1 / 1.5e-3 / 1.001)
    assert float(first["energy_per_image_j"]) == pytest.approx(0.075)
    assert float(first["images_per_s_per_w"]) == pytest.approx(1 / 0.075)
    assert float(first["power_w"]) == pytest.approx(50)
    assert {row["energy_per_image_j"] for row in found if row["configuration"] == "bits"} == {""}


def test_curves_are_made_of_points() -> None:
    """Of one name and other bits, or other networks, are other curves; batches are in order."""
    found = curves_of(
        [
            point(8, 0.02),
            point(1, 0.004),
            point(1, 0.003, configuration="bits", bits_digest="0000000a"),
            point(1, 0.002, configuration="bits", bits_digest="0000000b"),
        ]
    )
    assert [(c.name, c.kind) for c in found] == [
        ("INT8", "INT8"), ("bits (0000000a)", "MIXED"), ("bits (0000000b)", "MIXED"),
    ]  # fmt: skip
    assert [p.batch for p in found[0].points] == [1, 8]
    assert found[0].points[1].images_per_s == pytest.approx(400)
    alone = curves_of([point(1, windows=windows(0.1)[:1])])[0]
    unknown = table_of(ThroughputCurves("n", "d", (alone,))).rows[0]
    assert unknown[4:6] == (None, None), "of one window no interval is known"
    assert len(unknown) == 9, "nothing of joules, and of knees"
    assert replace(alone, end_to_end=False).source == "sum of kernels"
