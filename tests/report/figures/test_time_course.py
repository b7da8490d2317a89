"""The figure of where the time goes says what its content says."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from profiler.report.content.time_course import Course, TimeCourses, Work
from profiler.report.figures.theme import LIGHT
from profiler.units import format_duration
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, written


@pytest.fixture(scope="module")
def usual() -> TimeCourses:
    return contents.time_courses()


def test_lines_rise_at_each_layer_to_the_time_at_its_end(usual: TimeCourses) -> None:
    axes = draw("time_course", usual).axes[0]
    for course in usual.courses:
        (line,) = lines(axes, course.name)
        steps = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert line.get_drawstyle() == "steps-post"
        assert steps[0.0] == 0
        for place, end in enumerate(course.until(len(usual.layers))):
            assert steps[place + 0.5] == pytest.approx(1e3 * end)
    assert axes.get_ylabel() == "time from the start (ms)"
    assert [tick - 0.5 for tick in axes.get_xticks()] == list(range(len(usual.layers)))
    assert [label.get_text() for label in axes.get_xticklabels()] == list(usual.layers)


def test_networks_differ_by_line_and_are_named_at_its_end(usual: TimeCourses) -> None:
    figure = draw("time_course", usual)
    axes = figure.axes[0]
    looks = LIGHT.precisions_of(("INT8", "INT4", "mixed"))
    for course, look in zip(usual.courses, looks, strict=True):
        (line,) = lines(axes, course.name)
        assert line.get_color() == look.color
        end = [t for t in written(figure) if t.text == f"{course.name}: {format_duration(course.total_s)}"]
        assert len(end) == 1
        assert end[0].box.x0 > axes.get_window_extent().x1
        there = axes.transData.transform((0, 1e3 * course.total_s))[1]
        assert abs((end[0].box.y0 + end[0].box.y1) / 2 - there) < 12
    assert (
        len({line.get_linestyle() + str(line._dash_pattern) for c in usual.courses for line in lines(axes, c.name)})
        == 3
    )


def test_bars_are_the_seconds_of_each_kind(usual: TimeCourses) -> None:
    axes = draw("time_course", usual).axes[1]
    bars = {str(container.get_label()): container for container in axes.containers}
    assert set(bars) == {work.value for work in Work if any(course.of(work) for course in usual.courses)}
    for name, container in bars.items():
        for bar, course in zip(container, usual.courses, strict=True):
            assert bar.get_width() == pytest.approx(1e3 * course.of(Work(name)))
    ends = [max(container[row].get_x() + container[row].get_width() for container in bars.values()) for row in range(3)]
    assert ends == pytest.approx([1e3 * course.total_s for course in usual.courses])
    assert axes.get_xlabel() == "time (ms), by kind of kernel"


def test_large_parts_are_labelled_with_their_share(usual: TimeCourses) -> None:
    figure = draw("time_course", usual)
    first = usual.courses[0]
    shares = [100 * first.of(work) / first.total_s for work in Work]
    texts = [text.text for text in written(figure)]
    assert f"{shares[0]:.0f}%" in texts
    assert sum(text.endswith("%") for text in texts) < sum(bool(c.of(w)) for c in usual.courses for w in Work)
    works = ["convolution", "dense", "addition", "pooling", "conversion"]
    assert legend_texts(figure) == [*(course.name for course in usual.courses), *works]


def test_the_key_shows_what_the_lines_are_like(usual: TimeCourses) -> None:
    axes = draw("time_course", usual).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    for handle, course in zip(legend.legend_handles, usual.courses, strict=True):
        (line,) = lines(axes, course.name)
        assert isinstance(handle, Line2D)
        assert (handle.get_color(), handle._dash_pattern) == (line.get_color(), line._dash_pattern)
    assert legend.get_window_extent().y0 >= axes.get_window_extent().y1


def test_labels_of_lines_that_end_together_are_led_to() -> None:
    """By a line from where the course ends to beside its label."""
    content = contents.close_ends()
    figure = draw("time_course", content)
    axes = figure.axes[0]
    led = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch is not None]
    assert len(led) >= 2
    labels = {
        t.text.partition(":")[0]: t.box
        for t in written(figure)
        if t.text.partition(":")[0] in ("INT8", "INT4", "mixed") and t.box.x0 > axes.get_window_extent().x1
    }
    centers = sorted((box.y0 + box.y1) / 2 for box in labels.values())
    assert len(centers) == 3
    assert max(b - a for a, b in pairwise(centers)) < 1.6 * (
        labels["INT8"].y1 - labels["INT8"].y0
    )  # no further than needed
    for line in led:
        y = axes.transData.transform((0, line.xy[1]))[1] + line.xyann[1] * figure.dpi / 72
        assert min(abs(y - center) for center in centers) < 3


def test_kinds_that_no_bar_shows_are_named_below_instead() -> None:
    figure = draw("time_course", contents.close_ends())
    assert legend_texts(figure) == ["INT8", "INT4", "mixed", "convolution"]
    assert "dense, pooling: below 0.5% of the longest bar" in [text.text for text in written(figure)]
    usual_texts = [text.text for text in written(draw("time_course", contents.time_courses()))]
    assert not any("below" in text for text in usual_texts)


def test_of_many_layers_the_costly_ones_are_named() -> None:
    content = contents.time_courses(contents.MANY)
    cost = [sum(k.latency_s for c in content.courses for k in c.kernels if k.place == at) for at in range(121)]
    named = [round(tick - 0.5) for tick in draw("time_course", content).axes[0].get_xticks()]
    assert 20 <= len(named) <= 40
    assert cost.index(max(cost)) in named
    assert min(b - a for a, b in pairwise(named)) >= 3
    assert sum(cost[at] for at in named) > 1.5 * sum(cost) * len(named) / 121


def test_a_network_with_gaps_says_so() -> None:
    whole = contents.time_courses()
    part = Course("INT4", whole.courses[1].kernels[3:], whole.layers[:2])
    named = Course("INT8 (20 of 23 layers)", whole.courses[0].kernels, whole.layers[:3])
    figure = draw("time_course", TimeCourses(whole.layers, (named, part)))
    texts = [text.text for text in written(figure)]
    for course, count in ((part, 21), (named, 20)):
        assert f"{course.name[:4]}: {format_duration(course.total_s)}\n({count} of 23 layers)" in texts
    looks = LIGHT.precisions_of(("INT8", "INT4"))
    found = [lines(figure.axes[0], course.name)[0].get_color() for course in (named, part)]
    assert found == [look.color for look in looks]
