"""A GPU and its driver in Python, with a clock of its own: `CudaDriver` as far as measuring uses it.

It takes real cubins, which it cannot run: it is told what a kernel computes (`FakeCuda.learn`), and a launch that is
right in every way (grid, threads, shared memory, the bytes of all arguments) writes that, after the time that the
performance model gives it. A launch that is not writes garbage. The probe kernels of the timed window are played. Where
whole networks run (`FakeCuda.networks`), a launch computes what its kernel makes of whatever lies in its arguments.

Time is two clocks in seconds: the host's advances with each call, the GPU's with each command of the stream, which
begins when the one before has ended and the host has put it there. So a stream that runs dry has launch gaps, and one
that stays dry lets the clock of the SMs fall.

What goes wrong on a GPU goes wrong here, by the driver's numbers: memory that is short or not there, code for another
model, limits of a launch, what a `Scenario` asks for. A `Deadlock` is raised where a real GPU would stand still.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact, Role
from profiler.devices.cuda_driver import Bytes, DriverError, GpuProperties
from profiler.errors import DeviceError
from profiler.hardware import GPUS
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.samples import expected_output, sample_arguments
from profiler.space.config import GpuConfig, parse_config
from profiler.space.gpu_model import analytic_latency_s
from profiler.workload import KernelSpec

from .fake_cuda_code import INVALID_IMAGE, read_cubin, read_ptx
from .fake_cuda_operands import computed
from .fake_cuda_scenario import IDLE_AFTER_S, IDLE_MHZ, Fault, Scenario

INVALID_VALUE, OUT_OF_MEMORY, NO_BINARY_FOR_GPU, NOT_FOUND = 1, 2, 209, 500
ILLEGAL_ADDRESS, MISALIGNED_ADDRESS = 700, 716
STICKY = frozenset({214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 999})
"""What cuda.h says leaves a process in an inconsistent state, uncorrectable memory, and the unknown."""

QUEUE_COMMANDS = 1024
DEFAULT_SHARED_BYTES = 48 << 10
_GPU_MEMORY, _HOST_MEMORY = 0x7F00_0000_0000, 0x2000_0000
_ALIGNMENT = 256
_FRESH = 0xCD


class Deadlock(Exception):
    """On a real GPU nothing would ever go on."""


@dataclass(eq=False)
class FakeModule:
    """Loaded code: entries with their number of parameters (None where a cubin does not say).

    launched_on : by its arguments, how its kernel was launched last on them, and what the host had written by then.
    launches : of its kernel.
    """

    entries: Mapping[str, int | None]
    artifact: Artifact | None
    launched_on: dict[tuple[int, ...], tuple[object, ...]] = field(default_factory=dict)
    launches: int = 0


@dataclass
class FakeFunction:
    """An entry. ``ran``: it was launched before, so nothing of it needs loading."""

    module: FakeModule
    name: str
    dynamic_shared_bytes: int
    ran: bool = False


@dataclass
class FakeGraph:
    """Launches in a row. ``ran``: the driver has brought it onto the GPU."""

    commands: list[Callable[[], None]] = field(default_factory=list)
    ran: bool = False
    dropped: bool = False


@dataclass
class FakeEvent:
    """Seconds on the GPU's clock at which it passed."""

    at_s: float | None = None


@dataclass
class FakeFlag:
    """A word of host memory, and when (on the host's clock) it became what it is."""

    driver: FakeCuda
    address: int
    value: int = 0
    set_at_s: float = 0.0

    def set(self, value: int) -> None:
        self.value, self.set_at_s = value, self.driver.host_s
        self.driver.flag_changed()


@dataclass
class _Allocation:
    data: Bytes
    version: int = 0  # counts what the host wrote


@dataclass
class _Spin:
    """The spinning kernel that holds the stream."""

    begin_s: float
    limit_s: float
    flag: FakeFlag
    outcome: int


@dataclass(frozen=True)
class Ran:
    """A command that the GPU carried out: ``touch``, ``clock``, ``nothing``, ``spin``, ``event`` or an entry's name."""

    name: str
    arguments: tuple[int, ...] = ()


class FakeCuda:
    """The driver. ``history`` is what the GPU did, in order, ``loaded`` what was not unloaded. ``networks``: kernels
    are launched on the arguments of a network, and not on those that are drawn for their check."""

    def __init__(self, scenario: Scenario | None = None, networks: bool = False) -> None:
        self.scenario = scenario or Scenario()
        self.networks = networks
        self._capturing: FakeGraph | None = None
        self.history: list[Ran] = []
        self.loaded: list[FakeModule] = []
        self.host_s = 0.0
        self.gpu_s = 0.0
        self.closed = False
        self._learned: dict[bytes, Artifact] = {}
        self._memory: dict[int, _Allocation] = {}
        self._next_address = _GPU_MEMORY
        self._used_bytes = 0
        self._flags: dict[int, FakeFlag] = {}
        self._pending: deque[tuple[float, Callable[[], None]]] = deque()
        self._spin: _Spin | None = None
        self._error = 0
        self._awake_since_s = 0.0
        self._rng = np.random.default_rng(0)

    def learn(self, artifact: Artifact) -> None:
        """From now on code like this one's is loaded as this artifact."""
        self._learned[artifact.code] = artifact

    @property
    def properties(self) -> GpuProperties:
        return self.scenario.properties

    @property
    def used_bytes(self) -> int:
        """Allocated and not freed."""
        return self._used_bytes

    def load(self, code: bytes) -> FakeModule:
        self._call("cuModuleLoadData", self.scenario.start_code)
        if code[:4] == b"\x7fELF":
            arch, abi, entries = read_cubin(code)
            if arch // 10 != self.properties.capability[0] or arch % 10 > self.properties.capability[1]:
                raise DriverError(NO_BINARY_FOR_GPU, "cuModuleLoadData")
            if abi > 7 and self.scenario.driver_version < (13, 0):
                raise DriverError(INVALID_IMAGE, "cuModuleLoadData")
            module = FakeModule(entries, self._learned.get(code))
        elif b".version" in code:
            module = FakeModule(read_ptx(code.decode()), None)
        else:
            raise DriverError(INVALID_IMAGE, "cuModuleLoadData")
        self.loaded.append(module)
        return module

    def unload(self, module: FakeModule) -> None:
        self.loaded.remove(module)
        module.entries = {}

    def function(self, module: FakeModule, name: str, dynamic_shared_bytes: int = 0) -> FakeFunction:
        self._call("cuModuleGetFunction")
        if name not in module.entries:
            raise DriverError(NOT_FOUND, "cuModuleGetFunction")
        if dynamic_shared_bytes > self.properties.max_shared_memory_per_block_optin_bytes:
            raise DriverError(INVALID_VALUE, "cuFuncSetAttribute")
        return FakeFunction(module, name, dynamic_shared_bytes)

    def allocate(self, nbytes: int) -> int:
        self._call("cuMemAlloc")
        assert nbytes > 0
        if self._used_bytes + nbytes > self.scenario.memory_bytes:
            raise DriverError(OUT_OF_MEMORY, "cuMemAlloc")
        address = self._next_address
        self._next_address += -(-nbytes // _ALIGNMENT) * _ALIGNMENT + (1 << 20)  # nothing is mapped in between
        self._memory[address] = _Allocation(np.full(nbytes, _FRESH, np.uint8))
        self._used_bytes += nbytes
        return address

    def free(self, address: int) -> None:
        self._used_bytes -= self._memory.pop(address).data.size

    def write(self, address: int, data: Bytes) -> None:
        self._synchronize("cuMemcpyHtoD")
        allocation, at = self._find(address, data.size)
        allocation.data[at : at + data.size] = data
        allocation.version += 1

    def read(self, address: int, nbytes: int) -> Bytes:
        self._synchronize("cuMemcpyDtoH")
        allocation, at = self._find(address, nbytes)
        return allocation.data[at : at + nbytes].copy()

    def fill(self, address: int, value: int, nbytes: int) -> None:
        def run() -> None:
            allocation, at = self._find(address, nbytes)
            allocation.data[at : at + nbytes] = value
            allocation.version += 1

        self._put("cuMemsetD8", run)

    def flag(self) -> FakeFlag:
        self._call("cuMemHostAlloc")
        flag = FakeFlag(self, _HOST_MEMORY + 4096 * len(self._flags))
        self._flags[flag.address] = flag
        return flag

    def launch(
        self,
        function: FakeFunction,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        arguments: Sequence[int],
    ) -> None:
        artifact = function.module.artifact
        assert function.name in function.module.entries, "its module was unloaded"
        fault = self._fault(artifact)
        self._call("cuLaunchKernel", fault.code if fault.code not in STICKY else 0)
        allowed = max(DEFAULT_SHARED_BYTES, function.dynamic_shared_bytes)
        if not 0 < threads <= 1024 or shared_bytes > allowed or max(grid[1:]) > 65535 or min(grid) < 1:
            raise DriverError(INVALID_VALUE, "cuLaunchKernel")
        if self._spin is not None and not function.ran and self._capturing is None:
            raise Deadlock(f"'{function.name}' is launched for the first time behind a spinning kernel")
        function.ran |= self._capturing is None
        wanted = function.module.entries[function.name]
        given = tuple(arguments)
        if wanted is not None:
            assert wanted == len(given), f"'{function.name}' takes {wanted} arguments, not {len(given)}"
            assert function.name in _PROBES, f"there is no playing '{function.name}'"
            self._put("cuLaunchKernel", lambda: _PROBES[function.name](self, *given))
            return
        launched = (tuple(grid), threads, shared_bytes)
        self._put("cuLaunchKernel", lambda: self._run(function.module, fault, launched, given))

    def capture(self, put: Callable[[], None]) -> FakeGraph:
        if not self.scenario.graphs:
            raise DeviceError("there is no package for graphs here")
        self._call("cuStreamBeginCapture")
        self._capturing = FakeGraph()
        try:
            put()
            graph = self._capturing
        finally:
            self._capturing = None
        self._call("cuGraphInstantiate")
        return graph

    def launch_graph(self, graph: FakeGraph) -> None:
        assert not graph.dropped
        if self._spin is not None and not graph.ran:
            raise Deadlock("a graph is launched for the first time behind a spinning kernel")
        graph.ran = True
        self._put("cuGraphLaunch", lambda: self.history.append(Ran("graph")), *graph.commands)

    def drop_graph(self, graph: FakeGraph) -> None:
        assert not graph.dropped
        graph.dropped = True

    def event(self) -> FakeEvent:
        self._call("cuEventCreate")
        return FakeEvent()

    def record(self, event: FakeEvent) -> None:
        def run() -> None:
            event.at_s = self.gpu_s
            self.history.append(Ran("event"))

        self._put("cuEventRecord", run)

    def elapsed_s(self, first: FakeEvent, second: FakeEvent) -> float:
        self._call("cuEventElapsedTime")
        assert first.at_s is not None
        assert second.at_s is not None
        return second.at_s - first.at_s

    def wait(self) -> None:
        self._synchronize("cuCtxSynchronize")

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeCuda:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def flag_changed(self) -> None:
        """A `FakeFlag` was set."""
        self._advance()

    def _call(self, name: str, code: int = 0) -> None:
        if self._error or code:
            raise DriverError(self._error or code, name)

    def _put(self, name: str, *commands: Callable[[], None]) -> None:
        """Commands that the GPU gets at once. Whether a graph takes as much of the queue as its launches would is not
        known of a real driver; here it does."""
        self._call(name)
        if self._capturing is not None:
            assert name == "cuLaunchKernel", f"{name} is no launch"
            self._capturing.commands += commands
            return
        self.host_s += self.scenario.call_s
        if len(self._pending) + len(commands) > QUEUE_COMMANDS:
            raise Deadlock(f"{name}: the queue is full behind a spinning kernel")
        self._pending += ((self.host_s, run) for run in commands)
        self._advance()

    def _synchronize(self, name: str) -> None:
        self._advance(waiting=True)
        self.host_s = max(self.host_s, self.gpu_s)
        self._call(name)

    def _advance(self, waiting: bool = False) -> None:
        """Carry out what can be; ``waiting``: the host does nothing else until then."""
        while not self._error:
            if self._spin is not None and not self._end_spin(self._spin, waiting):
                return
            if not self._pending:
                return
            put_at_s, run = self._pending.popleft()
            if put_at_s - self.gpu_s > IDLE_AFTER_S:
                self._awake_since_s = put_at_s
            self.gpu_s = max(self.gpu_s, put_at_s)
            run()

    def _end_spin(self, spin: _Spin, waiting: bool) -> bool:
        deadline_s = spin.begin_s + spin.limit_s
        released_s = max(spin.begin_s, spin.flag.set_at_s) if spin.flag.value else None
        if released_s is not None and released_s <= deadline_s:
            self.gpu_s, outcome = released_s, 1
        elif waiting or self.host_s > deadline_s:
            self.gpu_s, outcome = deadline_s, 2
        else:
            return False
        self._spin = None
        self._store(spin.outcome, np.array([outcome], "<u4"))
        return True

    @property
    def _mhz(self) -> float:
        """Clock of the SMs."""
        awake = self.gpu_s - self._awake_since_s >= self.scenario.ramp_s
        return self.scenario.clock_mhz if awake else IDLE_MHZ

    def _find(self, address: int, nbytes: int) -> tuple[_Allocation, int]:
        for base, allocation in self._memory.items():
            if base <= address and address + nbytes <= base + allocation.data.size:
                return allocation, address - base
        self._error = ILLEGAL_ADDRESS
        raise DriverError(ILLEGAL_ADDRESS, "access")

    def _load(self, address: int, nbytes: int) -> Bytes | None:
        """What a kernel reads; None, and the error, if it may not."""
        try:
            allocation, at = self._find(address, nbytes)
        except DriverError:
            return None
        return allocation.data[at : at + nbytes]

    def _store(self, address: int, values: npt.NDArray[Any]) -> None:
        view = self._load(address, values.nbytes)
        if view is not None:
            view[:] = values.view(np.uint8)

    def _fault(self, artifact: Artifact | None) -> Fault:
        if artifact is None:
            return Fault()
        faults = self.scenario.faults
        return faults.get(artifact.sha256, faults.get(artifact.config, Fault()))

    def play_spin(self, flag: int, limit_ns: int, outcome: int) -> None:
        self.history.append(Ran("spin"))
        self._spin = _Spin(self.gpu_s, limit_ns * 1e-9, self._flags[flag], outcome)

    def play_touch(self, address: int, nbytes: int, sink: int) -> None:
        self.history.append(Ran("touch", (address, nbytes)))
        if address % 16 or nbytes % 16:
            self._error = MISALIGNED_ADDRESS
        elif self._load(address, nbytes) is not None and self._load(sink, 4) is not None:
            self.gpu_s += self.scenario.floor_s + nbytes / GPUS[self.scenario.gpu].bandwidth_bytes_per_s

    def play_clock(self, duration_ns: int, result: int) -> None:
        self.history.append(Ran("clock"))
        cycles = round(duration_ns * self._mhz * 1e-3)
        self.gpu_s += duration_ns * 1e-9
        self._store(result, np.array([duration_ns, cycles], "<u8"))

    def play_nothing(self, _: int) -> None:
        self.history.append(Ran("nothing"))
        self.gpu_s += self.scenario.floor_s

    def _run(self, module: FakeModule, fault: Fault, launched: tuple[object, ...], given: tuple[int, ...]) -> None:
        artifact = module.artifact
        assert artifact is not None, "the fake was not told what this kernel computes"
        self.history.append(Ran(artifact.entry, given))
        module.launches += 1
        if module.launches <= fault.right_launches:
            fault = Fault()
        if fault.hang:
            signal.pause()
        if fault.code:
            self._error = fault.code
            return
        views = [self._load(address, arg.nbytes) for address, arg in zip(given, artifact.args, strict=True)]
        if any(view is None for view in views):
            return
        self._compute(module, artifact, launched, given, [view for view in views if view is not None])
        names = [arg.name for arg in artifact.args]
        if fault.flip is not None:
            output = next(v for v, arg in zip(views, artifact.args, strict=True) if arg.name == "output")
            assert output is not None
            output[fault.flip] ^= 1
            module.launched_on.clear()  # the next launch writes all of it again
        if fault.writes_at is not None:
            name, offset = fault.writes_at
            beside = self._load(given[names.index(name)] + offset, 1)
            if beside is not None:
                beside ^= 0xFF
        self.gpu_s += self._duration_s(artifact)

    def _compute(
        self,
        module: FakeModule,
        artifact: Artifact,
        launched: tuple[object, ...],
        given: tuple[int, ...],
        views: Sequence[Bytes],
    ) -> None:
        launch = artifact.launch
        assert launch is not None
        state = (launched, tuple(self._find(address, 1)[0].version for address in given))
        output = next(v for v, a in zip(views, artifact.args, strict=True) if a.role in (Role.OUTPUT, Role.INOUT))
        if self.networks:
            right = launched == (launch.grid, launch.threads, launch.shared_bytes)
            found = computed(artifact, views) if right else None
            output[:] = self._rng.integers(0, 256, output.size, np.uint8) if found is None else found
            for view, arg in zip(views, artifact.args, strict=True):
                if arg.role is Role.WORKSPACE:
                    view[:] = self._rng.integers(0, 256, view.size, np.uint8)
            return
        if module.launched_on.get(given) == state:
            return  # once more on what it was launched on before: its output is there
        right = launched == (launch.grid, launch.threads, launch.shared_bytes)
        packed = _packed(artifact)
        for view, arg in zip(views, artifact.args, strict=True):
            if arg.role is Role.COUNTERS:
                right &= not view.any()
            elif arg.role not in (Role.WORKSPACE, Role.OUTPUT):
                right &= bool((view == packed[arg.name]).all())
            elif arg.role is Role.WORKSPACE:
                view[:] = self._rng.integers(0, 256, view.size, np.uint8)
        garbage = self._rng.integers(0, 256, output.size, np.uint8)
        output[:] = np.frombuffer(_expected(artifact.spec, artifact.check.seed), np.uint8) if right else garbage
        module.launched_on[given] = state

    def _duration_s(self, artifact: Artifact) -> float:
        usual_s = self.scenario.kernel_s
        if usual_s is None:
            config = parse_config(artifact.config)
            assert isinstance(config, get_args(GpuConfig))
            usual_s = analytic_latency_s(artifact.spec, config, GPUS[self.scenario.gpu])
        slower = GPUS[self.scenario.gpu].clock_hz / (self._mhz * 1e6)
        return usual_s * slower * (1 + self.scenario.noise * float(self._rng.standard_normal()))


_PROBES: Mapping[str, Callable[..., None]] = {
    "spin": FakeCuda.play_spin,
    "touch": FakeCuda.play_touch,
    "clock": FakeCuda.play_clock,
    "nothing": FakeCuda.play_nothing,
}


@cache
def _expected(spec: KernelSpec, seed: int) -> bytes:
    return expected_output(spec, seed)


def _packed(artifact: Artifact) -> dict[str, Bytes]:
    return pack_arguments(artifact.spec, artifact.packing, sample_arguments(artifact.spec, artifact.check.seed))
