"""An NVIDIA GPU.

Kernels run in one worker process (`kernel_process`, `cuda_worker`) with a context of its own: a crash or a hang takes
that process and its context down, and the next kernel finds a fresh one. This process never touches CUDA; it asks NVML
(`monitor`), before and behind what is timed.

    this process                            worker
    monitor.limits()
    CudaDevice.time(handle, 20, mode)   --> the timed window (cuda_timing)
                <-- 20 durations, clocks, or the end of the pipe (crash), or nothing in time (killed)
    monitor.limits()
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Protocol

from profiler.artifact import Artifact
from profiler.devices.cuda_batches import ATTEMPTS, L2_SIZES, SPIN_LIMIT_S, WAKE_LIMIT_S
from profiler.devices.cuda_driver import GpuProperties
from profiler.devices.cuda_timing import BATCH_LAUNCHES
from profiler.devices.gpu_facts import GpuFacts
from profiler.devices.gpu_state import GpuLimits, GpuState, compare
from profiler.devices.kernel_process import KernelProcess
from profiler.devices.pipe import Header
from profiler.devices.protocol import Throttling, Worked
from profiler.devices.rotation import COPIES_LIMIT_S
from profiler.record import CacheMode, Circumstances, Fingerprint

_SLOWEST_BYTES_PER_S = 10e9  # of preparing the caches; no memory of our cards is slower


class Monitor(Protocol):
    """What NVML tells of the card, as `gpu_monitor.GpuMonitor` does."""

    def facts(self) -> GpuFacts: ...

    def limits(self) -> GpuLimits: ...

    def state(self, own_pids: Collection[int] = ()) -> GpuState: ...

    @property
    def name(self) -> str: ...

    @property
    def refusals(self) -> Sequence[str]: ...

    def read_j(self) -> float | None: ...

    def power_w(self) -> float | None: ...

    def close(self) -> None: ...


class CudaDevice:
    """One GPU, a `protocol.Device`.

    slug : names its files. command : starts the worker on that GPU. monitor : of the same GPU; closed with this.
    sustained : whether it is measured under its power cap on purpose. locked_sm_clock_mhz : at which the caller holds
    its clock. Both go to the fingerprint and change nothing here. time_limit_s : the longest that one launch may take.
    """

    def __init__(
        self,
        slug: str,
        command: Sequence[str],
        monitor: Monitor,
        sustained: bool = False,
        locked_sm_clock_mhz: int | None = None,
        time_limit_s: float = 10.0,
    ) -> None:
        self._slug = slug
        self._monitor = monitor
        self._sustained = sustained
        self._locked_sm_clock_mhz = locked_sm_clock_mhz
        self._time_limit_s = time_limit_s
        self._process = KernelProcess(command, time_limit_s)
        self._facts: GpuFacts | None = None
        self._properties: GpuProperties | None = None
        self._launch_s: dict[int, float] = {}  # by handle, since it was verified
        self._throttling: Throttling | None = None
        self._clocks_mhz: list[float] = []  # beside each batch since the last circumstances
        self._floors_s: list[float] = []

    @property
    def slug(self) -> str:
        return self._slug

    @property
    def properties(self) -> GpuProperties:
        """What the driver says of the GPU. Raises `DeviceError` if the worker does not start."""
        if self._properties is None:
            said: dict[str, Any] = self._process.greeting()["properties"]
            versions = {name: tuple(said[name]) for name in ("capability", "driver_version")}
            self._properties = GpuProperties(**{**said, **versions})
        return self._properties

    @property
    def worker_pid(self) -> int | None:
        """Process id of the running worker."""
        return self._process.pid

    def fingerprint(self, compiler: str) -> Fingerprint:
        """Model, card, major version of the driver, and how the card is set."""
        facts, gpu = self._read_facts(), self.properties
        return Fingerprint(
            device=self.slug,
            device_name=gpu.name,
            arch=gpu.arch,
            uuid=facts.uuid,
            driver=facts.driver.partition(".")[0] or "CUDA {}.{}".format(*gpu.driver_version),
            compiler=compiler,
            power_limit_w=facts.power_limit_w,
            ecc=facts.ecc,
            clocks_locked=self._locked_sm_clock_mhz is not None,
            sustained=self._sustained,
            locked_sm_clock_mhz=self._locked_sm_clock_mhz,
        )

    def load(self, artifact: Artifact) -> int:
        """Raises `KernelFailure`: LAUNCH if it is for another GPU, too new for the driver, too large, damaged, or has
        arguments that do not fit; CRASH or TIMEOUT if loading it ends or blocks the worker."""
        return self._process.load(artifact)

    def verify(self, handle: int) -> None:
        answer, _ = self._process.ask(handle, {"request": "verify"}, self._time_limit_s + WAKE_LIMIT_S)
        self._launch_s[handle] = answer["elapsed_s"]

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        request: Header = {"request": "time", "launches": launches, "mode": CacheMode(mode).value}
        limit_s = self._limit_s(handle, launches)
        self._throttling = None
        before = self._monitor.limits()
        answer, times = self._process.ask(handle, request, limit_s)
        self._throttling = compare(before, self._monitor.limits())
        self._clocks_mhz += answer["clocks_mhz"]
        self._floors_s += answer["floors_s"]
        return tuple(memoryview(times).cast("d"))

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        request: Header = {"request": "work", "duration_s": duration_s, "mode": CacheMode(mode).value}
        limit_s = WAKE_LIMIT_S + COPIES_LIMIT_S + 2 * (self._time_limit_s + duration_s)
        self._throttling = None
        before = self._monitor.limits()
        answer, _ = self._process.ask(handle, request, limit_s, once=True)
        self._throttling = compare(before, self._monitor.limits())
        self._clocks_mhz += answer["clocks_mhz"]
        return Worked(answer["runs"], answer["note"])

    @property
    def counter(self) -> Monitor:
        """NVML's."""
        return self._monitor

    def recheck(self, handle: int) -> None:
        self._process.ask(handle, {"request": "recheck"})

    def throttling(self) -> Throttling | None:
        """Between the readings of NVML before and behind the last `time` or `work`."""
        return self._throttling

    def unload(self, handle: int) -> None:
        self._launch_s.pop(handle, None)
        self._process.unload(handle)

    def circumstances(self) -> Circumstances:
        """The clock is that of the SMs, counted behind each batch; low and high are the extremes, as the samples taken
        at them count too."""
        own = tuple(pid for pid in (os.getpid(), self._process.pid) if pid is not None)
        state = self._monitor.state(own)
        clocks_mhz, self._clocks_mhz = self._clocks_mhz, []
        floors_s, self._floors_s = self._floors_s, []
        return Circumstances(
            sm_clock_mhz_low=min(clocks_mhz, default=None),
            sm_clock_mhz_high=max(clocks_mhz, default=None),
            temperature_c=state.temperature_c,
            power_w=state.power_w,
            floor_s=statistics.median(floors_s) if floors_s else None,
            notes=(*self._read_facts().notes, *state.notes),
        )

    def close(self) -> None:
        self._launch_s.clear()
        self._process.close()
        self._monitor.close()

    def _read_facts(self) -> GpuFacts:
        if self._facts is None:
            self._facts = self._monitor.facts()
        return self._facts

    def _limit_s(self, handle: int, launches: int) -> float:
        """How long so many launches may take, with all repetitions, and with waking the card."""
        arguments_bytes = sum(arg.nbytes for arg in self._process.artifact(handle).args)
        prepared_s = (L2_SIZES * self.properties.l2_cache_bytes + arguments_bytes) / _SLOWEST_BYTES_PER_S
        launch_s = 10 * self._launch_s[handle] if handle in self._launch_s else self._time_limit_s
        batches = -(-launches // BATCH_LAUNCHES)
        repeated_s = batches * SPIN_LIMIT_S + launches * (prepared_s + launch_s)
        return self._time_limit_s + WAKE_LIMIT_S + ATTEMPTS * repeated_s

    def __enter__(self) -> CudaDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
