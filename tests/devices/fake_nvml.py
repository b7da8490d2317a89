"""A stand-in for the module pynvml, with cards that tests describe and change while they run.

    card = FakeGpu(name="Tesla T4", refusals={"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED})
    fake = FakeNvml(gpus=[card])
    monitor = GpuMonitor(Nvml(load=lambda: fake), card.uuid)
    card.reasons = SW_POWER_CAP                 # from now on
    card.coming_reasons = [HW_SLOWDOWN, 0, 0]   # the next three readings of the clock reasons, then `reasons` again
    card.violations_ns[THERMAL] += 1_000_000
    card.lost = True                            # every call about it raises "GPU is lost"

Functions have the names, arguments, units and answers of pynvml (tests/devices/test_nvml.py compares them with the
real module where it is installed), and fail before `nvmlInit` and after the last `nvmlShutdown`. A test may also make
a function refuse on all cards, be missing as in an old release, or answer in bytes as releases before 11.5 did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
VERSION_MISMATCH = 18
UNKNOWN = 999

ERROR_TEXTS = {
    UNINITIALIZED: "Uninitialized",
    INVALID_ARGUMENT: "Invalid Argument",
    NOT_SUPPORTED: "Not Supported",
    NO_PERMISSION: "Insufficient Permissions",
    NOT_FOUND: "Not Found",
    DRIVER_NOT_LOADED: "Driver Not Loaded",
    LIBRARY_NOT_FOUND: "NVML Shared Library Not Found",
    FUNCTION_NOT_FOUND: "Function Not Found",
    GPU_IS_LOST: "GPU is lost",
    RESET_REQUIRED: "GPU requires restart",
    VERSION_MISMATCH: "RM has detected an NVML/RM version mismatch.",
    UNKNOWN: "Unknown Error",
}

# Bits of the clock reasons
GPU_IDLE = 0x1
APPLICATIONS_CLOCKS_SETTING = 0x2
SW_POWER_CAP = 0x4
HW_SLOWDOWN = 0x8
SYNC_BOOST = 0x10
SW_THERMAL_SLOWDOWN = 0x20
HW_THERMAL_SLOWDOWN = 0x40
HW_POWER_BRAKE_SLOWDOWN = 0x80
DISPLAY_CLOCK_SETTING = 0x100
BOARD_LIMIT_REASON = 0x200
RELIABILITY_REASON = 0x400

# Performance policies, whose violations are counted
POWER, THERMAL, SYNC, BOARD_LIMIT, LOW_UTILIZATION, RELIABILITY = range(6)


class FakeNvmlError(Exception):
    """As pynvml's: ``value`` is the code."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return ERROR_TEXTS.get(self.value, f"NVML Error with code {self.value}")


class FakeMismatchError(Exception):
    """As pynvml's NVMLLibraryMismatchError, which is none of its other errors."""


@dataclass
class FakeProcess:
    """A process on a card. ``name`` None: this system does not show it."""

    pid: int
    name: str | None = "python3"
    memory_bytes: int | None = 1 << 28


@dataclass
class FakeGpu:
    """A card, a T4 unless told otherwise. All of it may be changed at any time.

    refusals : error code by function name, for this card. locked_mhz : what `nvmlDeviceSetGpuLockedClocks` set.
    """

    name: str = "Tesla T4"
    uuid: str = "GPU-1a2b3c4d-0000-0000-0000-000000000000"
    pci_bus_id: str = "00000000:00:1E.0"
    capability: tuple[int, int] = (7, 5)
    memory_bytes: int = 16106127360
    vbios: str = "90.04.96.00.A0"
    power_limit_w: float = 70.0
    default_power_limit_w: float = 70.0
    ecc: bool = True
    persistence: bool = True
    compute_mode: int = 0
    mig: bool | None = None
    base_sm_clock_mhz: int = 585
    max_sm_clock_mhz: int = 1590
    max_memory_clock_mhz: int = 5001
    sm_clock_mhz: int = 1590
    memory_clock_mhz: int = 5000
    temperature_c: int = 45
    power_w: float = 27.5
    energy_j: float = 1000.0
    reasons: int = 0
    coming_reasons: list[int] = field(default_factory=list)
    violations_ns: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(6), 0))
    compute_processes: list[FakeProcess] = field(default_factory=list)
    graphics_processes: list[FakeProcess] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    lost: bool = False
    locked_mhz: int | None = None


class FakeNvml:
    """The module. ``driver`` and ``cuda_version`` (12020 is 12.2) are those of the machine.

    refusals : error code by function name, for all cards. missing : functions that this release does not have.
    in_bytes : whether texts are bytes. calls : names of all functions that were called.
    """

    NVMLError = FakeNvmlError
    NVMLLibraryMismatchError = FakeMismatchError

    def __init__(
        self,
        gpus: list[FakeGpu] | None = None,
        driver: str = "535.129.03",
        cuda_version: int = 12020,
        refusals: dict[str, int] | None = None,
        missing: set[str] | None = None,
        in_bytes: bool = False,
    ) -> None:
        self.gpus = [FakeGpu()] if gpus is None else gpus
        self.driver = driver
        self.cuda_version = cuda_version
        self.refusals = refusals or {}
        self.missing = missing or set()
        self.in_bytes = in_bytes
        self.calls: list[str] = []
        self.sessions = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = _FUNCTIONS.get(name)
        if function is None or name in self.missing:
            raise AttributeError(f"module 'pynvml' has no attribute '{name}'")

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name != "nvmlInit" and not self.sessions:
                raise FakeNvmlError(UNINITIALIZED)
            if name in self.refusals:
                raise FakeNvmlError(self.refusals[name])
            if arguments and isinstance(arguments[0], FakeGpu):
                if arguments[0].lost:
                    raise FakeNvmlError(GPU_IS_LOST)
                if name in arguments[0].refusals:
                    raise FakeNvmlError(arguments[0].refusals[name])
            answer = function(self, *arguments)
            return answer.encode() if self.in_bytes and isinstance(answer, str) else answer

        return call


def _init(nvml: FakeNvml) -> None:
    nvml.sessions += 1


def _shutdown(nvml: FakeNvml) -> None:
    nvml.sessions -= 1


def _by_index(nvml: FakeNvml, index: int) -> FakeGpu:
    if not 0 <= index < len(nvml.gpus):
        raise FakeNvmlError(INVALID_ARGUMENT)
    return nvml.gpus[index]


def _reasons(nvml: FakeNvml, gpu: FakeGpu) -> int:
    return gpu.coming_reasons.pop(0) if gpu.coming_reasons else gpu.reasons


def _violation(nvml: FakeNvml, gpu: FakeGpu, policy: int) -> Any:
    if policy not in gpu.violations_ns:
        raise FakeNvmlError(NOT_SUPPORTED)
    return SimpleNamespace(referenceTime=0, violationTime=gpu.violations_ns[policy])


def _processes(processes: list[FakeProcess]) -> list[Any]:
    return [SimpleNamespace(pid=process.pid, usedGpuMemory=process.memory_bytes) for process in processes]


def _process_name(nvml: FakeNvml, pid: int) -> str:
    for gpu in nvml.gpus:
        for process in (*gpu.compute_processes, *gpu.graphics_processes):
            if process.pid == pid and process.name is not None:
                return process.name
    raise FakeNvmlError(NOT_FOUND)


def _mig(nvml: FakeNvml, gpu: FakeGpu) -> list[int]:
    if gpu.mig is None:
        raise FakeNvmlError(NOT_SUPPORTED)
    return [int(gpu.mig), int(gpu.mig)]


def _lock(nvml: FakeNvml, gpu: FakeGpu, low_mhz: int, high_mhz: int) -> None:
    assert low_mhz == high_mhz
    gpu.locked_mhz = low_mhz


def _unlock(nvml: FakeNvml, gpu: FakeGpu) -> None:
    gpu.locked_mhz = None


def _clock(sm_mhz: int, memory_mhz: int, kind: int) -> int:
    return memory_mhz if kind == 2 else sm_mhz


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "nvmlInit": _init,
    "nvmlShutdown": _shutdown,
    "nvmlSystemGetDriverVersion": lambda nvml: nvml.driver,
    "nvmlSystemGetCudaDriverVersion": lambda nvml: nvml.cuda_version,
    "nvmlSystemGetCudaDriverVersion_v2": lambda nvml: nvml.cuda_version,
    "nvmlSystemGetProcessName": _process_name,
    "nvmlDeviceGetCount": lambda nvml: len(nvml.gpus),
    "nvmlDeviceGetHandleByIndex": _by_index,
    "nvmlDeviceGetName": lambda nvml, gpu: gpu.name,
    "nvmlDeviceGetUUID": lambda nvml, gpu: gpu.uuid,
    "nvmlDeviceGetPciInfo": lambda nvml, gpu: SimpleNamespace(busId=gpu.pci_bus_id.encode()),
    "nvmlDeviceGetCudaComputeCapability": lambda nvml, gpu: gpu.capability,
    "nvmlDeviceGetMemoryInfo": lambda nvml, gpu: SimpleNamespace(total=gpu.memory_bytes),
    "nvmlDeviceGetVbiosVersion": lambda nvml, gpu: gpu.vbios,
    "nvmlDeviceGetEnforcedPowerLimit": lambda nvml, gpu: round(gpu.power_limit_w * 1000),
    "nvmlDeviceGetPowerManagementLimit": lambda nvml, gpu: round(gpu.power_limit_w * 1000),
    "nvmlDeviceGetPowerManagementDefaultLimit": lambda nvml, gpu: round(gpu.default_power_limit_w * 1000),
    "nvmlDeviceGetEccMode": lambda nvml, gpu: [int(gpu.ecc), int(gpu.ecc)],
    "nvmlDeviceGetPersistenceMode": lambda nvml, gpu: int(gpu.persistence),
    "nvmlDeviceGetComputeMode": lambda nvml, gpu: gpu.compute_mode,
    "nvmlDeviceGetMigMode": _mig,
    "nvmlDeviceGetDefaultApplicationsClock": lambda nvml, gpu, kind: _clock(
        gpu.base_sm_clock_mhz, gpu.max_memory_clock_mhz, kind
    ),
    "nvmlDeviceGetMaxClockInfo": lambda nvml, gpu, kind: _clock(gpu.max_sm_clock_mhz, gpu.max_memory_clock_mhz, kind),
    "nvmlDeviceGetClockInfo": lambda nvml, gpu, kind: _clock(gpu.sm_clock_mhz, gpu.memory_clock_mhz, kind),
    "nvmlDeviceGetSupportedMemoryClocks": lambda nvml, gpu: [gpu.max_memory_clock_mhz, 405],
    "nvmlDeviceGetSupportedGraphicsClocks": lambda nvml, gpu, memory_mhz: list(range(gpu.max_sm_clock_mhz, 299, -15)),
    "nvmlDeviceGetTemperature": lambda nvml, gpu, sensor: gpu.temperature_c,
    "nvmlDeviceGetPowerUsage": lambda nvml, gpu: round(gpu.power_w * 1000),
    "nvmlDeviceGetTotalEnergyConsumption": lambda nvml, gpu: round(gpu.energy_j * 1000),
    "nvmlDeviceGetCurrentClocksEventReasons": _reasons,
    "nvmlDeviceGetCurrentClocksThrottleReasons": _reasons,
    "nvmlDeviceGetViolationStatus": _violation,
    "nvmlDeviceGetComputeRunningProcesses": lambda nvml, gpu: _processes(gpu.compute_processes),
    "nvmlDeviceGetGraphicsRunningProcesses": lambda nvml, gpu: _processes(gpu.graphics_processes),
    "nvmlDeviceSetGpuLockedClocks": _lock,
    "nvmlDeviceResetGpuLockedClocks": _unlock,
}
FUNCTION_NAMES = tuple(_FUNCTIONS)
