"""The energy of a kernel: windows of `energy` in which it is launched without a pause.

    load, verify | copies of its arguments | idle | settle, window | settle, window | settle, window | idle | recheck
                                                           ~~~~~~ Device.work

A card that was slowed down for heat or by the hardware within a window has done something else than what is asked for:
all windows are taken again, after a wait; waits double and are bounded, as those of `throttle`. What a card does at its
power limit is what it does, so such windows count, without rests, and are told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Union

from profiler.artifact import Artifact
from profiler.devices.protocol import Device, KernelFailure, Recorded, Throttling
from profiler.measure.energy import ENERGY_RULE, EnergyRule, NoEnergy, Sampled, measured_energy, why_none
from profiler.measure.throttle import FIRST_WAIT_S, KERNEL_WAITS_S, LONGEST_WAIT_S
from profiler.measure.window import Run
from profiler.record import CacheMode, Conditions, Energy, EnergyMeasurement, Failure, FailureKind

KernelEnergy = Union[EnergyMeasurement, Failure, NoEnergy]
"""What comes of asking for it."""


def measure_energy(
    device: Device,
    artifact: Artifact,
    conditions: Conditions,
    run: Run,
    rule: EnergyRule = ENERGY_RULE,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    sampled: Sampled | None = None,
    patience_s: float = KERNEL_WAITS_S,
) -> KernelEnergy:
    """Joules of a launch. A kernel that fails is a `Failure`; a device that does not tell them is asked for nothing.

    clock, sleep, sampled : as of `measured_energy`. patience_s : all waits for a slowdown to pass.
    Raises `DeviceError` if the device itself does not work, `NotRecorded` if a recorded one does not know the artifact,
    and `ValueError` for an artifact that was built for another number of threads.
    """
    if artifact.threads != conditions.threads:
        raise ValueError(f"the artifact is for {artifact.threads} threads, the conditions say {conditions.threads}")
    if isinstance(device, Recorded):
        return device.recall_energy(artifact, conditions)
    why = why_none(device.counter)
    if why:
        return NoEnergy(why)
    fingerprint = device.fingerprint(run.compiler)
    device.circumstances()  # forget what was before
    try:
        handle = device.load(artifact)
        try:
            device.verify(handle)
            windows = _Windows(device, handle, conditions.cache_mode, patience_s)
            found = windows.taken(rule, clock, sleep, sampled)
            device.recheck(handle)
        finally:
            with suppress(KernelFailure):
                device.unload(handle)
    except KernelFailure as failure:
        return Failure(
            spec=artifact.spec,
            config=artifact.config,
            conditions=conditions,
            fingerprint=fingerprint.digest,
            kind=failure.kind,
            message=f"while its energy was measured: {failure.message}",
            run_id=run.run_id,
            measured_at=time.time(),
            tool_version=run.tool_version,
        )
    circumstances = device.circumstances()
    if isinstance(found, NoEnergy):
        return found
    return EnergyMeasurement(
        spec=artifact.spec,
        config=artifact.config,
        conditions=conditions,
        fingerprint=fingerprint.digest,
        artifact_sha256=artifact.sha256,
        energy=found,
        run_id=run.run_id,
        measured_at=time.time(),
        tool_version=run.tool_version,
        circumstances=replace(circumstances, power_capped_fraction=windows.capped_fraction),
    )


@dataclass
class _Windows:
    """A loaded kernel at work. ``throttled`` is what held the device back since the windows began."""

    device: Device
    handle: int
    mode: CacheMode
    patience_s: float
    note: str = ""
    throttled: list[Throttling] = field(default_factory=list)

    def taken(
        self,
        rule: EnergyRule,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        sampled: Sampled | None,
    ) -> Energy | NoEnergy:
        """Raises `KernelFailure`: what the work raises, and UNSTABLE if a slowdown outlasts all waits."""
        self.work(0.0)  # what the first call takes besides is in no window then
        again, waited_s, wait_s = 0, 0.0, FIRST_WAIT_S
        while True:
            self.throttled = []
            found = measured_energy(self.device.counter, self.work, rule, clock, sleep, sampled)
            slowdown = next((each.slowdown for each in self.throttled if each.slowdown), "")
            if isinstance(found, NoEnergy) or not slowdown:
                break
            if waited_s >= self.patience_s:
                raise KernelFailure(
                    FailureKind.UNSTABLE,
                    f"the card is slowed down ({slowdown}), and {waited_s:g} s of waiting did not end it: see to its "
                    "cooling and power supply, or let it rest, and run again",
                )
            sleep(wait_s)
            again, waited_s, wait_s = again + 1, waited_s + wait_s, min(2 * wait_s, LONGEST_WAIT_S)
        if isinstance(found, NoEnergy):
            return found
        notes = [self.note] if self.note else []
        if again:
            notes.append(f"taken again, because the card was slowed down: {again} times")
        return replace(found, notes=(*notes, *found.notes))

    def work(self, duration_s: float) -> int:
        done = self.device.work(self.handle, duration_s, self.mode)
        self.note = done.note
        held_back = self.device.throttling()
        if held_back is not None:
            self.throttled.append(held_back)
        return done.runs

    @property
    def capped_fraction(self) -> float | None:
        """Of the calls of work; None if the device cannot tell."""
        if not self.throttled:
            return None
        return sum(each.power_capped for each in self.throttled) / len(self.throttled)
