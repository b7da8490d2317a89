"""Tables of reports as CSV for programs and as Markdown for people."""

from __future__ import annotations

import csv
import io
import math

import pytest
from markdown_it import MarkdownIt

from profiler.report.content.table import Cell, Column, Kind, Table, cell_text, markdown_text, to_csv, to_markdown

COLUMNS = (
    Column("layer", "layer"),
    Column("latency_s", "time", Kind.SECONDS),
    Column("speedup", "speed|up", Kind.RATIO),
    Column("share_percent", "share", Kind.PERCENT),
    Column("ops_per_s", "rate", Kind.RATE),
    Column("count", "number", Kind.NUMBER),
)
TEXTS = (
    "plain", "a,b", 'say "so"', "two\nlines", "=cmd()", "+1", "-1", "@x", "a|b", "<b>&amp;", " spaces ", "`x`", "*a*",
    "_b_", "[c](d)", "![e](f)", "~~g~~", "$h$", "i\\j", "\\|", "#", "1. one", "- two", "> three", "\u65e5\u672c",
    "&lt;", "<!-- -->", "http://x.y/z", "a@b.c", "{{x}}", "===", "---", "| - |", "\t=1", "\r=1", "'=1", " =1", "x\r=1",
)  # fmt: skip


def table(*rows: tuple[Cell, ...]) -> Table:
    return Table(COLUMNS, rows)


def test_csv_reads_back_to_the_same_values() -> None:
    """Numbers as the shortest text; what is not known is empty; what would be a formula has an apostrophe ahead."""
    formulas = {text: f"'{text}" for text in ("=cmd()", "+1", "-1", "@x", "===", "- two", "---", "\t=1", "\r=1")}
    assert set(formulas) <= set(TEXTS)
    rows = [(text, 1e-6 * (index + 1) / 3, 1 / 3, 1e300, 5e-324, index) for index, text in enumerate(TEXTS)]
    read = list(csv.reader(io.StringIO(to_csv(table(*rows, ("", None, None, None, None, None))), newline="")))
    assert read[0] == [column.name for column in COLUMNS]
    for cells, row in zip(read[1:-1], rows, strict=True):
        assert cells[0] == formulas.get(row[0], row[0])
        assert [float(cell) for cell in cells[1:5]] == list(row[1:5])
        assert int(cells[5]) == row[5]
    assert read[-1] == [""] * 6


def test_a_column_of_a_formulas_name_and_negative_numbers() -> None:
    """A number is none: it stays one."""
    shown = Table((Column("=layer", "x"), Column("share", "y", Kind.NUMBER)), (("a", -1.5), ("b", -2)))
    assert to_csv(shown) == "'=layer,share\na,-1.5\nb,-2\n"


def test_csv_is_the_same_on_every_system() -> None:
    assert to_csv(table(("a", 0.1, 1.5, 2.0, 3e9, 7))) == (
        "layer,latency_s,speedup,share_percent,ops_per_s,count\na,0.1,1.5,2.0,3000000000.0,7\n"
    )


@pytest.mark.parametrize(
    ("cell", "kind", "text"),
    [
        (3.214e-4, Kind.SECONDS, "321 us"),
        (3.214e-4, Kind.JOULES, "321 uJ"),
        (1.0, Kind.RATIO, "1.00x"),
        (12.345, Kind.PERCENT, "12.3%"),
        (1.302e14, Kind.RATE, "130.20 Top/s"),
        (924844032, Kind.NUMBER, "924,844,032"),
        (0.123456, Kind.NUMBER, "0.1235"),
        ("text", Kind.TEXT, "text"),
        (None, Kind.SECONDS, "-"),
        ("", Kind.TEXT, "-"),
    ],
)
def test_cells_for_people(cell: Cell, kind: Kind, text: str) -> None:
    assert cell_text(cell, kind) == text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a",), "1 cells in a table of 6 columns"),
        (("a", 1.0, 1.0, 1.0, 1.0, 1, 1), "7 cells in a table of 6 columns"),
        ((1.0, 1.0, 1.0, 1.0, 1.0, 1), "column layer is text and cannot hold 1.0"),
        (("a", "b", 1.0, 1.0, 1.0, 1), "column latency_s is seconds and cannot hold 'b'"),
    ],
)
def test_a_row_that_does_not_fit_its_columns_is_refused(row: tuple[Cell, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(row)


def rendered(text: str) -> list[list[str]]:
    """The texts of a Markdown table's cells, by row; anything else in it is an error."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    rows: list[list[str]] = []
    for token in tokens:
        assert token.type.startswith(("table", "thead", "tbody", "tr", "th", "td", "inline")), token.type
        if token.type == "tr_open":
            rows.append([])
        for child in token.children or ():
            assert child.type in ("text", "text_special"), child
        if token.type == "inline":
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


def test_markdown_shows_texts_as_they_are() -> None:
    texts = [text for text in TEXTS if not {"\n", "\r"} & set(text)]
    rows = rendered(to_markdown(table(*((text, None, None, None, None, None) for text in texts))))
    assert rows[0] == [column.title for column in COLUMNS]
    assert [row[0] for row in rows[1:]] == [text.strip() for text in texts]


def test_markdown_of_numbers() -> None:
    rows = rendered(to_markdown(table(("a", 1.5e-3, 2.0, 50.0, 1e9, 1000), ("b", None, None, None, None, None))))
    assert rows[1:] == [["a", "1.5 ms", "2.00x", "50.0%", "1.00 Gop/s", "1,000"], ["b", "-", "-", "-", "-", "-"]]


def test_a_line_break_in_a_text_does_not_end_its_row() -> None:
    """Names of layers have none; whoever makes a table of something else may not know."""
    rows = rendered(to_markdown(table(("two\nlines\n# three", None, None, None, None, None))))
    assert len(rows) == 2
    assert rows[1][0] == "two lines # three"


@pytest.mark.parametrize("text", [text.strip() for text in TEXTS if not {"\n", "\r"} & set(text)])
def test_text_anywhere_in_markdown_stays_text(text: str) -> None:
    """In a paragraph and in a list, behind words of ours; in a heading."""
    for before, words in (("", "It is "), ("- ", "it is "), ("# ", "")):
        document = f"{before}{words}{markdown_text(text)}"
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(document)
        (inline,) = [token for token in tokens if token.type == "inline"]
        assert "".join(child.content for child in inline.children or ()) == f"{words}{text}"
        assert {child.type for child in inline.children or ()} <= {"text", "text_special"}


def test_numbers_that_are_none_are_no_cells_of_a_report() -> None:
    assert cell_text(math.nan, Kind.SECONDS) == "-"
    assert cell_text(math.inf, Kind.SECONDS) == "-"
