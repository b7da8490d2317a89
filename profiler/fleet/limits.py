"""How long a fleet is waited for, and how often something is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.devices.kernel_process import LOAD_LIMIT_S
from profiler.measure.energy import EnergyRule
from profiler.measure.throttle import CALL_WAITS_S

_TAKES = 10
"""Of the windows of an energy: one, and one more behind each wait that fits `throttle.KERNEL_WAITS_S`."""


@dataclass(frozen=True)
class FleetLimits:
    """All times are seconds of wall time.

    connect_s : for reaching the scheduler. workers_s : without any worker that could go on. silent_s : since the
    scheduler heard of a worker; it is then taken for lost. turn_s : for others who measure the same card.
    gather_s : for all workers that are there at first to be looked at, before work is given out.
    call_s, kernel_s : what measuring may take, once it is its turn, and more for each kernel: as much as its parts may
    take by limits of their own, so who exceeds it hangs. start_s : for the start of a worker's measuring process.
    attempts : how often a workload is begun before it is given up, if each time its worker is lost or hangs.
    strikes : of a card in a row that end its work for this run. look_every_s : between two looks at who is there.
    """

    connect_s: float = 30.0
    workers_s: float = 60.0
    silent_s: float = 60.0
    gather_s: float = 30.0
    turn_s: float = 600.0
    call_s: float = CALL_WAITS_S
    kernel_s: float = LOAD_LIMIT_S
    start_s: float = 180.0
    attempts: int = 3
    strikes: int = 2
    look_every_s: float = 1.0

    def __post_init__(self) -> None:
        times = (self.connect_s, self.workers_s, self.silent_s, self.turn_s, self.call_s, self.start_s)
        if min(times) <= 0 or min(self.kernel_s, self.look_every_s, self.gather_s) < 0:
            raise ValueError("limits of a fleet are positive times")
        if min(self.attempts, self.strikes) < 1:
            raise ValueError("attempts and strikes must be at least 1")

    @property
    def compilers_turn_s(self) -> float:
        """For those who measure the CPU of a machine that compiles. They may take long, and a compiler that has no turn
        within it gets no more work."""
        return self.answer_s(self.measuring_s(1))

    def answer_s(self, measuring_s: float) -> float:
        """What may pass until a worker answers a call that may take so long there, with all that may come before it."""
        return 2 * self.turn_s + self.start_s + measuring_s

    def measuring_s(self, kernels: int) -> float:
        """What measuring so many kernels in one call may take."""
        return self.call_s + kernels * self.kernel_s

    def metering_s(self, rule: EnergyRule) -> float:
        """What measuring the energy of a kernel may take, with all windows again after each of its waits."""
        return self.measuring_s(1) + _TAKES * rule.total_s
