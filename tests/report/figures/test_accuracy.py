"""The figure of accuracies says what its content says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.report.content.accuracy import Accuracies, Beside, FloatAccuracy, IntegerAccuracy, Share, table_of
from profiler.report.content.table import to_csv
from profiler.report.figures import render
from profiler.report.figures.theme import DARK, LIGHT
from profiler.verdict import Span
from tests.report.figures.drawn import draw, lines, outside, overlaps, written


def share(right: int, images: int = 1000) -> Share:
    return Share(right, images, max(0.0, right / images - 0.01), min(1.0, right / images + 0.01))


def point(name: str, kind: str, right: int, latency_s: float | None, images: int = 1000) -> IntegerAccuracy:
    span = None if latency_s is None else Span(latency_s, latency_s * 0.99, latency_s * 1.02)
    beside = Beside(7, 4, 2, 0.69)
    return IntegerAccuracy(name, kind, "8 INT8", 1e5, share(right, images), None, beside, span)


def accuracies(*points: IntegerAccuracy) -> Accuracies:
    return Accuracies("digits", "invented", 1, FloatAccuracy(share(980), None), points)


USUAL = accuracies(
    point("INT8", "INT8", 979, 9.0e-3),
    point("INT4", "INT4", 951, 6.1e-3),
    point("mixed-0.5", "MIXED", 973, 7.5e-3),
)
CLOSE = accuracies(*(point(f"configuration-{i}", "MIXED", 900 + i, 5e-3 * (1 + i / 400)) for i in range(6)))
EXTREME = {
    "all right": accuracies(point("INT8", "INT8", 1000, 1e-6), point("INT4", "INT4", 1000, 1e-6)),
    "none right": accuracies(point("INT8", "INT8", 0, 1.0)),
    "from near zero": accuracies(point("INT8", "INT8", 700, 1.0), point("INT4", "INT4", 500, 1e-4)),
    "long names": accuracies(point("a-very-long-name-" * 9, "MIXED", 960, 1e-3), point("$x_1$", "INT2", 970, 2e-3)),
}


def test_points_lie_at_their_latency_and_share() -> None:
    axes = draw("accuracy", USUAL).axes[0]
    drawn = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])): line for line in lines(axes, "_point")}
    expected = {(9.0, 97.9): "INT8", (6.1, 95.1): "INT4", (7.5, 97.3): "MIXED"}
    assert len(drawn) == 3
    for (x, y), kind in expected.items():
        line = next(line for at, line in drawn.items() if at == pytest.approx((x, y)))
        (look,) = LIGHT.precisions_of([kind])
        assert (line.get_marker(), line.get_color()) == (look.marker, look.color)
    assert axes.get_xlabel() == "latency of the network, end to end (ms)"
    assert axes.get_ylabel() == "top-1 accuracy (%)"


def test_names_stand_with_what_they_answer() -> None:
    texts = [text.text for text in written(draw("accuracy", USUAL))]
    for name, said in (("INT8", "97.90%"), ("INT4", "95.10%"), ("mixed-0.5", "97.30%")):
        assert name in texts
        assert f"{said}, 7 changed" in texts
    assert "float 98.0%" in texts


def test_no_tick_is_above_a_hundred_percent() -> None:
    for content in (USUAL, *EXTREME.values()):
        axes = draw("accuracy", content).axes[0]
        assert max(axes.get_yticks()) <= 100


@pytest.mark.parametrize("content", [USUAL, CLOSE, *EXTREME.values()], ids=["usual", "close", *EXTREME])
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_everything_is_inside_and_readable(content: Accuracies, theme: object) -> None:
    figure = draw("accuracy", content, theme)  # type: ignore[arg-type]
    assert not outside(figure)
    assert not overlaps(figure)
    assert all(text.size_pt >= 8 for text in written(figure))


def test_a_configuration_without_a_latency_is_left_out() -> None:
    content = accuracies(point("INT8", "INT8", 979, 1e-3), point("INT4", "INT4", 900, None))
    assert len(lines(draw("accuracy", content).axes[0], "_point")) == 1
    empty = replace(content, configurations=content.configurations[1:])
    assert "no configuration was timed" in [text.text for text in written(draw("accuracy", empty))]


def test_the_same_content_gives_the_same_bytes() -> None:
    assert render(USUAL, "svg") == render(USUAL, "svg")
    assert render(USUAL, "png") == render(USUAL, "png")


def test_the_table_has_all_of_it() -> None:
    five = replace(USUAL, reference=FloatAccuracy(share(980), share(999)))
    five = replace(five, configurations=tuple(replace(x, top5=share(998)) for x in five.configurations))
    for content, columns in ((USUAL, 15), (five, 19)):
        rows = [line.split(",") for line in to_csv(table_of(content)).splitlines()]
        assert [len(row) for row in rows] == [columns] * 5
        assert [row[0] for row in rows] == ["configuration", "float", "INT8", "INT4", "mixed-0.5"]
    head = to_csv(table_of(USUAL)).splitlines()[0].split(",")
    row = dict(zip(head, to_csv(table_of(USUAL)).splitlines()[3].split(","), strict=True))
    assert (row["top1_right"], row["top1_percent"], row["lost"], row["latency_s"]) == ("951", "95.1", "4", "0.0061")


@pytest.mark.parametrize("values", [(11, 10, 0.9, 1.0), (5, 0, 0.0, 1.0), (5, 10, 0.6, 0.9), (-1, 10, 0.0, 0.1)])
def test_a_share_checks_itself(values: tuple[int, int, float, float]) -> None:
    with pytest.raises(ValueError, match="not a share"):
        Share(*values)
