"""What the reader of a comparison must know ahead of it, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from profiler.lut.comparison import Joined, differing, usual_clock_mhz
from profiler.lut.schema import LutRow, Source
from profiler.report.content.comparison import ComparedKernel, Noise
from profiler.verdict import Span, Verdict, judge, ratio

_SAME_CLOCK = 0.02
"""Clocks that differ by less explain nothing that the noise does not."""
_CHANCE = 0.05
"""Of unchanged kernels that a 95% interval calls faster or slower."""


def notes_of(
    a: Sequence[LutRow],
    b: Sequence[LutRow],
    joined: Joined,
    kernels: Sequence[ComparedKernel],
    noise: Noise,
    margin: float,
) -> Iterator[str]:
    """``a``, ``b`` are all rows of the tables, ``kernels`` what was made of the pairs."""
    first = joined.pairs[0]
    if first.a.fingerprint != first.b.fingerprint:
        names = differing(first.a, first.b)
        how = "; ".join(
            f"{name} is '{getattr(first.a, name)}' in A and '{getattr(first.b, name)}' in B" for name in names
        )
        alike = "of the same model: the card, driver, compiler, power limit or the like is another one"
        yield f"two instruments, {first.a.fingerprint} and {first.b.fingerprint} ({how or alike})"
    if first.a.device_name == first.b.device_name:
        yield from _clocks([pair.a for pair in joined.pairs], [pair.b for pair in joined.pairs])
    twice = sum(not kernel.once for kernel in kernels)
    if twice < len(kernels):
        yield (
            f"{len(kernels) - twice} of {len(kernels)} kernels have one and the same row in both tables: a single "
            "measurement, which tells nothing of a change"
        )
    if twice:
        yield from _noise(noise, margin)
    yield from _chance(kernels)
    yield from _left_out(a, b, joined)


def _clocks(a: Sequence[LutRow], b: Sequence[LutRow]) -> Iterator[str]:
    clock_a, clock_b = usual_clock_mhz(a), usual_clock_mhz(b)
    if clock_a and clock_b and abs(clock_a / clock_b - 1) > _SAME_CLOCK:
        yield (
            f"the core clock was {clock_a:.0f} MHz in A and {clock_b:.0f} MHz in B (medians over the kernels): where a "
            f"kernel depends on nothing else, B takes {clock_a / clock_b:.2f} times as long by the clock alone"
        )


def _noise(noise: Noise, margin: float) -> Iterator[str]:
    """Where it comes from if not from these runs, and whether it leaves room for a kernel to be called the same."""
    if noise.assumed:
        yield (
            f"noise from run to run: {noise.sigma:.1%}, {noise.origin}; a better figure goes into "
            "--noise (make: NOISE=)"
        )
    exact = Span(1.0, 1.0, 1.0)
    best = ratio(exact, exact, noise.sigma)
    if judge(best, margin) is not Verdict.SAME:
        yield (
            f"with a noise of {noise.sigma:.1%} no kernel that was measured twice can be called the same within "
            f"{margin:.1%}: that takes a margin of at least {ceil(1000 * (best.high - 1)) / 10}% "
            "(--margin, make: MARGIN=)"
        )


def _chance(kernels: Sequence[ComparedKernel]) -> Iterator[str]:
    twice = sum(not kernel.once for kernel in kernels)
    differ = sum(kernel.verdict in (Verdict.FASTER, Verdict.SLOWER) for kernel in kernels)
    if 0 < differ <= 2 * _CHANCE * twice:
        yield (
            f"of {twice} kernels that did not change chance alone calls about {_CHANCE * twice:.3g} faster or slower; "
            f"here it is {differ}"
        )


def _left_out(a: Sequence[LutRow], b: Sequence[LutRow], joined: Joined) -> Iterator[str]:
    if joined.only_a or joined.only_b:
        yield f"{joined.only_a} kernels are only in A and {joined.only_b} only in B: they are not compared"
    predicted_a, predicted_b = (sum(row.source is Source.PREDICTED for row in rows) for rows in (a, b))
    if predicted_a or predicted_b:
        yield f"{predicted_a} predicted rows of A and {predicted_b} of B are left out: nobody measured them"
    points = sum(not pair.once and Source.PUBLISHED in (pair.a.source, pair.b.source) for pair in joined.pairs)
    if points:
        yield f"{points} kernels have a published latency, which comes without an interval: the noise stands for it"
