"""Which workers are there, shared by the threads of a run: the main one writes, all read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from profiler.fleet.link import WorkerLost
from profiler.fleet.offers import COMPILE, Offer
from profiler.fleet.orders import Sight


@dataclass
class Roster:
    """``present`` is replaced as a whole whenever the scheduler was asked. ``sights`` are those of workers that were
    found fit to take part. ``silent_s`` : as in `FleetLimits`."""

    silent_s: float
    present: Mapping[str, Offer] = field(default_factory=dict)
    sights: dict[str, Sight] = field(default_factory=dict)
    _heard: dict[str, tuple[object, float]] = field(default_factory=dict)

    def update(self, found: Mapping[str, tuple[Offer, object]], now_s: float) -> frozenset[str]:
        """``found`` : each worker with a value that changes when the scheduler hears of it; ``now_s`` : seconds.

        A worker of which nothing is heard is gone, until something is. Returns the addresses that are not listed any
        more: whoever comes back under one may be another worker, so what was seen there is forgotten.
        """
        left = frozenset(self._heard.keys() - found.keys())
        for address in left:
            self.sights.pop(address, None)
        for address, (_, heard) in found.items():
            if address not in self._heard or self._heard[address][0] != heard:
                self._heard[address] = (heard, now_s)
        self._heard = {address: heard for address, heard in self._heard.items() if address in found}
        self.present = {
            address: offer for address, (offer, _) in found.items() if now_s - self._heard[address][1] <= self.silent_s
        }
        return left

    def compiling(self) -> tuple[str, ...]:
        """Workers that are fit and compile: those that offer it, or all where nobody does."""
        fit = [address for address in self.present if address in self.sights]
        offering = [address for address in fit if self.present[address].amount(COMPILE)]
        promised = any(offer.amount(COMPILE) for offer in self.present.values())
        return tuple(offering if promised else fit)

    def require(self, address: str) -> None:
        """Raises `WorkerLost` if it is not there any more."""
        if address not in self.present:
            raise WorkerLost("it is gone: the scheduler does not list it any more, or has not heard of it for long")


Watch = Callable[[], None]
"""Called while something is waited for; ends the waiting by what it raises (`Stopped`, `WorkerLost`)."""
