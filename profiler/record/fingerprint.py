"""The instrument that a measurement was taken with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from profiler.record.checks import require_bool, require_count, require_number, require_text


@dataclass(frozen=True)
class Fingerprint:
    """What makes two measurements the same instrument. What changes by the minute is in `Circumstances` instead.

    Fields that a kind of device does not have are empty strings or None. ``sustained``: launched without rests, under
    the card's power cap.
    """

    device: str
    device_name: str
    arch: str
    uuid: str
    driver: str
    compiler: str
    power_limit_w: float | None = None
    ecc: bool | None = None
    clocks_locked: bool | None = None
    sustained: bool = False
    locked_sm_clock_mhz: int | None = None

    def __post_init__(self) -> None:
        for name in ("device", "device_name", "arch", "uuid", "driver", "compiler"):
            require_text(name, getattr(self, name))
        for name in ("ecc", "clocks_locked", "sustained"):
            if getattr(self, name) is not None or name == "sustained":
                require_bool(name, getattr(self, name))
        if self.power_limit_w is not None:
            require_number("power_limit_w", self.power_limit_w)
            object.__setattr__(self, "power_limit_w", float(self.power_limit_w))  # 70 and 70.0 are one instrument
        if self.locked_sm_clock_mhz is not None:
            require_count("locked_sm_clock_mhz", self.locked_sm_clock_mhz, least=1)

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, in hex; without what version 1 did not know where it says nothing."""
        body = asdict(self)
        for name in ("sustained", "locked_sm_clock_mhz"):
            if not body[name]:
                del body[name]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    @property
    def short(self) -> str:
        """The eight hex digits that stand in file names and in the LUT."""
        return self.digest[:8]
