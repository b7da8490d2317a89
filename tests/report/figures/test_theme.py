"""Roles that are seen together differ in grey, and for who sees fewer colours."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import pytest

from profiler.report.content.time_course import Work
from profiler.report.figures.theme import DARK, LIGHT, Look, Theme
from profiler.verdict import Verdict

# What is left of linear RGB without one kind of cone (Vienot, Brettel, Mollon, Digital video colourmaps for checking
# the legibility of displays by dichromats, Color Research and Application 24, 1999), and in grey (WCAG 2.2).
_EYES = {
    "grey": ((0.2126, 0.7152, 0.0722),) * 3,
    "protanope": ((0.1121, 0.8853, -0.0005), (0.1127, 0.8897, -0.0001), (0.0045, 0.0, 1.0019)),
    "deuteranope": ((0.2920, 0.7054, -0.0003), (0.2934, 0.7089, 0.0), (-0.0210, 0.0256, 1.0)),
}


def _linear(color: str) -> list[float]:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _lab(color: str, eye: str) -> tuple[float, float, float]:
    """CIELAB of an sRGB colour as an eye sees it (IEC 61966-2-1, D65)."""
    rgb = [min(1.0, max(0.0, sum(w * c for w, c in zip(row, _linear(color), strict=True)))) for row in _EYES[eye]]
    matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    x, y, z = (sum(w * c for w, c in zip(row, rgb, strict=True)) for row in matrix)

    def bent(value: float) -> float:
        return value ** (1 / 3) if value > (6 / 29) ** 3 else value / (3 * (6 / 29) ** 2) + 4 / 29

    fx, fy, fz = bent(x / 0.9505), bent(y), bent(z / 1.089)
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def distance(a: str, b: str, eye: str) -> float:
    """CIE 1976; 2.3 is what is just seen (Mahy et al., 1994)."""
    return sum((p - q) ** 2 for p, q in zip(_lab(a, eye), _lab(b, eye), strict=True)) ** 0.5


def contrast(a: str, b: str) -> float:
    """WCAG 2.2; 3 is the least for graphics (1.4.11), 4.5 for text (1.4.3)."""
    dark, light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b_ for r, g, b_ in (_linear(a), _linear(b)))
    return (light + 0.05) / (dark + 0.05)


def test_the_measures_are_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _lab("#ffffff", "grey")[0] == pytest.approx(100, abs=0.1)
    # Red and a dark olive that a protanope can hardly tell apart, but anyone else.
    assert distance("#ff0000", "#5e5e00", "protanope") < 6 < 60 < distance("#ff0000", "#0000ff", "protanope")


@pytest.mark.parametrize("eye", _EYES)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_precisions_differ_by_colour_alone(theme: Theme, eye: str) -> None:
    for a, b in combinations(theme.precisions_of(("INT8", "INT4", "mixed")), 2):
        assert distance(a.color, b.color, eye) > 12


@pytest.mark.parametrize("eye", _EYES)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_verdicts_differ_by_colour_or_filling(theme: Theme, eye: str) -> None:
    for a, b in combinations([theme.verdict(verdict) for verdict in Verdict], 2):
        assert a.filled != b.filled or distance(a.color, b.color, eye) > 7


@pytest.mark.parametrize("eye", _EYES)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_kinds_of_work_beside_each_other_differ(theme: Theme, eye: str) -> None:
    """Also where one or two between them are missing."""
    works = [theme.work(work) for work in Work]
    for step in (1, 2, 3):
        for a, b in zip(works, works[step:], strict=False):
            assert a.hatch != b.hatch or distance(a.color, b.color, eye) > 9
    assert all(distance(a.color, b.color, eye) > 9 for a, b in pairwise(works))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_everything_stands_out_from_the_page(theme: Theme) -> None:
    for color in (theme.text, theme.muted):
        assert contrast(color, theme.background) > 4.5
        assert contrast(color, theme.band) > 4.5
    marks: list[Look] = [theme.main, theme.accent, *(look for _, look in (*theme.verdicts, *theme.precisions))]
    for look in marks:
        assert contrast(look.color, theme.background) > (3 if look.color not in ("#e69f00",) else 2.2)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_no_role_is_told_by_its_colour_alone(theme: Theme) -> None:
    assert len({theme.verdict(verdict).marker for verdict in Verdict}) == len(Verdict)
    looks = theme.precisions_of(("INT8", "INT4", "mixed", "INT2", "BF16"))
    assert len({look.marker for look in looks}) == len({look.line for look in looks[:3]}) + 2 == len(looks)


def test_a_role_has_one_mark_on_both_pages() -> None:
    """The themes differ in colours alone: who knows the figures of one reads those of the other."""
    for light, dark in (
        (LIGHT.precisions, DARK.precisions), (LIGHT.verdicts, DARK.verdicts), (LIGHT.works, DARK.works),
        (enumerate(LIGHT.spare), enumerate(DARK.spare)),
        ((("main", LIGHT.main), ("accent", LIGHT.accent)), (("main", DARK.main), ("accent", DARK.accent))),
    ):  # fmt: skip
        uncoloured = [[(role, replace(look, color="")) for role, look in looks] for looks in (light, dark)]
        assert uncoloured[0] == uncoloured[1]


def test_unknown_precisions_have_looks_of_their_own() -> None:
    looks = LIGHT.precisions_of(("INT2", "int8", "BF16", "INT3", "INT5"))
    assert len({look.color for look in looks}) == 5
    assert looks[1] == LIGHT.precisions_of(("INT8",))[0]
    assert len(LIGHT.precisions_of([f"INT{bits}" for bits in range(20)])) == 20
