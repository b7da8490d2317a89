"""Text that fits, scales with plain numbers, and bytes that are always the same."""

from __future__ import annotations

import warnings
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from profiler.report.figures.style import (
    duration_unit,
    fit,
    fit_layer,
    ink_on,
    legend_columns,
    log_axis,
    luminance,
    new_figure,
    number,
    plain,
    styled,
    to_bytes,
    width_of,
    wrap,
)
from profiler.report.figures.theme import DARK, LIGHT, Theme
from tests.report.figures.contents import HOSTILE


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_one_line_that_the_font_has(text: str) -> None:
    shown = plain(text)
    assert "\n" not in shown
    assert "\x00" not in shown
    assert "\u202e" not in shown
    if text.isascii() and text.isprintable():
        assert shown == text.strip()


def test_what_the_font_lacks_is_a_box() -> None:
    assert plain("a\u5c42b") == "a\u25a1b"
    assert plain("\u00e4\u03bc\u05e9") == "\u00e4\u03bc\u05e9"


@pytest.mark.parametrize("width", [5.0, 30.0, 100.0])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_fits_and_keeps_its_ends(text: str, width: float) -> None:
    shown = fit(text, width, 9.0)
    assert width_of(shown, 9.0) <= width or shown.endswith("\u2026")
    whole = plain(text)
    if shown != whole:
        head, _, tail = shown.partition("\u2026")
        assert whole.startswith(head)
        assert whole.endswith(tail)
        assert abs(len(head) - len(tail)) <= 2


def test_no_longer_name_would_fit() -> None:
    shown = fit("abcdefghijklmnopqrstuvwxyz", 80.0, 9.0)
    head, _, tail = shown.partition("\u2026")
    assert width_of(shown, 9.0) <= 80.0 < width_of(f"{head}n\u2026{tail}", 9.0) + 3


def test_widths_are_those_of_the_renderer() -> None:
    """matplotlib's own measure of the drawn text."""
    with styled(LIGHT):
        figure = Figure(figsize=(7.5, 2))
        drawn = figure.text(0, 0.5, "layer1.0.downsample WWW iii", size=9)
        extent = drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert width_of("layer1.0.downsample WWW iii", 9.0) == pytest.approx(extent.width * 72 / figure.dpi, rel=0.02)


def test_a_fused_addition_is_named_in_short() -> None:
    assert fit_layer("layer1.0.conv2 + layer1.0.add", 500, 9) == "layer1.0.conv2 + layer1.0.add"
    assert fit_layer("layer1.0.conv2 + layer1.0.add", 120, 9) == "layer1.0.conv2 + add"
    assert fit_layer("conv2 + add", 40, 9).startswith("c")


def test_sentences_break_between_words_and_lose_their_end() -> None:
    text = "too small: launching takes most of the time and more"
    assert wrap(text, 1000, 8, 3) == text
    lines = wrap(text, 110, 8, 3).split("\n")
    assert " ".join(lines) == text
    assert all(width_of(line, 8) <= 110 for line in lines)
    short = wrap(text, 80, 8, 2).split("\n")
    assert len(short) == 2
    assert short[-1].endswith("\u2026")
    assert all(width_of(line, 8) <= 80 for line in short)


def test_lines_of_a_sentence_are_much_the_same() -> None:
    lines = wrap("INT4 emulated: unpacked for the 8-bit dot product", 188, 8, 2).split("\n")
    widths = [width_of(line, 8) for line in lines]
    assert len(widths) == 2
    assert min(widths) > 0.5 * max(widths)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.5, 2.0), (0.9, 1.1), (0.999, 1.001), (1e-9, 1e9), (3.1, 3.2), (0.012, 900.0), (1e-300, 1e300), (95.0, 105.0)],
)
def test_logarithmic_scales_have_plain_round_ticks(low: float, high: float) -> None:
    with styled(LIGHT):
        axes = Figure().subplots()
        log_axis(axes.xaxis, low, high)
        ticks = list(axes.get_xticks())
        labels = [axes.xaxis.get_major_formatter()(tick, None) for tick in ticks]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == pytest.approx((low, high))
    assert 2 <= len(ticks) <= 10
    assert all(low <= tick <= high for tick in ticks)
    assert all(a < b for a, b in pairwise(ticks))
    assert len(set(labels)) == len(labels)
    assert all(float(label.replace(",", "")) == pytest.approx(tick) for label, tick in zip(labels, ticks, strict=True))
    assert max(map(len, labels)) <= 7
    assert not any("$" in label for label in labels)


def test_units_keep_numbers_short() -> None:
    assert duration_unit(2e-3) == (1e-3, "ms")
    assert duration_unit(1.0) == (1.0, "s")
    assert duration_unit(9.99e-4) == (1e-6, "us")
    assert duration_unit(0.0) == (1e-9, "ns")


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.1, "0.1"), (1500, "1500"), (20000, "20,000"), (1e7, "1e+07")])
def test_numbers_are_as_people_write_them(value: float, text: str) -> None:
    assert number(value) == text


def test_ink_is_readable() -> None:
    assert luminance("#000000") == 0
    assert luminance("#ffffff") == pytest.approx(1)
    assert (ink_on("#0072b2"), ink_on("#f0e442")) == ("#ffffff", "#000000")


def test_a_legend_breaks_into_rows() -> None:
    assert legend_columns(["a", "b", "c"], 500) == 3
    assert legend_columns(["a", "b", "a very long entry of a legend"], 200) == 1
    assert legend_columns([], 100) == 1


def _line(theme: Theme) -> Figure:
    figure = new_figure(1.5)
    figure.subplots().plot([0.123456789, 1.0], [2.0, 3.0], color=theme.main.color)
    return figure


def test_a_users_own_settings_do_not_count() -> None:
    expected = to_bytes(_line, LIGHT, "svg")
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.grid": True, "svg.fonttype": "none"}):
        before = dict(mpl.rcParams)
        assert to_bytes(_line, LIGHT, "svg") == expected
        assert dict(mpl.rcParams) == before


def test_settings_are_given_back_after_a_failure() -> None:
    before = mpl.rcParams["font.size"]

    def fails(theme: Theme) -> Figure:
        raise ValueError(theme.name)

    with pytest.raises(ValueError, match="light"):
        to_bytes(fails, LIGHT, "png")
    assert mpl.rcParams["font.size"] == before
    assert to_bytes(_line, LIGHT, "png")  # and the turn


def test_svg_is_compact_and_the_same_drawing() -> None:
    svg = to_bytes(_line, LIGHT, "svg")
    root = ElementTree.fromstring(svg)
    assert (root.get("width"), root.get("height")) == ("540pt", "108pt")
    assert b"<!--" not in svg
    assert b"<metadata" not in svg
    assert b"0.015625" in svg  # the scale of glyphs is no coordinate
    paths = [path.get("d", "") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    numbers = [part for path in paths for part in path.split() if "." in part]
    assert numbers
    assert all(len(part.rpartition(".")[2]) <= 2 for part in numbers)


def test_themes_have_their_own_ground() -> None:
    light, dark = to_bytes(_line, LIGHT, "svg"), to_bytes(_line, DARK, "svg")
    assert b"fill: #ffffff" in light
    assert DARK.background.encode() not in dark
    assert LIGHT.text.encode() not in dark
