"""Watches one GPU through NVML, from the outside: nothing is set, and nothing is asked while a batch is timed."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType

from profiler.devices.gpu_facts import GpuFacts, read_facts
from profiler.devices.gpu_state import GpuLimits, GpuState, read_limits, read_state
from profiler.devices.nvml import Nvml, Reader, Refused


class GpuMonitor:
    """One card, by its UUID.

    Around every timed batch `limits`, twice, for `gpu_state.compare`; once per measurement `state`, for the record. It
    is a `protocol.EnergyCounter` too.
    Raises `DeviceError` here and in all calls if the driver or the card does not answer (any more).
    """

    name = "NVML"
    """As a counter."""

    def __init__(self, nvml: Nvml, uuid: str) -> None:
        self._refused: dict[str, str] = {}
        self._session = nvml.open()
        try:
            self._handle = self._session.handle(uuid)
        except BaseException:
            self._session.close()
            raise

    def facts(self) -> GpuFacts:
        """What stays as it is."""
        return read_facts(self._reader())

    def limits(self) -> GpuLimits:
        """What holds the clock back, and nothing else."""
        return read_limits(self._reader())

    def state(self, own_pids: Collection[int] = ()) -> GpuState:
        """All that changes. ``own_pids``: process numbers that are ours."""
        return read_state(self._reader(), own_pids)

    def read_j(self) -> float | None:
        """Energy since the driver was loaded, and nothing else; None, with the reason in `refusals`, if it refuses."""
        millijoules = self._asked("energy counter", "nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def power_w(self) -> float | None:
        """What the card draws, and nothing else; None as of `read_j`. Newer cards give the mean of the last second."""
        milliwatts = self._asked("power", "nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1e3

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why `read_j` or `power_w` gave None, a short text each."""
        return tuple(f"{what}: {reason}" for what, reason in self._refused.items())

    def _asked(self, what: str, name: str) -> float | None:
        try:
            value: float = self._session.call(name, self._handle)
        except Refused as refused:
            self._refused[what] = str(refused)
            return None
        self._refused.pop(what, None)
        return value

    def close(self) -> None:
        """A second call does nothing."""
        self._session.close()

    def _reader(self) -> Reader:
        return Reader(self._session, self._handle)

    def __enter__(self) -> GpuMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
