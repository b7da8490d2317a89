"""Every figure, of usual and of extreme contents: the same bytes each time, readable, and nothing outside of it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.image as images
import numpy as np
import pytest

from profiler.report.figures import render
from profiler.report.figures.theme import DARK, LIGHT, Theme
from tests.report.figures import contents
from tests.report.figures.drawn import draw, outside, overlaps, written

ROOT = Path(__file__).parents[3]
USUAL: dict[str, Any] = {
    "speedup": contents.speedups(),
    "time_course": contents.time_courses(),
    "roofline": contents.roofline(),
    "prediction": contents.predictions(),
    "front": contents.front(),
    "tuning": contents.tuning(),
    "health": contents.health(),
    "published": contents.published(),
}
OTHERS: dict[str, tuple[str, Any]] = {
    "speedup, one cause": ("speedup", contents.speedups(center=0.8, one=True)),
    "speedup, one not known": ("speedup", contents.unjudged()),
    "speedup, 121 layers": ("speedup", contents.speedups(contents.MANY)),
    "time_course, 121 layers": ("time_course", contents.time_courses(contents.MANY)),
    "roofline, 121 layers": ("roofline", contents.roofline(contents.MANY)),
    "prediction, no noise": ("prediction", contents.predictions(noise_percent=None)),
    "time_course, close ends": ("time_course", contents.close_ends()),
    "front, chosen beside": ("front", contents.chosen_beside()),
    "front, 121 layers": ("front", contents.front(contents.MANY, points=12)),
    "tuning, no failures": ("tuning", contents.tuning(5, failures=False)),
    "health, gpu": ("health", contents.health(gpu=True, repeats=60)),
    "published, layers": ("published", contents.published(networks=0)),
    "published, networks": ("published", contents.published(layers=0)),
}
HOSTILE: dict[str, Any] = {
    "speedup": contents.speedups(contents.HOSTILE),
    "time_course": contents.time_courses(contents.HOSTILE),
    "roofline": contents.roofline(contents.HOSTILE),
    "front": contents.front(contents.HOSTILE, points=5),
}
EXTREMES = {
    "speedup": contents.speedup_extremes(),
    "time_course": contents.course_extremes(),
    "roofline": contents.roofline_extremes(),
    "prediction": contents.prediction_extremes(),
    "front": contents.front_extremes(),
    "tuning": contents.tuning_extremes(),
    "health": contents.health_extremes(),
    "published": contents.published_extremes(),
}
CASES = [
    *((name, content, name) for name, content in USUAL.items()),
    *((name, content, case) for case, (name, content) in OTHERS.items()),
    *((name, content, f"{name}, hostile") for name, content in HOSTILE.items()),
    *((name, content, f"{name}, {case}") for name, found in EXTREMES.items() for case, content in found.items()),
]
ENORMOUS = "enormous range"


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("name", "content"), [case[:2] for case in CASES], ids=[case[2] for case in CASES])
def test_everything_can_be_read(name: str, content: Any, request: pytest.FixtureRequest) -> None:
    """No text lies on another, ends beyond the figure, or is small."""
    figure = draw(name, content)
    texts = written(figure)
    assert texts
    assert min(text.size_pt for text in texts) >= 8
    assert outside(figure) == []
    if ENORMOUS not in request.node.name:  # numbers of ten digits side by side
        assert overlaps(figure) == []


def test_overlaps_and_texts_outside_are_found() -> None:
    figure = draw("tuning", USUAL["tuning"])
    axes = figure.axes[0]
    axes.text(5, 1.5, "one text that is here")
    axes.text(5.2, 1.5, "another")
    figure.text(0.99, 0.5, "beyond the edge")
    assert ("one text that is here", "another") in overlaps(figure)
    assert outside(figure) == ["beyond the edge"]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", USUAL)
def test_the_same_content_gives_the_same_svg(name: str, theme: Theme) -> None:
    svg = render(USUAL[name], "svg", theme)
    assert render(USUAL[name], "svg", theme) == svg
    ElementTree.fromstring(svg)
    assert len(svg) < 120_000
    assert b"<text" not in svg
    assert b"<image" not in svg


@pytest.mark.parametrize("file_format", ["png", "pdf"])
@pytest.mark.parametrize("name", USUAL)
def test_the_same_content_gives_the_same_bytes(name: str, file_format: str) -> None:
    data = render(USUAL[name], file_format)
    assert render(USUAL[name], file_format) == data
    assert data.startswith({"png": b"\x89PNG\r\n", "pdf": b"%PDF-"}[file_format])


def test_no_name_in_a_file_holds_digits_that_are_not_shown() -> None:
    """What clips is numbered: a digest of its corners would be of their last digits, which processes do not share."""
    svg = render(contents.health(), "svg")
    clips = re.findall(rb'<clipPath id="([^"]*)"', svg)
    assert len(clips) > 2
    assert sorted(clips) == sorted(b"p%d" % number for number in range(len(clips)))
    assert set(re.findall(rb'clip-path="url\(#([^)]*)\)"', svg)) == set(clips)


def test_another_process_draws_the_same() -> None:
    """With another order of sets, another locale and another backend."""
    code = (
        "import hashlib, tests.report.figures.test_render as t\n"
        "from profiler.report.figures import render\n"
        "print(*(hashlib.sha256(render(content, 'svg')).hexdigest() for content in t.USUAL.values()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "LC_ALL": "C", "MPLBACKEND": "pdf"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    expected = [hashlib.sha256(render(content, "svg")).hexdigest() for content in USUAL.values()]
    assert done.stdout.split() == expected


@pytest.mark.parametrize("case", [case for case in OTHERS if "121" in case])
def test_large_networks_stay_below_half_a_megabyte(case: str) -> None:
    assert len(render(OTHERS[case][1], "svg")) < 500_000


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_drawn_and_not_written(name: str, theme: Theme) -> None:
    """Nothing of a name gets into the markup: letters are outlines."""
    svg = render(HOSTILE[name], "svg", theme)
    ElementTree.fromstring(svg)
    for part in (b"script", b"alert", b"bold", b"frac", b"]]", b"right to left"):
        assert part not in svg


def test_contents_of_the_same_type_and_other_values_differ() -> None:
    assert render(contents.speedups(seed=1), "svg") != render(contents.speedups(seed=2), "svg")
    assert render(USUAL["health"], "svg", LIGHT) != render(USUAL["health"], "svg", DARK)


@pytest.mark.parametrize("name", USUAL)
def test_a_title_stands_above_and_changes_nothing_below(name: str) -> None:
    """Seen in the pixels: what is below the title is the figure without one."""
    content = replace(USUAL[name], title="") if name == "front" else USUAL[name]
    bare, titled = (
        images.imread(BytesIO(render(content, "png", LIGHT, title))) for title in ("", "resnet18, batch 1, on a card")
    )
    higher = titled.shape[0] - bare.shape[0]
    assert titled.shape[1] == bare.shape[1]
    assert 40 <= higher <= 60  # a line, at 160 dots an inch
    assert (titled[:higher] < 0.5).any()
    assert not (titled[:3] < 0.99).any()
    difference = np.abs(titled[higher:] - bare)  # lines may fall between other dots
    assert difference.mean() < 0.003
    assert difference[:40].mean() < 0.004  # where legends are


def test_titles_fit_whatever_they_are() -> None:
    for title in contents.HOSTILE:
        svg = render(USUAL["health"], "svg", LIGHT, title)
        root = ElementTree.fromstring(svg)
        assert root.get("width") == "540pt"
        assert b"script" not in svg


def test_a_front_has_a_title_of_its_own() -> None:
    front = USUAL["front"]
    assert render(front, "svg") == render(replace(front, title=""), "svg", LIGHT, front.title)
    assert render(front, "svg", LIGHT, "another") == render(replace(front, title="another"), "svg")
    assert render(front, "svg", LIGHT, "another") != render(front, "svg")


def test_importing_figures_does_not_import_matplotlib() -> None:
    code = "import sys, profiler.report.figures, profiler.report.figures.theme; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
