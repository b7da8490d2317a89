"""All files of a report: figures, tables, a page that holds everything, and the same as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from profiler.report.content.report import NamedTable, Report
from profiler.report.content.table import markdown_text, to_csv, to_markdown
from profiler.report.figures import render
from profiler.report.figures.theme import DARK, LIGHT
from profiler.report.page.page import GENERATOR, PageFigure, page_html
from profiler.workload import PRECISIONS

INDEX, MARKDOWN = "index.html", "report.md"
_FIGURES = f"speedup(-({'|'.join(PRECISIONS)}))?|time|throughput|roofline|front|predictor|tuning|health|published"
_TABLES = "time-summary|predictor-splits|tuning-failures|published-layers|layers"
_NAMES = re.compile(rf"{re.escape(MARKDOWN)}|({_FIGURES})\.(csv|png|svg)|({_TABLES})\.csv")
"""Of files that reports have, beside the page."""
_MARKS = (f'<meta name="generator" content="{GENERATOR}"', f"<!-- {GENERATOR} -->")
"""One stands at the beginning of a page, the other of its Markdown."""


def files_of(report: Report) -> Mapping[str, bytes]:
    """By name, the Markdown ahead of all others. The same report gives the same bytes."""
    figures: dict[str, PageFigure] = {}
    files: dict[str, bytes] = {MARKDOWN: _bytes(_markdown(report))}
    for section in report.sections:
        if section.figure is not None:
            light = render(section.figure, "svg", LIGHT, report.title)
            figures[section.name] = PageFigure(light, render(section.figure, "svg", DARK, report.title))
            files[f"{section.name}.svg"] = light
            files[f"{section.name}.png"] = render(section.figure, "png", LIGHT, report.title)
    files[INDEX] = _bytes(page_html(report, figures))
    for table in _tables(report):
        files[f"{table.name}.csv"] = _bytes(to_csv(table.table))
    return files


def is_own(path: Path) -> bool:
    """Whether the file begins like the page of a report, or like its Markdown."""
    try:
        with path.open("rb") as file:
            start = file.read(1000)
    except OSError:
        return False
    return any(mark.encode() in start for mark in _MARKS)


def names_of(folder: Path) -> set[str]:
    """Files in the folder that are called like those of a report, but for the page."""
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if _NAMES.fullmatch(path.name)}


def _bytes(text: str) -> bytes:
    """A file of the user's may have a name that is no text in any coding: then what is none is written out."""
    return text.encode(errors="backslashreplace")


def _tables(report: Report) -> tuple[NamedTable, ...]:
    return (*(table for section in report.sections for table in section.tables), report.layers)


def _markdown(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield _MARKS[1]
    yield f"# {markdown_text(report.title)}"
    yield from ("", markdown_text(report.headline), "")
    if report.doubts:
        yield from ("## Read this first", "")
        yield from (f"- {markdown_text(doubt)}" for doubt in report.doubts)
        yield ""
    if report.facts:
        yield from ("## How this was measured", "")  # a heading, or the list would go on with the doubts
        yield from (f"- {markdown_text(name)}: {markdown_text(value)}" for name, value in report.facts)
    for section in report.sections:
        yield from ("", f"## {markdown_text(section.title)}", "")
        if section.lead:
            yield from (markdown_text(section.lead), "")
        if section.figure is not None:
            yield from (f"![{markdown_text(section.alt)}]({section.name}.png)", "")
        yield from (f"- {markdown_text(note)}" for note in section.notes)
        for table in section.tables:
            if table.shown:
                yield from ("", f"### {markdown_text(table.title)}", "", to_markdown(table.table).rstrip())
            else:
                yield from ("", f"{markdown_text(table.title)}: [{table.name}.csv]({table.name}.csv)")
    layers = report.layers
    yield from ("", f"## {markdown_text(layers.title)}", "", to_markdown(layers.table).rstrip())
