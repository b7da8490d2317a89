"""A network with chosen bits at one batch: its windows of steady state as they were measured, and what follows."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.statistics import summarize
from profiler.verdict import Span

MOST_IMAGES = 4096
"""Of a batch, as the commands have it."""
_LONGEST = 1e9
"""Of seconds, joules and runs in a window: more than anybody waits for."""
_DIGEST = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class Window:
    """``runs`` of the whole network in ``duration_s``, with the joules of the device's counter and of its integrated
    power; None is what it did not tell, or nobody asked for. Raises `ValueError` for what cannot be."""

    runs: int
    duration_s: float
    counted_j: float | None = None
    integrated_j: float | None = None

    def __post_init__(self) -> None:
        amounts = {"runs": self.runs, "duration_s": self.duration_s}
        optional = {"counted_j": self.counted_j, "integrated_j": self.integrated_j}
        amounts |= {name: amount for name, amount in optional.items() if amount is not None}
        for name, amount in amounts.items():
            if not 0 < amount <= _LONGEST:
                raise ValueError(f"{name} of a window is {amount:g}, which cannot be")

    @property
    def energy_j(self) -> float | None:
        """By the counter, or by the power where there is no counter."""
        return self.integrated_j if self.counted_j is None else self.counted_j


@dataclass(frozen=True)
class Point:
    """``network_digest`` is of its layers, whatever the batch: many models have one name. ``configuration`` is ``int8``
    or another precision where everything is of it, else the name of its bits, and ``bits_digest`` is of these (empty
    for a uniform one). ``cache_mode`` is that of the table's rows whose configs ran, ``by_default`` of its kernels had
    no row; ``lut_sum_s`` is the sum of the rows, None where one is missing. ``no_energy`` says why there are no joules,
    and is empty where there are some and where nobody asked. ``measured_at`` is Unix time.

    Raises `ValueError` for what contradicts itself.
    """

    network: str
    network_digest: str
    batch: int
    configuration: str
    bits_digest: str
    windows: tuple[Window, ...]
    cache_mode: str
    by_default: int
    lut_sum_s: float | None
    no_energy: str
    notes: tuple[str, ...]
    run_id: str
    tool_version: str
    measured_at: float

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= MOST_IMAGES:
            raise ValueError(f"a batch of {self.batch} is none of 1 to {MOST_IMAGES} images")
        if not self.windows:
            raise ValueError("there is no window")
        if not (self.network and self.configuration and self.run_id):
            raise ValueError("network, configuration and run_id have names")
        if not all(map(_DIGEST.fullmatch, (self.network_digest, self.bits_digest or "0" * 8))):
            raise ValueError("a digest is eight hex digits")
        if self.by_default < 0 or self.measured_at < 0 or not (self.lut_sum_s is None or self.lut_sum_s > 0):
            raise ValueError("by_default, measured_at and lut_sum_s are not negative")
        for text in (self.network, self.configuration, self.run_id, self.no_energy, *self.notes):
            if not text.isprintable():
                raise ValueError("a text holds a line break or another character that cannot be printed")

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """Points of one key replace each other; those that differ in batch alone are a curve."""
        return (*self.curve, self.batch)

    @property
    def curve(self) -> tuple[str, str, str, str]:
        """What the points of a curve have in common."""
        return self.network, self.network_digest, self.configuration, self.bits_digest

    @property
    def latency(self) -> Span:
        """Seconds of a run: the median of the windows, and its 95% interval (with fewer than six the whole range)."""
        return _span([window.duration_s / window.runs for window in self.windows])

    @property
    def images_per_s(self) -> float:
        """The median of the windows."""
        return self.batch / self.latency.latency_s

    @property
    def j_per_image(self) -> float | None:
        """Of all that the device draws; the median of the windows. None where one of them has no joules."""
        found = [window.energy_j for window in self.windows]
        known = [
            energy_j / (window.runs * self.batch)
            for energy_j, window in zip(found, self.windows, strict=True)
            if energy_j is not None
        ]
        return statistics.median(known) if len(known) == len(found) else None

    @property
    def images_per_j(self) -> float | None:
        """Images a second for each watt."""
        return None if self.j_per_image is None else 1 / self.j_per_image

    @property
    def power_w(self) -> float | None:
        """Mean power while it runs."""
        return None if self.j_per_image is None else self.j_per_image * self.images_per_s


def _span(samples_s: Sequence[float]) -> Span:
    found = summarize(samples_s)
    return Span(found.median_s, found.ci95_low_s, found.ci95_high_s, known=found.samples > 1)
