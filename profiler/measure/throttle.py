"""What happens when a device was held back during a timed batch. Nothing, on a device that cannot tell.

Thermal or hardware slowdown: the batch is discarded, and taken again after a wait; waits double while the slowdown
lasts. All waits of one kernel are bounded, and all waits of one call, so that a card that never cools down ends both:
the kernel is then `UNSTABLE`. A clock that fell while the card waited is raised by a batch that does not count.

Power cap: the batch counts, and is known as capped. From then on batches are spaced: each is followed by a rest, a
multiple of what the batch took, which doubles while the card is capped and shrinks slowly when it is not. The multiple
is bounded: on a card that is capped all the time, a call takes 1 + `MOST_REST` times as long as its batches, no more.
A `sustained` measurement takes no rests; the cap is what it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from profiler.devices.protocol import KernelFailure, Throttling
from profiler.record import FailureKind

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 16.0
KERNEL_WAITS_S = 60.0
"""All waits of one kernel."""
CALL_WAITS_S = 180.0
"""All waits of one call of `measure`; once they are used up, every further slowdown is a failure at once."""

FIRST_REST = 0.25
MOST_REST = 4.0
"""Times what the batch took: a fifth of the time is work then, and 70 W bear a kernel that would draw 350 W."""
REST_DECAY = 0.9
LEAST_REST = 0.05
"""A smaller multiple is no rest."""
LONGEST_REST_S = 0.5
"""Cards average their power over less."""


@dataclass(frozen=True)
class Batch:
    """A timed batch that counts. ``times_s`` is per launch, ``wall_s`` what the batch took with all that lies between.

    power_capped : None if the device cannot tell. discarded : batches before it that were slowed down.
    """

    times_s: tuple[float, ...]
    wall_s: float
    power_capped: bool | None
    discarded: int


class Throttled(Protocol):
    """A device, as far as it is held back."""

    def throttling(self) -> Throttling | None:
        """What held the device back while it was timed last; None if it cannot tell."""
        ...


class Patience:
    """How long may still be waited. ``limit_s`` bounds the sum, for one kernel or for one call; ``whose`` names it."""

    def __init__(self, limit_s: float, whose: str = "this kernel") -> None:
        self.limit_s = limit_s
        self.whose = whose
        self.waited_s = 0.0

    @property
    def left_s(self) -> float:
        return self.limit_s - self.waited_s


class Spacing:
    """The rests of a call. One for all its kernels: they share the card and its limit."""

    def __init__(self) -> None:
        self._multiple = 0.0

    def rest_s(self, power_capped: bool, batch_s: float) -> float:
        """Seconds of rest after a batch that took ``batch_s``."""
        if power_capped:
            self._multiple = min(MOST_REST, max(FIRST_REST, 2 * self._multiple))
        else:
            shrunk = self._multiple * REST_DECAY
            self._multiple = shrunk if shrunk >= LEAST_REST else 0.0
        return min(self._multiple * batch_s, LONGEST_REST_S)


class Throttle:
    """Takes the batches of one call of `measure`, and waits and rests between them.

    sustained : no rests. clock : seconds of wall time. sleep : waits so many seconds.
    """

    def __init__(
        self, device: Throttled, sustained: bool, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._device = device
        self._sustained = sustained
        self._clock = clock
        self._sleep = sleep
        self._patience = Patience(CALL_WAITS_S, "the kernels measured together")
        self._spacing = Spacing()

    def take(self, timed: Callable[[], tuple[float, ...]], patience: Patience) -> Batch:
        """A batch that was not slowed down. ``patience`` is that of the kernel; ``timed`` launches it on the device.

        Raises `KernelFailure`: what ``timed`` raises, and `UNSTABLE` if the slowdown outlasts the patience.
        """
        discarded, wait_s = 0, FIRST_WAIT_S
        while True:
            begin = self._clock()
            times_s = timed()
            wall_s = self._clock() - begin
            found = self._device.throttling()
            if found is None:
                return Batch(times_s, wall_s, None, discarded)
            if not found.slowdown:
                self._rest(found.power_capped, wall_s)
                return Batch(times_s, wall_s, found.power_capped, discarded)
            discarded += 1
            self._wait(wait_s, patience, found.slowdown)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            timed()  # raises the clock again

    def _wait(self, wait_s: float, patience: Patience, slowdown: str) -> None:
        allowed_s = min(wait_s, patience.left_s, self._patience.left_s)
        if allowed_s <= 0:
            spent = patience if patience.left_s <= 0 else self._patience
            raise KernelFailure(
                FailureKind.UNSTABLE,
                f"the card is slowed down ({slowdown}), and {spent.waited_s:g} s of waiting for {spent.whose} did not "
                f"end it: see to its cooling and power supply, or let it rest, and run again",
            )
        self._sleep(allowed_s)
        patience.waited_s += allowed_s
        self._patience.waited_s += allowed_s

    def _rest(self, power_capped: bool, batch_s: float) -> None:
        if self._sustained:
            return
        rest_s = self._spacing.rest_s(power_capped, batch_s)
        if rest_s > 0:
            self._sleep(rest_s)
