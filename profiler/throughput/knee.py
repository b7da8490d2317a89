"""The knee of throughput over batch: the smallest batch that reaches a share of the best one, or why there is none.

The share is 95%. The definition is that of Hockney's n_1/2 (Hockney and Jesshope, Parallel Computers, 1981: the length
of a vector at which a machine reaches half of its asymptotic rate), with 95% of the best that was measured in the place
of half of what a fitted line tends to. A user reads it off the table, and whether a batch reaches the share is a
comparison of two measurements with an interval, which may have no answer.

Kneedle (Satopaa, Albrecht, Irwin, Raghavan, Finding a "Kneedle" in a haystack, ICDCS workshops, 2011) takes the point
furthest above the chord instead. It scales both axes to the range at hand, so that larger batches which bring nothing
move the knee, finds one in a curve that gains 1% over its whole range, and knows no noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from profiler.verdict import Span, ratio

SHARE = 0.95
NOISE = 0.02
"""What is assumed of a latency without interval (there is one window): the standard deviation of its logarithm, as
`compare` has it from one run to the next. The ratio of two is then known to some 6%."""


class KneeKind(str, Enum):
    """``flat``: the smallest batch reaches the share already. ``rising``: only the largest does, so a larger one may be
    better still. ``ambiguous``: the intervals do not say which. ``single``: there is one batch."""

    FOUND = "found"
    FLAT = "flat"
    RISING = "rising"
    AMBIGUOUS = "ambiguous"
    SINGLE = "single"


@dataclass(frozen=True)
class Knee:
    """``batches`` are those that may be the knee: one where it is found. ``best`` is that of the highest throughput.
    ``noise`` is what was assumed where an interval is not known, 0 where all are."""

    kind: KneeKind
    batches: tuple[int, ...]
    best: int
    share: float = SHARE
    noise: float = 0.0

    @property
    def batch(self) -> int | None:
        """Where there is one."""
        return self.batches[0] if self.kind is KneeKind.FOUND else None

    @property
    def text(self) -> str:
        """For people, to stand behind the name of a curve."""
        assumed = f" (single windows have no interval; a noise of {self.noise:.0%} is assumed)" if self.noise else ""
        return self._answer + assumed

    @property
    def _answer(self) -> str:
        reached = f"{self.share:.0%} of the best throughput"
        if self.kind is KneeKind.FOUND:
            return f"knee at batch {self.batches[0]}, the smallest that reaches {reached} (that of batch {self.best})"
        if self.kind is KneeKind.FLAT:
            already = (
                "is the best"
                if self.batches[0] == self.best
                else f"already reaches {reached} (that of batch {self.best})"
            )
            return f"no knee in the range: batch {self.batches[0]}, the smallest, {already}"
        if self.kind is KneeKind.RISING:
            return f"no knee in the range: batch {self.best}, the largest, alone reaches {reached}; it may rise further"
        if self.kind is KneeKind.AMBIGUOUS:
            listed = ", ".join(map(str, self.batches[:-1]))
            return f"the knee is ambiguous: batch {listed} or {self.batches[-1]}, by the intervals"
        return "no knee: there is one batch alone"

    @property
    def short(self) -> str:
        """The same in a few words; none of one batch."""
        if self.kind is KneeKind.SINGLE:
            return ""
        if self.kind is KneeKind.AMBIGUOUS:
            return f"knee {' or '.join(map(str, self.batches))}"
        return f"knee {self.batch}" if self.batch is not None else "no knee"


def find_knee(latencies: Mapping[int, Span], share: float = SHARE) -> Knee:
    """``latencies`` : of a whole batch, by batch. Raises `ValueError` for none, and for a share that is none.

    A batch reaches the share where the 95% interval of its throughput over the best one lies above, misses it where
    that lies below, and otherwise may be either. Where one of the two has no interval, `NOISE` is its.
    """
    if not latencies or not 0 < share < 1:
        raise ValueError("a knee takes a batch, and a share between 0 and 1")
    per_image = {batch: _scaled(latencies[batch], batch) for batch in sorted(latencies)}
    best = min(per_image, key=lambda batch: per_image[batch].latency_s)
    if len(per_image) == 1:
        return Knee(KneeKind.SINGLE, (best,), best, share)
    noise = 0.0 if all(span.known for span in per_image.values()) else NOISE
    undecided = []
    for batch, seconds in per_image.items():
        both = seconds.known and per_image[best].known
        throughput = ratio(per_image[best], seconds, 0.0 if both else noise)  # of times: the inverse of throughputs
        if batch == best or throughput.low >= share:
            break
        if throughput.high >= share:
            undecided.append(batch)
    if undecided:
        return Knee(KneeKind.AMBIGUOUS, (*undecided, batch), best, share, noise)
    kind = {min(per_image): KneeKind.FLAT, max(per_image): KneeKind.RISING}.get(batch, KneeKind.FOUND)
    return Knee(kind, (batch,), best, share, noise)


def _scaled(span: Span, parts: int) -> Span:
    return Span(span.latency_s / parts, span.low_s / parts, span.high_s / parts, span.known)
