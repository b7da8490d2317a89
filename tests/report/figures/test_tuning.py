"""The figure of searches says what its content says."""

from __future__ import annotations

import math
from statistics import median

import pytest

from profiler.report.content.tuning import Search, TuningHistory
from profiler.report.figures.theme import LIGHT
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, written


def search(precision: str, *best_s: float | None) -> Search:
    return Search("k", ("a",), precision, best_s, 0)


def after(line_x: list[float], line_y: list[float], trial: int) -> float:
    """The height of a staircase just after a trial."""
    held = math.nan
    for x, y in zip(line_x, line_y, strict=True):
        if x <= trial:
            held = y
    return held


def test_the_median_is_over_searches_that_stay_where_they_ended() -> None:
    history = TuningHistory(
        (
            search("INT8", 4.0, 2.0, 2.0, 1.0),
            search("INT8", 3.0, 3.0),  # ends: 1, 1 from there on
            search("INT8", None, 6.0, 4.0, 4.0, 2.0),
            search("INT4", 5.0, 1.0),
        ),
        (),
    )
    figure = draw("tuning", history)
    axes = figure.axes[0]
    (int8,), (int4,) = lines(axes, "INT8: median of 3 searches"), lines(axes, "INT4: one search")
    expected = [median([4, 1, math.inf]), median([2, 1, 3]), median([2, 1, 2]), median([1, 1, 2]), median([1, 1, 1])]
    assert list(int8.get_ydata()) == [100 * (ratio - 1) for ratio in expected]
    assert list(int4.get_ydata()) == [400, 0, 0, 0, 0]
    assert list(int8.get_xdata()) == [1, 2, 3, 4, 5]
    assert int8.get_drawstyle() == "steps-post"
    medians = ["INT8: median of 3 searches", "INT4: one search"]
    assert legend_texts(figure) == [*medians, "thin: each search", "last to come within 1%"]
    looks = LIGHT.precisions_of(("INT8", "INT4"))
    assert [int8.get_color(), int4.get_color()] == [look.color for look in looks]


def test_every_search_is_a_staircase() -> None:
    history = contents.tuning(9)
    axes = draw("tuning", history).axes[0]
    drawn: list[list[tuple[float, float]]] = []
    for precision in ("INT8", "INT4"):
        (line,) = lines(axes, f"_searches {precision}")
        part: list[tuple[float, float]] = []
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
            if math.isnan(x):
                drawn.append(part)
                part = []
            else:
                part.append((float(x), float(y)))
    ordered = [s for precision in ("INT8", "INT4") for s in history.searches if s.precision == precision]
    assert len(drawn) == len(ordered) == 9
    for corners, one in zip(drawn, ordered, strict=True):
        final = [best for best in one.best_s if best is not None][-1]
        for trial, best in enumerate(one.best_s, start=1):
            if best is not None:
                height = after([x for x, _ in corners], [y for _, y in corners], trial)
                assert height == pytest.approx(100 * (best / final - 1))
        assert corners[-1][0] == len(one.best_s)


def test_the_scale_is_percent_above_the_best() -> None:
    axes = draw("tuning", contents.tuning()).axes[0]
    ticks = axes.get_yticks()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "0%"
    assert [float(label.rstrip("%").replace(",", "")) for label in labels] == pytest.approx(ticks)
    assert axes.get_ylabel() == "above the best found, log scale above 5%"
    assert axes.get_xlabel() == "trials done"


@pytest.mark.parametrize("worst", [1.0, 1.004, 1.03, 1.045, 1.06, 1.4, 3.0, 80.0])
def test_scales_end_where_the_searches_do(worst: float) -> None:
    history = TuningHistory((search("INT8", *[worst] * 4, *[1.0] * 16),), ())
    axes = draw("tuning", history).axes[0]
    percent = 100 * (worst - 1)
    low, high = axes.get_ylim()
    assert percent <= high <= max(1.06 * percent, 2)
    assert -0.2 < low < 0
    ticks = list(axes.get_yticks())
    assert len(ticks) >= 3
    assert ticks[-1] >= 0.5 * high
    assert ("log" in axes.get_ylabel()) is bool(high > 5)
    assert (axes.get_yscale() != "linear") is bool(high > 5)
    assert axes.get_xlim() == (1, 20)
    across = list(axes.get_xticks())
    assert (across[0], across[-1]) == (1, 20)
    assert all(float(tick).is_integer() for tick in across)


def test_the_searches_that_took_longest_are_named_where_they_come_near() -> None:
    def one(name: str, *best_s: float) -> Search:
        return Search(name, (name, "other"), "INT8", (*best_s, *[1.0] * (20 - len(best_s))), 0)

    history = TuningHistory(
        (
            one("at 2", 1.5),
            one("at 9", *[1.3] * 8),
            one("at 15", *[1.2] * 7, *[1.02] * 7),
            one("at 12", *[1.1] * 11),
            one("near at 3", *[1.1] * 2, *[1.009] * 16),
            one("at once"),
        ),
        (),
    )
    figure = draw("tuning", history)
    texts = [text.text for text in written(figure)]
    named = [text for text in texts if text.endswith("and 1 more, INT8")]
    assert sorted(named) == ["at 12 and 1 more, INT8", "at 15 and 1 more, INT8", "at 9 and 1 more, INT8"]
    dots = {(line.get_xdata()[0], round(line.get_ydata()[0], 6)) for line in lines(figure.axes[0], "_late")}
    assert dots == {(9, 30.0), (15, 2.0), (12, 10.0)}
    fast = TuningHistory((one("at once"), one("at once too")), ())
    assert "last to come within 1%" not in legend_texts(draw("tuning", fast))


def test_failures_are_counted_by_kind() -> None:
    history = contents.tuning()
    figure = draw("tuning", history)
    (bars,) = figure.axes[1].containers
    assert [bar.get_width() for bar in bars] == [31, 12, 3]
    texts = [text.text for text in written(figure)]
    assert "31  wrong output" in texts
    assert f"failed trials by kind, of {sum(len(s.best_s) for s in history.searches):,}" in texts


def test_rare_kinds_are_put_together() -> None:
    kinds = tuple((f"kind {at}", 20 - at) for at in range(12))
    figure = draw("tuning", TuningHistory((search("INT8", 1.0),), kinds))
    (bars,) = figure.axes[1].containers
    assert sum(bar.get_width() for bar in bars) == sum(count for _, count in kinds)
    assert len(bars) == 8
    assert "5 other kinds" in " ".join(text.text for text in written(figure))


def test_nothing_failed_and_nothing_worked_are_said() -> None:
    texts = [text.text for text in written(draw("tuning", contents.tuning(3, failures=False)))]
    assert "no candidate failed" in texts
    extremes = contents.tuning_extremes()
    assert "no candidate of any search worked" in [t.text for t in written(draw("tuning", extremes["nothing worked"]))]
    one = [text.text for text in written(draw("tuning", extremes["one worked"]))]
    assert "without 1 of 2 searches that found nothing" in one
