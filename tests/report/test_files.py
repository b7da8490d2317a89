"""Which files a report has, what is in them, and by what a folder of one is told from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from profiler.report.content.report import NamedTable, Report, Section
from profiler.report.content.table import Column, Kind, Table, to_csv
from profiler.report.figures import render
from profiler.report.files import INDEX, MARKDOWN, files_of, is_own, names_of
from profiler.report.page.page import GENERATOR
from tests.report.examples import layer_names, report

TABLE = Table((Column("layer", "layer"), Column("time_s", "time", Kind.SECONDS)), (("conv|1", 1.5e-3), ("fc", None)))
WORDS = Report(
    title="a network, on a card",
    headline="4 bits pay.",
    doubts=("Somebody else was busy.", "Rows are old."),
    facts=(("device", "a card"), ("clock", "1590 MHz")),
    sections=(
        Section(
            "time",
            "Where it goes",
            "Into convolutions.",
            None,
            tables=(NamedTable("time", "Everything", TABLE, shown=False), NamedTable("time-summary", "Sums", TABLE)),
            notes=("Nothing was drawn.",),
        ),
        Section("front", "Bits", "", None, notes=("No sensitivities.", "Give a file.")),
    ),
    layers=NamedTable("layers", "All layers", TABLE),
)
"""Without figures, which take a second each."""


@pytest.fixture(scope="module")
def drawn() -> tuple[Report, Mapping[str, bytes]]:
    whole = report(layer_names(7))
    two = replace(whole, sections=(whole.sections[0], whole.sections[3]))
    return two, files_of(two)


def test_a_figure_is_there_as_svg_and_png_with_its_tables(drawn: tuple[Report, Mapping[str, bytes]]) -> None:
    about, files = drawn
    figures = {f"{section.name}.{kind}" for section in about.sections for kind in ("svg", "png")}
    tables = {f"{table.name}.csv" for section in about.sections for table in section.tables}
    assert set(files) == {INDEX, MARKDOWN, "layers.csv"} | figures | tables
    for section in about.sections:
        assert ElementTree.fromstring(files[f"{section.name}.svg"]).tag.endswith("svg")
        assert files[f"{section.name}.png"].startswith(b"\x89PNG\r\n\x1a\n")
        assert section.figure is not None
        assert files[f"{section.name}.svg"] == render(section.figure, "svg", title=about.title)


def test_the_same_report_gives_the_same_bytes(drawn: tuple[Report, Mapping[str, bytes]]) -> None:
    about, files = drawn
    one = replace(about, sections=about.sections[:1])
    again = files_of(one)
    assert again == files_of(one)
    assert {name: files[name] for name in again if name not in (INDEX, MARKDOWN)} == {
        name: data for name, data in again.items() if name not in (INDEX, MARKDOWN)
    }


def test_the_markdown_has_everything_in_its_order() -> None:
    text = files_of(WORDS)[MARKDOWN].decode()
    parts = [
        "# a network, on a card\n",
        "4 bits pay.",
        "## Read this first\n",
        "- Somebody else was busy.\n- Rows are old.\n",
        "## How this was measured\n",
        "- device: a card\n- clock: 1590 MHz\n",
        "## Where it goes\n",
        "Into convolutions.\n",
        "- Nothing was drawn.\n",
        "[time.csv](time.csv)",
        "### Sums\n",
        "| conv\\|1 | 1.5 ms |\n| fc | - |\n",
        "## Bits\n",
        "- No sensitivities.\n- Give a file.\n",
        "## All layers\n",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.endswith("| fc | - |\n")
    assert "![" not in text  # there is no figure


def test_doubts_are_a_list_of_their_own() -> None:
    """Lists that only a blank line parts are one."""
    tokens = MarkdownIt("commonmark").parse(files_of(WORDS)[MARKDOWN].decode())
    lists: list[list[str]] = []
    for token in tokens:
        if token.type == "bullet_list_open":
            lists.append([])
        elif token.type == "inline" and token.level == 3:
            lists[-1].append(token.content)
    assert lists[0] == list(WORDS.doubts)
    assert lists[1] == ["device: a card", "clock: 1590 MHz"]


def test_without_doubts_there_is_no_such_heading() -> None:
    assert "Read this first" not in files_of(replace(WORDS, doubts=()))[MARKDOWN].decode()


def test_a_figure_is_shown_with_its_description(drawn: tuple[Report, Mapping[str, bytes]]) -> None:
    about, files = drawn
    text = files[MARKDOWN].decode()
    for section in about.sections:
        assert f"]({section.name}.png)" in text


def test_tables_are_files_whether_shown_or_not() -> None:
    files = files_of(WORDS)
    assert {name for name in files if name.endswith(".csv")} == {"time.csv", "time-summary.csv", "layers.csv"}
    assert all(files[name] == to_csv(TABLE).encode() for name in files if name.endswith(".csv"))


def test_the_markdown_comes_first_and_tells_whose_folder_it_is(tmp_path: Path) -> None:
    """A report that was killed after its first file is known again."""
    files = files_of(WORDS)
    assert next(iter(files)) == MARKDOWN
    for name in (MARKDOWN, INDEX):
        (tmp_path / name).write_bytes(files[name])
        assert is_own(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html></html>",
        f"<title>{GENERATOR}</title>",
        f"# {GENERATOR}\n",
        " " * 1000 + f"<!-- {GENERATOR} -->",
        "\udcff",
    ],
)
def test_other_files_are_not_taken_for_a_report(tmp_path: Path, text: str) -> None:
    path = tmp_path / "index.html"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert not is_own(path)


def test_what_is_no_file_is_no_report(tmp_path: Path) -> None:
    assert not is_own(tmp_path)
    assert not is_own(tmp_path / "none")
    assert names_of(tmp_path / "none") == set()


def test_names_of_reports_and_others(tmp_path: Path) -> None:
    """All that a report can write is known again; what is only called alike is not."""
    own = set(files_of(WORDS)) - {INDEX}
    figures = (
        "speedup",
        "speedup-int4",
        "time",
        "throughput",
        "roofline",
        "front",
        "predictor",
        "tuning",
        "health",
        "published",
    )
    own |= {f"{name}.{kind}" for name in figures for kind in ("svg", "png", "csv")}
    own |= {"predictor-splits.csv", "tuning-failures.csv", "published-layers.csv"}
    others = {
        "index.html", "notes.md", "report.md.bak", "my-report.md", "time-2020.csv", "speedup-old.csv", "front.pdf",
        "layers.png", "comparison.csv", "health.json", "Front.svg", ".front.svg.tmp",
    }  # fmt: skip
    for name in own | others:
        (tmp_path / name).write_text("")
    assert names_of(tmp_path) == own


def test_a_text_that_no_coding_has_is_written_out() -> None:
    """A path on this system is bytes; a name that is not UTF-8 reaches the report as what Python makes of it."""
    files = files_of(replace(WORDS, facts=(("table", "cpu\udcff.csv"),)))
    assert b"cpu\\udcff.csv" in files[INDEX]
    assert "cpu" in files[MARKDOWN].decode()
