"""The figure of predictions says what its content says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.report.content.prediction import PredictedKernel, Predictions
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, written


def _kernels(predictions: Predictions, covered: bool, extrapolated: bool) -> list[PredictedKernel]:
    return [
        k
        for k in predictions.kernels
        if (k.low_s <= k.measured_s <= k.high_s) is covered and k.extrapolated is extrapolated
    ]


def test_points_lie_at_measured_and_predicted() -> None:
    content = contents.predictions()
    figure = draw("prediction", content)
    axes = figure.axes[0]
    labels = legend_texts(figure)[:-2]
    expected = {
        "inside its interval": _kernels(content, True, False),
        "inside its interval, extrapolated": _kernels(content, True, True),
        "outside": _kernels(content, False, False),
        "outside, extrapolated": _kernels(content, False, True),
    }
    drawn = 0
    for name, kernels in expected.items():
        label = f"{name} ({len(kernels)})"
        assert (label in labels) is bool(kernels)
        for line in lines(axes, label):
            assert list(line.get_xdata()) == pytest.approx([1e6 * k.measured_s for k in kernels])
            assert list(line.get_ydata()) == pytest.approx([1e6 * k.predicted_s for k in kernels])
            hollow = line.get_markerfacecolor() != line.get_color()
            assert hollow is ("extrapolated" in name)
            drawn += len(kernels)
    assert drawn == len(content.kernels)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("measured (us, log scale)", "predicted (us, log scale)")
    assert axes.get_xlim() == axes.get_ylim()


def test_intervals_are_drawn_from_end_to_end() -> None:
    content = contents.predictions(7)
    axes = draw("prediction", content).axes[0]
    ends = set()
    for line in lines(axes, "_intervals"):
        up = list(line.get_ydata())
        ends |= {(round(low, 6), round(high, 6)) for low, high in zip(up[::3], up[1::3], strict=True)}
    assert ends == {(round(1e6 * k.low_s, 6), round(1e6 * k.high_s, 6)) for k in content.kernels}


def test_the_line_is_where_both_are_equal() -> None:
    (line,) = lines(draw("prediction", contents.predictions()).axes[0], "_equal")
    assert list(line.get_xdata()) == list(line.get_ydata())


def test_errors_stand_beside_the_noise() -> None:
    content = contents.predictions()
    figure = draw("prediction", content)
    axes = figure.axes[1]
    (median,), (mean,) = lines(axes, "median"), lines(axes, "mean")
    assert list(median.get_xdata()) == [2.8, 3.6, 9.1]
    assert list(mean.get_xdata()) == [4.7, 6.9, 14.2]
    assert median.get_marker() != mean.get_marker()
    assert [list(line.get_xdata()) for line in axes.lines if list(line.get_ydata()) == [0, 1]] == [[2.2, 2.2]]
    texts = [text.text for text in written(figure)]
    assert "noise floor 2.2%" in texts
    assert "Noise floor: two runs of 150 kernels on this machine, three weeks apart." in texts
    assert "a network, three times (308)" in texts
    assert axes.get_xlabel() == "error (% of the measured latency)"
    for label in (text for text in axes.texts if "(" in text.get_text()):  # the line of the noise stops at names
        ground = label.get_bbox_patch()
        assert ground is not None
        assert ground.get_alpha() is None
        assert label.get_zorder() > max(line.get_zorder() for line in axes.lines if list(line.get_ydata()) == [0, 1])
    assert "104 held-out kernels, 90% intervals; line: both equal" in texts


def test_without_known_noise_there_is_no_line() -> None:
    figure = draw("prediction", replace(contents.predictions(9), noise_percent=None))
    assert not any("noise" in text.text.lower() for text in written(figure))
    assert not any(list(line.get_ydata()) == [0, 1] for line in figure.axes[1].lines)
