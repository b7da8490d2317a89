"""The figure of speedups says what its content says."""

from __future__ import annotations

import pytest
from matplotlib.collections import LineCollection

from profiler.report.content.speedup import Speedups
from profiler.report.figures.theme import LIGHT
from profiler.verdict import Verdict
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, names_beside, written


@pytest.fixture(scope="module")
def usual() -> Speedups:
    return contents.speedups()


def test_layers_stand_in_order_from_the_top(usual: Speedups) -> None:
    axes = draw("speedup", usual).axes[0]
    assert names_beside(axes) == [*(layer.layer for layer in usual.layers), "total, 22 of 23"]
    heights = axes.get_yticks()
    assert sorted(heights) == list(heights)
    assert axes.yaxis_inverted()


def test_each_verdict_has_its_marks_at_the_speedups(usual: Speedups) -> None:
    axes = draw("speedup", usual).axes[0]
    places = dict(zip(names_beside(axes), axes.get_yticks(), strict=True))
    for verdict in Verdict:
        layers = [layer for layer in usual.layers if layer.verdict is verdict]
        assert layers
        (line,) = lines(axes, verdict.value)
        assert list(line.get_xdata()) == [layer.speedup.value for layer in layers if layer.speedup]
        assert list(line.get_ydata()) == pytest.approx([places[layer.layer] for layer in layers])
        assert line.get_marker() == LIGHT.verdict(verdict).marker
        assert line.get_color() == LIGHT.verdict(verdict).color


def test_whiskers_are_the_intervals(usual: Speedups) -> None:
    axes = draw("speedup", usual).axes[0]
    drawn = {
        (round(float(x0), 12), round(float(x1), 12))
        for lines_ in axes.collections
        if isinstance(lines_, LineCollection) and str(lines_.get_label()).startswith("95%")
        for (x0, _), (x1, _) in lines_.get_segments()
    }
    ratios = [layer.speedup for layer in usual.layers if layer.speedup] + [usual.total]
    assert drawn == {(round(r.low, 12), round(r.high, 12)) for r in ratios if r is not None}


def test_a_layer_without_a_price_is_a_gap(usual: Speedups) -> None:
    figure = draw("speedup", usual)
    texts = [text.text for text in written(figure)]
    assert texts.count("no INT4 row") == 1
    assert sum(len(line.get_xdata()) for v in Verdict for line in lines(figure.axes[0], v.value)) == 22


def test_what_is_missing_of_both_is_said() -> None:
    content = contents.of_layers((contents.layer("a", None, None), contents.layer("b", None, 1e-4)))
    texts = [text.text for text in written(draw("speedup", content))]
    assert {"no INT8 and no INT4 row", "no INT8 row", "no layer has both prices", "total, 0 of 2"} <= set(texts)


def test_the_noise_is_a_band_around_one(usual: Speedups) -> None:
    axes = draw("speedup", usual).axes[0]
    spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    assert [(span.x0, span.x1) for span in spans] == [(pytest.approx(1 / 1.03), pytest.approx(1.03))]
    assert "noise between runs, 3%" in legend_texts(draw("speedup", usual))
    without = contents.of_layers(usual.layers, noise_ratio=None)
    assert not draw("speedup", without).axes[0].patches
    assert not any("noise" in text for text in legend_texts(draw("speedup", without)))


def test_the_legend_counts(usual: Speedups) -> None:
    counted = [f"{verdict.value} ({usual.count(verdict)})" for verdict in Verdict]
    assert legend_texts(draw("speedup", usual)) == [*counted, "noise between runs, 3%", "not known (1)"]
    only = contents.of_layers((contents.layer("a", 2e-4, 1e-4),))
    assert legend_texts(draw("speedup", only)) == ["faster (1)", "noise between runs, 3%"]


def test_scales_name_what_they_are(usual: Speedups) -> None:
    axes = draw("speedup", usual).axes[0]
    assert axes.get_xlabel() == "speedup: INT8 time / INT4 time (log scale)"
    assert axes.get_xscale() == "log"
    low, high = axes.get_xlim()
    assert all(low < layer.speedup.value < high for layer in usual.layers if layer.speedup)
    assert low < 1 < high


def test_causes_stand_beside_their_layers(usual: Speedups) -> None:
    figure = draw("speedup", usual)
    axes = figure.axes[0]
    area = axes.get_window_extent()
    right_of_it = [text for text in written(figure) if text.box.x0 > area.x1 and text.box.y1 < area.y1]
    beside = {text.text.replace("\n", " "): text for text in right_of_it}
    assert set(beside) == {layer.cause for layer in usual.layers if layer.cause and layer.speedup}
    slower = next(layer for layer in usual.layers if layer.verdict is Verdict.AMBIGUOUS)
    place = dict(zip(names_beside(axes), axes.get_yticks(), strict=True))[slower.layer]
    middle = (beside[slower.cause].box.y0 + beside[slower.cause].box.y1) / 2
    assert middle == pytest.approx(axes.transData.transform((1, place))[1], abs=4)


def test_one_cause_of_all_is_said_once_and_below() -> None:
    content = contents.speedups(center=0.8, one=True)
    told = [text for text in written(draw("speedup", content)) if "unpacked" in text.text]
    assert [text.text for text in told] == [f"All 20 layers that are not faster: {contents.CAUSES[1]}."]
    assert sum(bool(layer.cause) and layer.speedup is not None for layer in content.layers) == 20


def test_neighbours_with_one_cause_share_it() -> None:
    slow = [contents.layer(f"l{at}", 1e-4, 2e-4, "this" if at < 3 else "that") for at in range(6)]
    texts = [text.text for text in written(draw("speedup", contents.of_layers(tuple(slow))))]
    assert texts.count("this") == texts.count("that") == 1


def test_a_cause_of_most_is_said_once_and_others_beside_their_layers() -> None:
    causes = ("this", "that", "this", "this", "that", "this")
    slow = [contents.layer(f"l{at}", 1e-4, 2e-4, cause) for at, cause in enumerate(causes)]
    texts = [text.text for text in written(draw("speedup", contents.of_layers(tuple(slow))))]
    assert texts.count("that") == 2
    assert [text for text in texts if "this" in text] == ["Layers that are not faster, unless said otherwise: this."]


def test_a_speedup_without_a_verdict_is_an_open_square() -> None:
    content = contents.unjudged()
    bare = [layer for layer in content.layers if layer.speedup is not None and layer.verdict is None]
    figure = draw("speedup", content)
    axes = figure.axes[0]
    (line,) = lines(axes, "not known")
    places = dict(zip(names_beside(axes), axes.get_yticks(), strict=True))
    assert list(line.get_xdata()) == [layer.speedup.value for layer in bare if layer.speedup]
    assert list(line.get_ydata()) == pytest.approx([places[layer.layer] for layer in bare])
    assert (line.get_marker(), line.get_markerfacecolor()) == ("s", LIGHT.background)
    assert line.get_color() == LIGHT.muted
    assert "not known (4)" in legend_texts(figure)  # with the one that has no price
    ends = [segment for lines_ in axes.collections for segment in lines_.get_segments()]  # type: ignore[attr-defined]
    for layer in bare:
        assert layer.speedup is not None
        assert not any(start[0] == layer.speedup.low for start, _ in ends)


@pytest.mark.parametrize(("narrow_s", "more"), [(0.7e-4, True), (0.05e-4, False)])
def test_what_is_near_one_has_ticks_if_there_is_room(narrow_s: float, more: bool) -> None:
    layers = (contents.layer("a", 1e-4, narrow_s), contents.layer("b", 1e-4, 1.2e-4))
    ticks = list(draw("speedup", contents.of_layers(layers)).axes[0].get_xticks())
    assert 1 in ticks
    assert ({0.9, 1.1} <= set(ticks)) is more
    assert ticks == sorted(ticks)


def test_many_layers_are_thinner_rows() -> None:
    few, many = contents.speedups(contents.MANY[:60]), contents.speedups(contents.MANY)
    heights = [draw("speedup", content).get_figheight() / len(content.layers) for content in (few, many)]
    assert heights[1] < 0.75 * heights[0]
    assert names_beside(draw("speedup", many).axes[0])[:-1] == list(contents.MANY)


def test_the_total_is_marked_with_its_value(usual: Speedups) -> None:
    figure = draw("speedup", usual)
    (line,) = lines(figure.axes[0], "total")
    assert usual.total is not None
    assert list(line.get_xdata()) == [usual.total.value]
    assert f"{usual.total.value:.2f}x" in [text.text for text in written(figure)]
