"""Where labels go so that they do not lie on each other: along a line, and beside points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


def spread(wanted: Sequence[float], gap: float, most: float = inf) -> list[float]:
    """Positions at least ``gap`` apart, in the order of the wanted ones, as near to them as possible (least squares),
    and none above ``most``.

    Method: pool adjacent violators (Ayer et al., An empirical distribution function for sampling with incomplete
    information, 1955), on the positions less the room that those before them take.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[tuple[float, int]] = []  # mean, members
    for rank, index in enumerate(order):
        blocks.append((wanted[index] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean_a, count_a), (mean_b, count_b) = blocks[-2:]
            count = count_a + count_b
            blocks[-2:] = [((mean_a * count_a + mean_b * count_b) / count, count)]
    means = [mean for mean, count in blocks for _ in range(count)]
    moved = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        moved[index] = min(means[rank] + rank * gap, most - (len(order) - 1 - rank) * gap)
    return moved


@dataclass(frozen=True)
class Box:
    """A rectangle, its ends in any one unit."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """What of it lies nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


def around(x: float, y: float, half: float) -> Box:
    """A square around a point."""
    return Box(x - half, y - half, x + half, y + half)


def beside(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    texts: Sequence[Box],
    marks: Sequence[Box],
    inside: Box,
    gap: float,
) -> list[Box | None]:
    """A place for the label of each point (width and height in ``sizes``), the first ones first: the nearest of some
    around it that lies ``inside``, touches no mark, text or label before it, and whose line to the point crosses none
    of them, nor the line of another. None where there is no such place."""
    written = list(texts)
    found: list[Box | None] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        others = [*written, *(mark for mark in marks if not mark.holds(around(x, y, 0)))]

        def free(box: Box, x: float = x, y: float = y, others: Sequence[Box] = others) -> bool:
            if not inside.holds(box) or any(map(box.meets, others)) or any(map(box.meets, marks)):
                return False
            return not any(dot.meets(other) for dot in _line(x, y, *box.nearest(x, y)) for other in others)

        place = next(filter(free, _candidates(x, y, width, height, gap)), None)
        found.append(place)
        if place is not None:
            written.append(place)
            written.extend(_line(x, y, *place.nearest(x, y)))
    return found


def _line(x0: float, y0: float, x1: float, y1: float, dots: int = 24) -> list[Box]:
    return [around(x0 + (x1 - x0) * at / dots, y0 + (y1 - y0) * at / dots, 0.5) for at in range(1, dots)]


def _candidates(x: float, y: float, width: float, height: float, gap: float) -> list[Box]:
    """Right, left, above, below, and the corners between; then the same further away."""
    boxes = []
    for distance in (gap, 1.5 * gap, 2.2 * gap, 3 * gap):
        right, left = x + distance, x - distance - width
        above, below, middle, center = y + distance, y - distance - height, y - height / 2, x - width / 2
        corners = [(right, middle), (left, middle), (center, above), (center, below)]
        corners += [(right, above), (left, above), (right, below), (left, below)]
        corners += [
            (x - width / 5, above),
            (x - 4 * width / 5, above),
            (x - width / 5, below),
            (x - 4 * width / 5, below),
        ]
        boxes += [Box(at_x, at_y, at_x + width, at_y + height) for at_x, at_y in corners]
    return boxes
