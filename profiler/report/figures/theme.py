"""Colours and marks by role, for a light and a dark page. Importing this does not import matplotlib.

Most colours are those of Okabe and Ito (Color universal design, 2008), made lighter or darker where roles that stand
side by side would be alike in grey. No role is told by its colour alone: markers, line styles and hatches differ too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiler.report.content.time_course import Work
from profiler.verdict import Verdict


@dataclass(frozen=True)
class Look:
    """``marker`` and ``line`` in matplotlib's words; a marker that is not ``filled`` is drawn as its outline."""

    color: str
    marker: str = "o"
    line: str | tuple[float, tuple[float, ...]] = "-"
    hatch: str = ""
    filled: bool = True

    @property
    def face(self) -> str:
        """Of the marker, in matplotlib's words."""
        return self.color if self.filled else "none"


@dataclass(frozen=True)
class Theme:
    """Colours as ``#rrggbb``. ``muted`` is for what is read second, ``band`` for shaded areas; ``background`` is that
    of the page. A figure of a ``transparent`` theme has none of its own. ``main`` is for data of one kind, ``accent``
    for what is to be seen first. ``precisions`` are looks of names in capitals, ``spare`` those of any other name in
    the order of appearance: `precisions_of` finds them."""

    name: str
    text: str
    muted: str
    axes: str
    grid: str
    band: str
    background: str
    transparent: bool
    main: Look
    accent: Look
    precisions: tuple[tuple[str, Look], ...]
    spare: tuple[Look, ...]
    verdicts: tuple[tuple[Verdict, Look], ...]
    works: tuple[tuple[Work, Look], ...]

    def verdict(self, verdict: Verdict) -> Look:
        return dict(self.verdicts)[verdict]

    def work(self, work: Work) -> Look:
        return dict(self.works)[work]

    def precisions_of(self, names: Sequence[str]) -> tuple[Look, ...]:
        """A look for each of different names, e.g. ``INT8``, ``int4`` or ``mixed``. Names that are not known take spare
        ones, over and over if there are many."""
        known, found, taken = dict(self.precisions), [], 0
        for name in names:
            look = known.get(name.upper())
            if look is None:
                look = self.spare[taken % len(self.spare)]
                taken += 1
            found.append(look)
        return tuple(found)


_DASHED, _DOTTED, _MIXED = (0.0, (6.0, 2.0)), (0.0, (1.2, 1.6)), (0.0, (5.0, 1.6, 1.2, 1.6))

LIGHT = Theme(
    name="light",
    text="#1f2328",
    muted="#59636e",
    axes="#818b98",
    grid="#dfe3e8",
    band="#e6e9ed",
    background="#ffffff",
    transparent=False,
    main=Look("#0072b2", "o"),
    accent=Look("#c2410c", "D"),
    precisions=(
        ("INT8", Look("#0072b2", "o", "-")),
        ("INT4", Look("#e69f00", "s", _DASHED)),
        ("MIXED", Look("#1f2328", "D", _MIXED)),
    ),
    spare=(
        Look("#009e73", "^", _DOTTED),
        Look("#cc79a7", "v", _MIXED),
        Look("#56b4e9", "P", _DASHED),
        Look("#7a4a00", "X", "-"),
    ),
    verdicts=(
        (Verdict.FASTER, Look("#008760", ">")),
        (Verdict.SLOWER, Look("#a83200", "<")),
        (Verdict.SAME, Look("#8b939c", "s")),
        (Verdict.AMBIGUOUS, Look("#a2568a", "o", filled=False)),
    ),
    works=(
        (Work.CONVOLUTION, Look("#0072b2")),
        (Work.DENSE, Look("#8ccbf0", hatch="///")),
        (Work.ADDITION, Look("#1fa87f")),
        (Work.POOLING, Look("#f0e442", hatch="---")),
        (Work.CONCATENATION, Look("#b0628d")),
        (Work.CONVERSION, Look("#f0a070", hatch="\\\\\\")),
    ),
)
"""White, so that a file can stand alone."""

DARK = Theme(
    name="dark",
    text="#e6edf3",
    muted="#9da7b3",
    axes="#6e7681",
    grid="#2b323b",
    band="#262c35",
    background="#0f1319",
    transparent=True,
    main=Look("#4da3e0", "o"),
    accent=Look("#ff8a4c", "D"),
    precisions=(
        ("INT8", Look("#3d93d6", "o", "-")),
        ("INT4", Look("#f5b942", "s", _DASHED)),
        ("MIXED", Look("#f4f6f8", "D", _MIXED)),
    ),
    spare=(
        Look("#2fbf92", "^", _DOTTED),
        Look("#e29ac3", "v", _MIXED),
        Look("#8fd3ff", "P", _DASHED),
        Look("#b98a4a", "X", "-"),
    ),
    verdicts=(
        (Verdict.FASTER, Look("#5fe0b5", ">")),
        (Verdict.SLOWER, Look("#e8622a", "<")),
        (Verdict.SAME, Look("#9aa3ad", "s")),
        (Verdict.AMBIGUOUS, Look("#d98fc0", "o", filled=False)),
    ),
    works=(
        (Work.CONVOLUTION, Look("#2f7fc1")),
        (Work.DENSE, Look("#9bd3f5", hatch="///")),
        (Work.ADDITION, Look("#2fb58b")),
        (Work.POOLING, Look("#efe25a", hatch="---")),
        (Work.CONCATENATION, Look("#b0628d")),
        (Work.CONVERSION, Look("#f3a87c", hatch="\\\\\\")),
    ),
)
"""For a dark page; without a background, so that the page's own is seen."""
