"""From the cost of one block of threads to that of a grid: what runs at once, what waits, and the last round."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class BlockCost:
    """A kernel's blocks, all alike. Costs are clocks.

    blocks : of the grid. resident : on an SM at once. busy : of an SM's busiest unit, for one block. path : of one
    block that has an SM to itself, from its first instruction to its last: waiting included.
    """

    blocks: int
    resident: int
    busy: float
    path: float

    def grid_clocks(self, sms: int) -> float:
        """Clocks of the SM with the most blocks: full rounds of resident blocks, which hide each other's waiting, and
        a last one of those that are left."""
        rounds, rest = divmod(ceil(self.blocks / sms), self.resident)
        clocks = rounds * overlapped(self.resident * self.busy, self.path)
        return clocks + (overlapped(rest * self.busy, self.path) if rest else 0.0)


def overlapped(*costs: float) -> float:
    """What costs take together that go on at the same time: the largest, and a little more where others come close."""
    return float(sum(cost**4 for cost in costs) ** 0.25)
