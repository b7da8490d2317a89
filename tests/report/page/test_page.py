"""The page as a file: what it holds, that text stays text, that nothing is loaded. Its behaviour: `test_browser`."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from profiler.report.content.report import NamedTable, Report
from profiler.report.content.table import Column, Kind, Table
from profiler.report.figures.theme import DARK, LIGHT
from profiler.report.page.page import GENERATOR, PageFigure, page_html
from tests.report import examples
from tests.report.page.parsed import Node, parse

ROOT = Path(__file__).parents[3]


def figures_of(report: Report) -> dict[str, PageFigure]:
    """A colour of its own for each variant of each figure."""
    drawn = [section.name for section in report.sections if section.figure is not None]
    return {
        name: PageFigure(examples.svg(f"#f0e0{index:02x}"), examples.svg(f"#1020{index:02x}"))
        for index, name in enumerate(drawn)
    }


def page_of(report: Report) -> str:
    return page_html(report, figures_of(report))


@pytest.fixture(scope="module")
def plain() -> Node:
    return parse(page_of(examples.report()))


def rows_of(table: Node) -> list[list[Node]]:
    return [[cell for cell in row.all() if cell.tag in ("th", "td")] for row in table.only("tbody").all("tr")]


def one_table(*columns: Column, rows: tuple[tuple[str | float | None, ...], ...]) -> Node:
    """The table of all layers of a page that has this one."""
    whole = examples.report()
    return parse(page_of(replace(whole, layers=NamedTable("layers", "All layers", Table(columns, rows)))))


def test_the_order_of_things() -> None:
    report = examples.report_with_gaps()
    main = parse(page_of(report)).only("main")
    parts = [child for child in main.children if isinstance(child, Node)]
    assert [part.attributes.get("class") for part in parts[:1]] == ["doubts"]
    assert [part.tag for part in parts[1:4]] == ["header", "section", "nav"]
    assert [item.text for item in parts[0].all("li")] == list(report.doubts)
    assert parts[1].only("h1").text == report.title
    assert parts[1].only("p").text == report.headline
    assert [dt.text for dt in parts[2].all("dt")] == [name for name, _ in report.facts]
    assert [dd.text for dd in parts[2].all("dd")] == [value for _, value in report.facts]
    titles = [part.only("h2").text for part in parts[4:]]
    assert titles == [*(section.title for section in report.sections), report.layers.title]
    assert [link.text for link in parts[3].all("a")] == titles


def test_no_doubts_no_box(plain: Node) -> None:
    assert not list(plain.all(css="doubts"))


def test_every_section_with_what_it_holds(plain: Node) -> None:
    report = examples.report()
    figures = figures_of(report)
    for section in report.sections:
        part = plain.by_id(f"section-{section.name}")
        assert part.only("p", "lead").text == section.lead if section.lead else not list(part.all("p", "lead"))
        assert [note.text for notes in part.all("ul", "notes") for note in notes.all("li")] == list(section.notes)
        assert [table.only("caption").text for table in part.all("table")] == [
            table.title for table in section.tables if table.shown
        ]
        images = {image.attributes["class"].split()[0]: image for image in part.all("img")}
        assert images.keys() == {"light", "dark"}
        for theme, image in images.items():
            assert image.attributes["alt"] == section.alt
            kind, _, data = image.attributes["src"].partition(",")
            assert kind == "data:image/svg+xml;base64"
            assert base64.b64decode(data, validate=True) == getattr(figures[section.name], theme)


def test_links_to_the_files_beside_it(plain: Node) -> None:
    """Every figure, and every table once: under its figure, under itself, or in the list of long ones."""
    report = examples.report()
    for section in report.sections:
        links = [link.attributes["href"] for link in plain.by_id(f"section-{section.name}").all("a")]
        assert sorted(links) == sorted(
            {f"{section.name}.svg", f"{section.name}.png", *(f"{table.name}.csv" for table in section.tables)}
        ), section.name
    assert [link.attributes["href"] for link in plain.by_id("layers").all("a")] == ["layers.csv"]


def test_long_tables_are_named_not_shown(plain: Node) -> None:
    part = plain.by_id("section-tuning")
    assert [table.only("caption").text for table in part.all("table")] == ["What failed"]
    assert "tuning.csv (252 rows)" in part.only("figcaption").text  # 21 searches of 12 trials


def test_a_gap_says_why() -> None:
    report = examples.report_with_gaps()
    page = parse(page_of(report))
    for section in report.sections:
        part = page.by_id(f"section-{section.name}")
        if section.figure is not None:
            continue
        assert not list(part.all("img"))
        assert not list(part.all("figure"))
        assert [p.text for p in part.only(css="gap").all("p")][1:] == list(section.notes)
    entries = {item.only("a").text: item.text for item in page.only("nav").all("li")}
    assert entries["Allocation"] == "Allocation (nothing to show)"
    assert entries["Speedup of each layer"] == "Speedup of each layer"


def test_layers_without_a_price_are_empty_cells() -> None:
    report = examples.report_with_gaps()
    rows = rows_of(parse(page_of(report)).by_id("all-layers"))
    assert len(rows) == 21
    for row, cells in zip(rows, report.layers.table.rows, strict=True):
        for shown, cell in zip(row, cells, strict=True):
            assert ("none" in shown.attributes["class"].split()) == (cell in (None, "")), cells
    assert sum(row[6].text == "not known" for row in rows) == 5


def test_cells_have_text_for_people_and_the_number_to_sort_by() -> None:
    columns = (
        Column("layer", "layer"),
        Column("s", "time", Kind.SECONDS),
        Column("x", "x", Kind.RATIO),
        Column("p", "share", Kind.PERCENT),
        Column("ops", "rate", Kind.RATE),
        Column("n", "count", Kind.NUMBER),
    )
    rows = (
        ("a", 0.000321, 1.5, 12.345, 2.5e9, 12345),
        ("b", None, None, None, None, None),
        ("c", float("nan"), float("inf"), -0.5, 0.0, 0),
    )
    a, b, c = rows_of(one_table(*columns, rows=rows).by_id("all-layers"))
    assert [cell.text for cell in a] == ["a", "321 us", "1.50x", "12.3%", "2.50 Gop/s", "12,345"]
    assert [float(cell.attributes["data-value"]) for cell in a[1:]] == [0.000321, 1.5, 12.345, 2.5e9, 12345]
    assert "data-value" not in a[0].attributes
    assert [cell.text for cell in b] == ["b", "-", "-", "-", "-", "-"]
    assert all("data-value" not in cell.attributes and "none" in cell.attributes["class"] for cell in b[1:])
    assert [cell.attributes.get("data-value") for cell in c[1:]] == [None, "Infinity", "-0.5", "0.0", "0"]


def test_headings_of_rows_and_columns(plain: Node) -> None:
    """A row is named by its first text, not by a number ahead of it."""
    for table in plain.all("table"):
        assert table.only("caption").text
        assert all(cell.attributes["scope"] == "col" for cell in table.only("thead").all("th"))
        for row in rows_of(table):
            assert [cell.attributes["scope"] for cell in row if cell.tag == "th"] == ["row"]
    first = rows_of(plain.by_id("all-layers"))[0]
    assert [cell.text for cell in first if cell.tag == "th"] == ["conv1"]
    assert first[0].text == "1"


def test_verdicts_can_be_chosen_with_their_counts(plain: Node) -> None:
    verdicts = Counter(row[6] for row in examples.report().layers.table.rows)
    (select,) = plain.by_id("tools").all("select")
    options = list(select.all("option"))
    assert [options[0].text, options[0].attributes["value"]] == ["all", ""]
    assert sorted(option.text for option in options[1:]) == sorted(f"{name} ({n})" for name, n in verdicts.items())


def test_names_may_be_broken_where_their_parts_end() -> None:
    name = "conv2d_n8<b>/x_"
    page = page_of(examples.report((name,)))
    assert "<span>conv2d_<wbr>n8&lt;b&gt;/<wbr>x_</span>" in page
    assert rows_of(parse(page).by_id("all-layers"))[0][1].text == name


def test_no_verdicts_no_choice() -> None:
    page = one_table(Column("layer", "layer"), Column("kind", "kind"), rows=(("a", "faster"),))
    assert not list(page.all("select"))


def test_hostile_text_changes_no_element() -> None:
    """The same report with harmless names has the same elements with the same attributes."""
    hostile = examples.hostile_report()
    harmless = [f"n{index}" for index in range(len(examples.HOSTILE))]
    names = dict(zip(examples.HOSTILE, harmless, strict=True))

    def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
        return [(node.tag, tuple(node.attributes)) for node in parse(page).all() if node.tag != "wbr"]

    plain = examples.report(tuple(harmless))
    tame = replace(
        plain,
        doubts=tuple(harmless),
        facts=tuple(zip(harmless, harmless, strict=True)),
        sections=(
            replace(plain.sections[0], notes=tuple(harmless)),
            *plain.sections[1:],
            replace(hostile.sections[-1], title="gap", lead="lead", notes=tuple(harmless)),
        ),
    )
    assert shape(page_of(hostile)) == shape(page_of(tame))
    shown = [row[1].text for row in rows_of(parse(page_of(hostile)).by_id("all-layers"))]
    assert [names.get(text) for text in shown].count(None) == 2  # what cannot be seen is written out
    assert "plan\\u202egnp.exe" in shown
    assert "control \\u0000\\u0007 and half \\ud800 a character" in shown


@pytest.mark.parametrize("report", [examples.report(), examples.report_with_gaps(), examples.hostile_report()])
def test_nothing_leads_outside(report: Report) -> None:
    html = page_of(report)
    html.encode()  # no half characters
    page = parse(html)
    ids = [node.attributes["id"] for node in page.all() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    for node in page.all():
        for name, value in node.attributes.items():
            assert not name.startswith("on"), node
            assert name not in ("style", "srcset", "action"), node
            if name in ("aria-labelledby", "for"):
                assert value in ids
            if name in ("src", "href"):
                inside = value.startswith("data:") if node.tag in ("img", "link") else ":" not in value
                assert inside, value
                assert node.tag != "a" or "//" not in value
            if name == "href" and value.startswith("#"):
                assert value[1:] in ids
    assert "://" not in html
    assert "@import" not in html
    assert not re.search(r"url\(", html)


def test_the_policy_admits_this_style_and_this_script_alone() -> None:
    html = page_of(examples.report())
    page = parse(html)
    (policy,) = (
        node.attributes["content"]
        for node in page.all("meta")
        if node.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digests = {}
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert body.strip()
        digests[tag] = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digests['style']}'",
        "script-src": f"'sha256-{digests['script']}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_it_begins_as_a_page_of_ours() -> None:
    html = page_of(examples.hostile_report())
    assert html.startswith("<!DOCTYPE html>\n")
    assert GENERATOR.encode() in html.encode()[:1000]


def test_same_report_same_bytes() -> None:
    """In processes that order sets differently."""
    code = (
        "import hashlib; from tests.report import examples; from tests.report.page.test_page import page_of; "
        "print(hashlib.sha256(page_of(examples.report_with_gaps()).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }  # fmt: skip
    assert len(digests) == 1


def test_figures_must_be_those_of_the_sections() -> None:
    report = examples.report_with_gaps()
    figures = figures_of(report)
    with pytest.raises(ValueError, match="speedup"):
        page_html(report, {})
    with pytest.raises(ValueError, match="front"):
        page_html(report, {**figures, "front": figures["speedup"]})  # a section without a figure
    with pytest.raises(ValueError, match="two sections"):
        page_html(replace(report, sections=(*report.sections, report.sections[0])), figures)


@pytest.mark.parametrize(
    ("root", "size"),
    [
        (b'<?xml version="1.0"?>\n<svg width="540pt" height="216.5pt" viewBox="0 0 540 216.5">', ("720", "289")),
        (b'<svg viewBox="0 0 300 200" xmlns="x">', ("300", "200")),
        (b'<svg height="90px" width="120px">', ("120", "90")),
        (b'<svg width="100%" height="100%" viewBox="0 0 30 20">', ("30", "20")),
    ],
)
def test_room_is_kept_for_a_figure(root: bytes, size: tuple[str, str]) -> None:
    report = examples.report_with_gaps()
    figure = PageFigure(root + b"</svg>", root + b"</svg>")
    images = list(parse(page_html(report, {"speedup": figure})).all("img"))
    assert [(image.attributes["width"], image.attributes["height"]) for image in images] == [size, size]


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"<svg xmlns='x'></svg>"])
def test_a_figure_without_a_size_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="SVG"):
        PageFigure(examples.svg("#fff"), data)


def test_file_names_are_quoted_in_links() -> None:
    whole = examples.report_with_gaps()
    name = 'a b#c?d/e:f%g"'
    report = replace(whole, layers=replace(whole.layers, name=name))
    (link,) = parse(page_of(report)).by_id("layers").all("a")
    assert unquote(link.attributes["href"]) == f"{name}.csv"
    assert not set(link.attributes["href"]) & set(' #?/:"')
    assert link.text == f"{name}.csv"


def test_dark_figures_stand_on_their_own_background() -> None:
    """Dark figures have none; their theme says which one they are made for."""
    css = (ROOT / "profiler/report/page/page.css").read_text()
    assert DARK.transparent
    assert f"--page: light-dark({LIGHT.background}, {DARK.background});" in css
