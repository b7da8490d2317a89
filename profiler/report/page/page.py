"""From a report and its figures to one HTML page."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from profiler.report.content.report import NamedTable, Report, Section
from profiler.report.page.table_view import TableView, view_of

GENERATOR = "low-bit profiler report"
"""Stands among the first 1000 bytes of a page, and tells it from one that somebody else made."""
_PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3}
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, halves of characters, and what turns the direction of the text around it."""


@dataclass(frozen=True)
class PageFigure:
    """The SVG files of a figure for a light and for a dark page. Raises `ValueError` for what has no size as an SVG
    file has it: ``width`` and ``height`` of its root in points or pixels, or a ``viewBox``."""

    light: bytes
    dark: bytes

    def __post_init__(self) -> None:
        _size(self.light)
        _size(self.dark)


@dataclass(frozen=True)
class _Image:
    """A picture as the page has it; its size in CSS pixels, so that nothing moves when it appears."""

    theme: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class _SectionView:
    """``anchor`` is where links lead, ``file`` the start of relative links to the files of the figure;
    ``data`` is the figure's table (the one of its name), ``linked`` are other tables that are not shown."""

    anchor: str
    file: str
    section: Section
    images: tuple[_Image, ...]
    data: NamedTable | None
    shown: tuple[TableView, ...]
    linked: tuple[NamedTable, ...]

    @property
    def gap(self) -> bool:
        """Whether there is nothing to show."""
        return not self.images


def page_html(report: Report, figures: Mapping[str, PageFigure]) -> str:
    """The page. ``figures`` by the name of their section: one for each section that has a figure, and no other.

    Relative links lead to the files beside the page: ``<section>.svg`` and ``.png`` of figures, ``<table>.csv``.
    The same values give the same text. Raises `ValueError` for figures that are missing or that no section has, and
    for two sections of one name.
    """
    names = [section.name for section in report.sections]
    if len(set(names)) < len(names):
        raise ValueError(f"two sections have one name: {', '.join(names)}")
    drawn = {section.name for section in report.sections if section.figure is not None}
    if drawn != set(figures):
        raise ValueError(f"figures of other sections: {', '.join(sorted(drawn ^ set(figures)))}")
    style, script = _resource("page.css"), _resource("page.js")
    return _template().render(
        report=report,
        sections=[_section(section, figures.get(section.name)) for section in report.sections],
        layers=view_of(report.layers),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        generator=GENERATOR,
    )


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: this style sheet, this script and pictures within the page; nothing else."""
    return (
        "default-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _section(section: Section, figure: PageFigure | None) -> _SectionView:
    data = next((table for table in section.tables if figure is not None and table.name == section.name), None)
    return _SectionView(
        anchor=_anchor(section.name),
        file=_link(section.name),
        section=section,
        images=() if figure is None else (_image("light", figure.light), _image("dark", figure.dark)),
        data=data,
        shown=tuple(view_of(table) for table in section.tables if table.shown),
        linked=tuple(table for table in section.tables if not table.shown and table is not data),
    )


def _image(theme: str, svg: bytes) -> _Image:
    width, height = _size(svg)
    return _Image(theme, f"data:image/svg+xml;base64,{b64encode(svg).decode()}", round(width), round(height))


def _size(svg: bytes) -> tuple[float, float]:
    """Width and height of an SVG file in CSS pixels."""
    root = re.search(rb"<svg\b[^>]*>", svg)
    if root is None:
        raise ValueError("not an SVG file")
    sides = [re.search(rf'\s{side}="([\d.]+)(pt|px|)"'.encode(), root[0]) for side in ("width", "height")]
    if all(sides):
        width, height = (float(side[1]) * _PIXELS[side[2].decode()] for side in sides if side is not None)
        return width, height
    box = re.search(rb'\sviewBox="\S+ \S+ ([\d.]+) ([\d.]+)"', root[0])
    if box is None:
        raise ValueError("an SVG file without a size")
    return float(box[1]), float(box[2])


def _anchor(name: str) -> str:
    return f"section-{_link(name)}"


def _link(name: str) -> str:
    """A relative link to a file of that name. Without a colon: no name becomes an address or a script."""
    return quote(name, safe="", errors="replace")


def _breakable(text: str) -> Markup:
    """Names without spaces may be broken into lines where their parts end."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/])(?=.)", str(_printable(text))))


def _printable(value: Any) -> Any:
    """Text as a page can hold and show it; what would not be seen is written out (``\\u202e``)."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
    return value


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_printable, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(link=_link, breakable=_breakable)
    return environment.from_string(_resource("page.html.j2"))


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
