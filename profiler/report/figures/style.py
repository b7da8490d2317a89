"""The common look of all figures, and the one way from a drawing to the bytes of a file."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from math import floor, log10
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from profiler.report.figures.theme import Theme

Style = dict[str, Any]
"""Keyword arguments of matplotlib's."""
WIDTH_IN = 7.5
"""Of every figure, so that text has one size on a page."""
POINT_IN = 1 / 72
INNER_PT = (WIDTH_IN - 0.2) / POINT_IN
"""What a legend or a sentence may take of the width."""
TEXT_PT, SMALL_PT, TINY_PT = 10.0, 9.0, 8.0
"""Titles and axes; ticks, legends and labels; names where there are many. Nothing is smaller."""
_TITLE_IN = 0.3
PNG_DPI = 160
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that a figure is the same on every machine."""
_NO_GLYPH = "\u25a1"
_ELLIPSIS = "\u2026"
_TURN = threading.Lock()
"""matplotlib's settings are those of the whole process."""


def to_bytes(draw: Callable[[Theme], Figure], theme: Theme, file_format: str, title: str = "") -> bytes:
    """The content of an ``svg``, ``png`` or ``pdf`` file; the same drawing gives the same bytes. ``draw`` is called
    with the settings in force, and makes its figure with `new_figure`. A ``title`` stands above it."""
    data = BytesIO()
    with styled(theme):
        figure = draw(theme)
        whole = add_title(figure, title)
        figure.savefig(
            data, format=file_format, metadata=_METADATA[file_format], dpi=PNG_DPI, transparent=theme.transparent,
            bbox_inches=whole,
        )  # fmt: skip
    return _compact(data.getvalue()) if file_format == "svg" else data.getvalue()


def add_title(figure: Figure, title: str) -> Bbox | None:
    """Above the figure, at the left. Returns what the file has to show, in inches (None: the figure): the figure does
    not grow, since what is in it was placed for the size that it has."""
    if not title:
        return None
    width, height = (float(size) for size in figure.get_size_inches())
    shown = fit(title, (width - 0.3) / POINT_IN, TEXT_PT)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # everything has its place
    for legend in figure.legends:
        if legend.get_bbox_to_anchor() is figure.bbox:  # which is that of the whole file while it is written
            legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
    figure.text(0.1 / width, 1 + (_TITLE_IN - 0.08) / height, shown, va="top", size=TEXT_PT)
    return Bbox([(0, 0), (width, height + _TITLE_IN)])


@contextmanager
def styled(theme: Theme) -> Iterator[None]:
    """With the settings of a theme in force, one thread at a time. A user's own ones do not count."""
    with _TURN, mpl.rc_context():
        mpl.rcParams.update({name: mpl.rcParamsDefault[name] for name in _RESET})
        mpl.rcParams.update(settings(theme))
        yield


def settings(theme: Theme) -> dict[str, Any]:
    """matplotlib's, for a figure on such a page."""
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": theme.axes,
        "axes.facecolor": "none",
        "axes.formatter.limits": (-12, 12),  # no power of ten beside an axis: its unit is chosen to need none
        "axes.formatter.useoffset": False,
        "axes.grid": False,
        "axes.labelcolor": theme.text,
        "axes.labelsize": TEXT_PT,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": theme.text,
        "axes.titlelocation": "left",
        "axes.titlepad": 7.0,
        "axes.titlesize": TEXT_PT,
        "figure.facecolor": theme.background,
        "font.family": FONT,
        "font.size": TEXT_PT,
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "hatch.color": theme.background,
        "hatch.linewidth": 0.7,
        "legend.borderaxespad": 0.0,
        "legend.borderpad": 0.2,
        "legend.columnspacing": 1.4,
        "legend.fontsize": SMALL_PT,
        "legend.frameon": False,
        "legend.handletextpad": 0.5,
        "legend.labelcolor": theme.text,
        "lines.linewidth": 1.4,
        "lines.markersize": 5.0,
        "path.simplify": True,
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": f"low-bit-profiler-{theme.name}",
        "text.color": theme.text,
        "text.hinting": "none",  # so that a text is as wide in every format
        "text.parse_math": False,  # a name with $ in it is no formula
        "xtick.color": theme.axes,
        "xtick.labelcolor": theme.text,
        "xtick.labelsize": SMALL_PT,
        "ytick.color": theme.axes,
        "ytick.labelcolor": theme.text,
        "ytick.labelsize": SMALL_PT,
    }


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Laid out by matplotlib: nothing that belongs to axes, and no legend "outside", ends beyond the figure."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.03)
    return Figure(figsize=(width_in, height_in), layout=layout)


def new_canvas(height_in: float) -> Figure:
    """As wide as all figures; where things go is up to the caller."""
    return Figure(figsize=(WIDTH_IN, height_in))


def plain(text: str) -> str:
    """Any text as one line that the font can show: other characters become a box."""
    return "".join(
        " " if c.isspace() else _NO_GLYPH if unicodedata.category(c)[0] == "C" or ord(c) not in _glyphs() else c
        for c in text.strip()
    )


def fit(text: str, width_pt: float, size_pt: float) -> str:
    """A name as `plain`; what is wider than ``width_pt`` in that size loses its middle, since names differ at their
    ends."""
    return _shortened(plain(text), width_pt, size_pt, lambda kept: (kept + 1) // 2)


def fit_layer(name: str, width_pt: float, size_pt: float) -> str:
    """As `fit`, of a layer with the addition that belongs to it: where ``a.b.conv2 + a.b.add`` is too wide, the second
    name goes without what it has in common with the first."""
    shown = plain(name)
    first, plus, second = shown.partition(" + ")
    if plus and width_of(shown, size_pt) > width_pt:
        common = first.rpartition(".")[0] + "."
        shown = f"{first}{plus}{second.removeprefix(common)}"
    return fit(shown, width_pt, size_pt)


def _shortened(text: str, width_pt: float, size_pt: float, head_of: Callable[[int], int]) -> str:
    """``head_of`` says how many of so many kept characters are the first ones."""
    if width_of(text, size_pt) <= width_pt:
        return text

    def cut(kept: int) -> str:
        head = head_of(kept)
        tail = text[len(text) - (kept - head) :]
        return text[:head].rstrip() + _ELLIPSIS + tail.lstrip()

    low, high = 1, min(len(text), int(width_pt / size_pt * 8) + 1)  # no character is narrower than an eighth
    while low < high:  # the largest number of characters that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width_of(cut(middle), size_pt) <= width_pt else (low, middle - 1)
    return cut(low)


def wrap(text: str, width_pt: float, size_pt: float, lines: int) -> str:
    """A sentence as `plain`, broken between words into as many lines as needed, all of much the same length, and no
    more than allowed: then the last one loses its end. So does a line of one word that is too wide."""
    fewest = _broken(text, width_pt, size_pt, lines)
    narrower = (_broken(text, width_pt * part / 20, size_pt, len(fewest)) for part in range(10, 20))
    best = next((found for found in narrower if _is_whole(found, width_pt, size_pt)), fewest)
    return "\n".join(_shortened(line, width_pt, size_pt, lambda kept: kept) for line in best)


def _is_whole(lines: list[str], width_pt: float, size_pt: float) -> bool:
    """And the last line is none that took the rest."""
    widths = [width_of(line, size_pt) for line in lines]
    return max(widths) <= width_pt and widths[-1] <= max(widths[:-1], default=0.0)


def _broken(text: str, width_pt: float, size_pt: float, lines: int) -> list[str]:
    """The last line takes what is left."""
    words, broken = plain(text).split(), [""]
    for index, word in enumerate(words):
        longer = f"{broken[-1]} {word}".strip()
        if broken[-1] and width_of(longer, size_pt) > width_pt:
            if len(broken) == lines:
                broken[-1] = " ".join([broken[-1], *words[index:]])
                break
            longer = word
            broken.append("")
        broken[-1] = longer
    return broken


def width_of(text: str, size_pt: float) -> float:
    """Of a line of plain text, in points."""
    return _width_em(text) * size_pt


@cache
def _width_em(text: str) -> float:
    width, _, _ = TextToPath().get_text_width_height_descent(text, FontProperties(family=FONT, size=100), ismath=False)
    return float(width) / 100


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(findfont(FontProperties(family=FONT))).get_charmap())


def legend_columns(labels: Sequence[str], width_pt: float, mark_pt: float = 34.0) -> int:
    """How many entries of a legend fit side by side, if each takes as much as the widest; at least one. ``mark_pt`` is
    for the mark and the gaps of an entry."""
    together = sum(width_of(label, SMALL_PT) + mark_pt for label in labels)
    if together <= width_pt:
        return max(1, len(labels))
    return max(1, int(width_pt / (max(width_of(label, SMALL_PT) for label in labels) + mark_pt)))


def point_of(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a value is drawn, in points from the figure's lower left."""
    pixels = pixels_per_point(axes)
    across, up = axes.transData.transform((x, y))
    return float(across) / pixels, float(up) / pixels


def axes_width_pt(axes: Axes) -> float:
    """In points, as laid out so far."""
    return float(axes.get_window_extent().width) / pixels_per_point(axes)


def pixels_per_point(axes: Axes) -> float:
    return float(axes.figure.dpi * POINT_IN)


def duration_unit(longest_s: float) -> tuple[float, str]:
    """Seconds in the unit that suits an axis up to there, and its name."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if longest_s >= factor:
            return factor, unit
    return 1e-9, "ns"


def number(value: float) -> str:
    """For a tick: no exponent where people would not write one."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.10g}" if abs(value) >= 1e4 else f"{value:.10g}"
    return f"{value:.3g}"


def plain_ticks(axis: Any) -> None:
    """Each tick as a plain `number`."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def log_axis(axis: Any, low: float, high: float, most: int = 8) -> None:
    """A logarithmic axis from ``low`` to ``high`` with plain numbers at round values, at least two of them."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    for step in _LOG_STEPS:
        ticks = [
            float(f"{digit}e{power}")
            for power in range(floor(log10(low)) - 1, floor(log10(high)) + 2)
            for digit in step
            if low <= float(f"{digit}e{power}") <= high
        ]
        if len(ticks) <= most:
            break
    stride = -(-len(ticks) // most)
    if len(ticks) < 2:
        ticks = _linear_ticks(low, high)
        stride = 1
    axis.set_major_locator(FixedLocator(ticks[::stride]))
    plain_ticks(axis)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


_LOG_STEPS: tuple[tuple[float, ...], ...] = (
    (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.6, 4, 4.5, 5, 5.5, 6, 7, 8, 9),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8),
    (1, 1.5, 2, 3, 5, 7),
    (1, 2, 5),
    (1, 3),
    (1,),
)
"""What may be labelled of a power of ten, densest first."""


def _linear_ticks(low: float, high: float) -> list[float]:
    """Round values for a range within one power of ten."""
    step = 10.0 ** floor(log10((high - low) / 2))
    digits = max(0, -floor(log10(step)))
    first = floor(low / step) + 1
    ticks = [round(index * step, digits) for index in range(first, floor(high / step) + 1)]
    stride = -(-len(ticks) // 6)
    return ticks[::stride] if len(ticks) >= 2 else [low, high]


def ink_on(color: str) -> str:
    """Black or white, whichever is easier to read on it. Source: the luminance of WCAG 2.2, where both are equal."""
    return "#000000" if luminance(color) > 0.179 else "#ffffff"


def luminance(color: str) -> float:
    """Relative luminance, from 0 to 1, of an ``#rrggbb``. Source: WCAG 2.2."""
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def note(axes: Axes, theme: Theme, text: str, size_pt: float = SMALL_PT) -> Text:
    """In the middle of axes that have nothing else to show."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    place: Style = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    return axes.text(0.5, 0.5, text, color=theme.muted, size=size_pt, **place)


_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}
_RESET = tuple(name for name in mpl.rcParamsDefault if not name.startswith(("backend", "toolbar", "interactive")))

_SHORTENED = re.compile(rb' (?:d|x|y|width|height)="[^"]*"|translate\([^)]*\)', re.DOTALL)
_FRACTION = re.compile(rb"-?\d+\.\d{3,}")
_COMMENT = re.compile(rb"<!--.*?-->\n?", re.DOTALL)
_CLIP = re.compile(rb'(url\(#|<clipPath id=")p[0-9a-f]{10}\b')
"""matplotlib calls it by a digest of its corners, whose last digits may be others in another process."""


def _compact(svg: bytes) -> bytes:
    """Without comments, with coordinates to a hundredth of a point, and with clip paths numbered as they appear."""
    numbers: dict[bytes, int] = {}

    def shorter(attribute: re.Match[bytes]) -> bytes:
        return _FRACTION.sub(lambda value: f"{float(value[0]):.2f}".rstrip("0").rstrip(".").encode(), attribute[0])

    def numbered(clip: re.Match[bytes]) -> bytes:
        name = clip[0].removeprefix(clip[1])
        return clip[1] + b"p%d" % numbers.setdefault(name, len(numbers))

    return re.sub(rb"\n\s*", b"\n", _CLIP.sub(numbered, _SHORTENED.sub(shorter, _COMMENT.sub(b"", svg))))
