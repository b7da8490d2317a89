"""The figure of what others published says what its content says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.report.content.published import Published
from profiler.report.figures.theme import LIGHT
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, names_beside, written


@pytest.fixture(scope="module")
def usual() -> Published:
    return contents.published()


def test_ours_and_theirs_lie_in_the_row_of_their_layer(usual: Published) -> None:
    axes = draw("published", usual).axes[0]
    names = names_beside(axes)
    assert names == list(dict.fromkeys(line.layer for line in usual.layers))
    for precision, look in zip(("INT8", "INT4"), LIGHT.precisions_of(("INT8", "INT4")), strict=True):
        mine = [line for line in usual.layers if line.precision == precision]
        theirs = {round(float(y)): x for x, y in _dots(axes, f"{precision}, published")}
        ours = {round(float(y)): x for x, y in _dots(axes, f"{precision}, ours")}
        assert [theirs[names.index(line.layer)] for line in mine] == pytest.approx(
            [1e6 * line.theirs_s for line in mine]
        )
        assert [ours[names.index(line.layer)] for line in mine] == pytest.approx(
            [1e6 * line.ours.latency_s for line in mine]
        )
        drawn = [*lines(axes, f"{precision}, published"), *lines(axes, f"{precision}, ours")]
        assert {(line.get_marker(), line.get_color()) for line in drawn} == {(look.marker, look.color)}
    assert axes.get_xlabel() == "latency of a layer (us, log scale)"


def _dots(axes: object, label: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in lines(axes, label)  # type: ignore[arg-type]
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_theirs_are_open_and_ours_filled(usual: Published) -> None:
    axes = draw("published", usual).axes[0]
    (theirs,) = lines(axes, "INT8, published")
    assert theirs.get_markerfacecolor() == LIGHT.background
    assert all(line.get_markerfacecolor() == line.get_color() for line in lines(axes, "INT8, ours"))


def test_intervals_of_ours_are_drawn(usual: Published) -> None:
    axes = draw("published", usual).axes[0]
    ends = set()
    for line in lines(axes, "_joined"):
        across = list(line.get_xdata())
        ends |= {(round(a, 6), round(b, 6)) for a, b in zip(across[::3], across[1::3], strict=True)}
    spans = [line.ours for line in usual.layers]
    assert {(round(1e6 * s.low_s, 6), round(1e6 * s.high_s, 6)) for s in spans} <= ends


def test_what_is_bare_is_said(usual: Published) -> None:
    assert "ours is bare" in legend_texts(draw("published", usual))
    bare = replace(usual, layers=tuple(replace(line, bare=True) for line in usual.layers))
    fused = replace(usual, layers=tuple(replace(line, bare=False) for line in usual.layers))
    for content, text in ((bare, "bare kernels"), (fused, "fused layers")):
        figure = draw("published", content)
        assert "ours is bare" not in legend_texts(figure)
        assert any(text in found.text for found in written(figure))


def test_networks_stand_beside_sums(usual: Published) -> None:
    figure = draw("published", usual)
    axes = figure.axes[1]
    (theirs,), (sums,) = lines(axes, "published"), lines(axes, "sum")
    assert names_beside(axes) == [network.configuration for network in usual.networks]
    assert list(theirs.get_xdata()) == pytest.approx([1e3 * network.theirs_s for network in usual.networks])
    known = [(at, network) for at, network in enumerate(usual.networks) if network.sum_s]
    assert list(sums.get_ydata()) == [at for at, _ in known]
    assert list(sums.get_xdata()) == pytest.approx([1e3 * (network.sum_s or 0) for _, network in known])
    assert len(known) == len(usual.networks) - 1
    texts = [text.text for text in written(figure)]
    assert "top-1 71.56%" in texts
    assert "19 of 21 layers" in texts
    assert axes.get_xlabel() == "latency of a batch of 8 (ms)"


def test_either_part_may_be_missing() -> None:
    assert len(draw("published", contents.published(networks=0)).axes) == 1
    assert len(draw("published", contents.published(layers=0)).axes) == 1


def test_batches_are_told_apart(usual: Published) -> None:
    first = usual.networks[0]
    figure = draw("published", replace(usual, layers=(), networks=(first, replace(first, batch=1))))
    assert names_beside(figure.axes[0]) == ["INT8, batch 8", "INT8, batch 1"]
    assert figure.axes[0].get_xlabel() == "latency (ms)"
