"""A network whose layers have names that would be markup, formulas or shell elsewhere: they stay text in every file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from profiler.record import Fingerprint
from profiler.report_stages.report import make_report
from tests.report.stages.cases import chain, place, rows_of_network, sensitivities

NAMES = (
    "<script>alert(1)</script>",
    "a|b",
    "=cmd()",
    "$x$",
    "n" * 200,
    r"$\frac{",
    "\"><img src=x onerror=alert(1)>'",
    "</title></style><!--",
    "*bold* _it_ `code` ~~gone~~ [a](http://x) ![b](y) # & &amp; \\",
    "{{ 7 * 7 }} {% raw %} %s {0}",
    '-1+2,"quoted";semi',
    "@SUM(A1)",
    " spaces ",
    "\u65e5\u672c\u8a9e \U0001f600",
    "../../etc/passwd",
)
HOSTILE_NETWORK = "<b>=net|$work$</b>"
DEVICE = Fingerprint("cpu", "<i>CPU</i> =|$d$", "avx512_vnni", "0", "", "invented")
ELEMENTS = {"script": 1, "style": 1, "title": 1}
"""Of the page's own."""


class Page(HTMLParser):
    """What a browser would make of a page: its elements, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: set[str] = set()
        self._texts: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag in ("td", "th"):
            self._texts.append([])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.cells.add("".join(self._texts.pop()).strip("\n"))

    def handle_data(self, data: str) -> None:
        for texts in self._texts:
            texts.append(data)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    network = chain(NAMES, name=HOSTILE_NETWORK)
    there = place(tmp_path_factory.mktemp("hostile"), network, rows_of_network(network, instrument=DEVICE))
    made = make_report(there.request(sensitivity=sensitivities(there)))
    return {name: (made.folder / name).read_bytes() for name in made.files}


def in_csv(name: str) -> str:
    """A text that a spreadsheet would calculate has an apostrophe ahead, as OWASP's page on CSV injection has it."""
    return f"'{name}" if name[0] in "=+-@\t\r" else name


def lines(files: Mapping[str, bytes], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[name].decode(), newline="")))


LAYERS = [*map(in_csv, NAMES), "pooling", "classifier"]


@pytest.mark.parametrize("name", ["layers.csv", "speedup.csv"])
def test_csv_gives_the_names_back_and_no_formula(files: Mapping[str, bytes], name: str) -> None:
    """All else is as it was."""
    assert [line["layer"] for line in lines(files, name)] == LAYERS
    assert sum(ours != theirs for ours, theirs in zip(LAYERS, NAMES, strict=False)) == 3


def test_csv_of_kernels_and_of_the_front(files: Mapping[str, bytes]) -> None:
    courses = lines(files, "time.csv")
    assert [line["kernel"] for line in courses if line["network"] == "INT8"] == LAYERS
    front = lines(files, "front.csv")
    assert list(front[0])[-len(NAMES) - 1 :] == [name for name in LAYERS if name != "pooling"]
    assert {front[0][in_csv(name)] for name in NAMES} <= {"int8", "int4"}


def test_no_cell_of_any_csv_is_a_formula(files: Mapping[str, bytes]) -> None:
    """But for numbers, which may be negative."""
    tables = [name for name in files if name.endswith(".csv")]
    assert len(tables) > 6
    for name in tables:
        for cells in csv.reader(io.StringIO(files[name].decode(), newline="")):
            for cell in cells:
                assert not cell.startswith(("=", "+", "@", "\t", "\r")), (name, cell)
                assert not cell.startswith("-") or float(cell) < 0, (name, cell)


def test_the_page_shows_them_as_text(files: Mapping[str, bytes]) -> None:
    page = Page(files["index.html"].decode())
    assert {tag: page.elements.count(tag) for tag in ELEMENTS} == ELEMENTS
    assert page.elements.count("img") == 2 * sum(name.endswith(".svg") for name in files)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert set(NAMES) <= page.cells


def test_nothing_of_the_page_is_fetched(files: Mapping[str, bytes]) -> None:
    page = Page(files["index.html"].decode())
    for name, value in page.attributes:
        if name in ("src", "href", "action", "srcset", "data", "poster"):
            assert value is not None
            assert value.startswith(("data:", "#")) or value in files, value


def test_markdown_shows_them_as_text(files: Mapping[str, bytes]) -> None:
    """Read by a parser of CommonMark with tables: each name is a cell, and none is markup."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(files["report.md"].decode())
    inline = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children or ()}
    assert kinds <= {"text", "text_special", "image", "link_open", "link_close", "softbreak"}
    assert sum(token.type == "html_block" for token in tokens) == 1  # whose file it is
    cells = set()
    for before, token in pairwise(tokens):
        if before.type == "td_open":
            cells.add("".join(child.content for child in token.children or ()))
    assert {name.strip() for name in NAMES} <= cells
    links = [child.attrs["href"] for token in inline for child in token.children or () if child.type == "link_open"]
    assert set(links) <= set(files)
    title = tokens[next(i for i, token in enumerate(tokens) if token.type == "heading_open") + 1]
    text = "".join(child.content for child in title.children or ())
    assert text == f"{HOSTILE_NETWORK}, batch 1, on {DEVICE.device_name}"


def test_figures_are_sound_and_hold_no_markup_of_theirs(files: Mapping[str, bytes]) -> None:
    figures = [name for name in files if name.endswith(".svg")]
    assert {"speedup.svg", "time.svg", "roofline.svg", "front.svg"} <= set(figures)
    for name in figures:
        root = ElementTree.fromstring(files[name])
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"script", "img", "foreignObject", "b"}
        assert files[name.replace(".svg", ".png")].startswith(b"\x89PNG")


def test_no_file_is_called_after_a_layer(files: Mapping[str, bytes]) -> None:
    for name in files:
        assert Path(name).name == name
        assert name.replace("-", "").replace(".", "").isalnum()
