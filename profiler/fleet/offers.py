"""Who measures what: the cards of a fleet, by what its workers offer and their machines have. Nothing of Dask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from profiler.devices.discover import FoundDevice
from profiler.fleet.orders import Sight

COMPILE = "compile"
"""The resource of workers with spare cores: kernels that they compile at a time."""


@dataclass(frozen=True)
class Offer:
    """A worker as the scheduler lists it. ``resources`` are those that it was started with, e.g. ``{"t4": 1}``."""

    address: str
    name: str
    resources: Mapping[str, float] = field(default_factory=dict)

    def amount(self, resource: str) -> int:
        return int(self.resources.get(resource, 0))

    @property
    def text(self) -> str:
        return self.name if self.name == self.address else f"{self.name} ({self.address})"


@dataclass(frozen=True)
class Place:
    """A card, and the worker that measures on it. One machine's CPU may be the card of several workers, which take
    turns; a GPU has one."""

    offer: Offer
    sight: Sight
    device: FoundDevice

    @property
    def card(self) -> str:
        """The same for all places that are one piece of hardware."""
        return self.device.uuid or f"cpu of {self.sight.machine}"

    @property
    def key(self) -> str:
        return f"{self.offer.address} {self.device.uuid}"

    @property
    def text(self) -> str:
        which = f", {self.device.uuid}" if self.device.uuid else ""
        return f"{self.device.name} of {self.sight.host}{which}, worker {self.offer.name}"


def places_of(
    offer: Offer, sight: Sight, device: str, taken: frozenset[str], has: int = 0
) -> tuple[tuple[Place, ...], str]:
    """The places that a worker brings, and what the user should know of it (often nothing).

    It offers ``device`` as a resource, as many as it shall measure at a time. ``taken`` are the `Place.card` of places
    that workers have: a GPU is measured through one worker. ``has`` : how many of those are this one's already.
    """
    wanted = offer.amount(device) - has
    if device == "cpu":
        cpu = next(found for found in sight.devices if not found.is_gpu)
        return (Place(offer, sight, cpu),), ""
    here = [found for found in sight.devices if found.is_gpu and found.slug == device]
    able = [Place(offer, sight, found) for found in here if not found.obstacle]
    free = [place for place in able if place.card not in taken][:wanted]
    if len(free) == wanted:
        return tuple(free), ""
    why = _why_fewer(sight, here, able, len(free) + has)
    return tuple(free), f"it offers {offer.amount(device)} {device}: {why}"


def _why_fewer(sight: Sight, here: list[FoundDevice], able: list[Place], left: int) -> str:
    if not here:
        found = ", ".join(found.text for found in sight.devices)
        return f"{sight.host} has none; found: {found}" + (f", no NVIDIA GPU: {sight.no_gpus}" if sight.no_gpus else "")
    if not able:
        return f"{here[0].text} is there, but {here[0].obstacle}"
    return f"{left} of the {len(here)} of {sight.host} are left for it"


@dataclass(frozen=True)
class Versions:
    """Of what has to be alike: Python with its minor version, NumPy, and Dask, as `distributed` tells them."""

    python: str
    numpy: str
    distributed: str

    def difference(self, other: Versions) -> str:
        """What differs there, for people; empty if nothing does."""
        pairs = (
            ("Python", self.python, other.python),
            ("NumPy", self.numpy, other.numpy),
            ("distributed", self.distributed, other.distributed),
        )
        return ", ".join(
            f"{name} {theirs or 'missing'} (here {ours})" for name, ours, theirs in pairs if ours != theirs
        )


def other_package(sight: Sight, version: str, code: str) -> str:
    """What is wrong with the package of a worker, for people; empty if it is ours."""
    if sight.version != version:
        return f"profiler {sight.version} (here {version})"
    if sight.code != code:
        return f"another state of profiler {version}: its sources differ from those here"
    return ""
