"""What a user asks of a fleet."""

from __future__ import annotations

from dataclasses import dataclass, field

from profiler.campaign import require_options
from profiler.errors import DeviceError
from profiler.fleet.access import Access
from profiler.fleet.limits import FleetLimits
from profiler.fleet.orders import SeatOptions
from profiler.fleet.seat import COMMAND
from profiler.hardware import GPUS
from profiler.pipeline import ProfileRequest


@dataclass(frozen=True, kw_only=True)
class FleetRequest(ProfileRequest):
    """`profile`, on the cards of a fleet: ``device`` names their model, which is the resource that workers offer.

    ``seat`` starts a worker's measuring process. ``complete`` has every card also measure what the other cards of its
    model have found, so that each has a whole LUT. Raises `DeviceError` for what a fleet cannot be asked for.
    """

    access: Access
    limits: FleetLimits = field(default_factory=FleetLimits)
    seat: tuple[str, ...] = COMMAND
    complete: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", self.device.strip().lower())
        if self.device == "auto" or self.device.isdigit() or self.device.startswith("gpu-"):
            raise DeviceError(
                f"a fleet is asked for a model, not for '{self.device}': say --device t4 (any of {', '.join(GPUS)}, or "
                "another one as `profiler devices` names it there) or --device cpu"
            )
        require_options(self, self.on_gpus, "; leave it out, or choose a fleet of them with --device")

    @property
    def on_gpus(self) -> bool:
        return self.device != "cpu"

    @property
    def jobs_at_once(self) -> int:
        """Of a card: one is measured while the next ones are compiled, which takes longer. Beside a CPU that is
        measured nothing may compile on its machine, so there is nothing to gain."""
        return 3 if self.on_gpus else 1

    @property
    def seat_options(self) -> SeatOptions:
        return SeatOptions(self.sustained, self.lock_clocks, self.clock_mhz)
