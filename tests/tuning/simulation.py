"""A device and a compiler that only pretend: latencies follow from a formula, failures from a list."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from profiler.artifact import Artifact, Check
from profiler.devices.protocol import EnergyCounter, KernelFailure, Worked
from profiler.hardware import CpuSpec, DotIsa
from profiler.measure import Rules, Run, StoppingRule
from profiler.measure.energy import EnergyRule
from profiler.quantize.packing import Packing
from profiler.record import CacheMode, Circumstances, Conditions, FailureKind, Fingerprint
from profiler.space.config import DotConfig, LoopOrder, ScheduleConfig, parse_config, to_text
from profiler.space.model import analytic_latency_s
from profiler.tuning.workbench import Workbench
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

CPU = CpuSpec(
    model="simulated",
    isa=DotIsa.AVX512_VNNI,
    features=frozenset(),
    microcode="",
    cores=2,
    l1d_bytes=48 << 10,
    l2_bytes=1 << 20,
    l3_bytes=32 << 20,
)
CONV = Workload(Op.CONV2D, 1, 14, 14, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
DENSE = Workload(Op.DENSE, 1, 1, 1, 512, 1000)
POOL = Workload(Op.MAX_POOL, 1, 28, 28, 64, 64, 2, 2, 2, 2)
CONDITIONS = Conditions()
RUN = Run("run", "0", "pretended")
RULE = StoppingRule(sample_s=1e-6, min_samples=6, max_samples=6, target=0.0, budget_s=1e6)
"""With a budget that the time of the simulation itself does not touch."""
FINGERPRINT = Fingerprint("cpu", "simulated", "none", "0", "none", RUN.compiler)

Landscape = Callable[[KernelSpec, ScheduleConfig], float]


def conv(bits: int = 8, epilogue: Epilogue = Epilogue.REQUANT_RELU, workload: Workload = CONV) -> KernelSpec:
    """The kernel of a convolution or dense layer."""
    activation, weight = DType.integer(bits, signed=False), DType.integer(bits, signed=True)
    output = activation if epilogue.requantizes else DType.INT32
    return KernelSpec(workload, activation, output, weight, epilogue=epilogue)


def pool(bits: int = 8) -> KernelSpec:
    dtype = DType.integer(bits, signed=False)
    return KernelSpec(POOL, dtype, dtype)


def hash_share(*parts: object) -> float:
    """A number in [0, 1) that only looks random."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 256**6


def skewed(spec: KernelSpec, config: ScheduleConfig) -> float:
    """The analytic model, and what it does not know: big tiles spill, two orders are slow, each config is a bit off."""
    latency_s = analytic_latency_s(spec, config, CPU, 1)
    if isinstance(config, DotConfig):
        spilled = max(0, config.accumulators + config.vectors - 26)
        latency_s *= 1 + 0.15 * spilled + 0.1 * (config.order is not LoopOrder.IMAGES)
        latency_s *= math.exp(0.1 * abs(math.log2(config.tile_w / 4)))
    return latency_s * (1 + 0.02 * hash_share(to_text(config)))


@dataclass
class Meter:
    """Counts the energy of what works, at `BUSY_W`."""

    joules: float = 0.0
    name: str = "meter"
    refusals: tuple[str, ...] = ()

    def read_j(self) -> float | None:
        return self.joules

    def power_w(self) -> float | None:
        return None


@dataclass
class NoMeter(Meter):
    """What most virtual machines have."""

    name: str = "none"
    refusals: tuple[str, ...] = ("no counter here",)

    def read_j(self) -> None:
        return None


BUSY_W = 50.0
ENERGY_RULE = EnergyRule(window_s=1e-3, windows=3, settle_s=1e-3, idle_s=0.0)


@dataclass
class World:
    """What happens to kernels, and what happened: ``log`` holds every step in its order. Without ``meter`` nothing
    counts energy."""

    landscape: Landscape = skewed
    noise: float = 0.0
    uncompilable: Callable[[str], bool] = lambda config: False
    crashing: Callable[[str], bool] = lambda config: False
    failing_at_work: Callable[[str], bool] = lambda config: False
    log: list[tuple[str, object]] = field(default_factory=list)
    meter: Meter | None = None
    break_at: int | None = None

    def step(self, what: str, detail: object) -> None:
        """Note a step; the ``break_at``-th one is where the run is killed."""
        if self.break_at is not None and len(self.log) >= self.break_at:
            raise KeyboardInterrupt
        self.log.append((what, detail))

    def steps(self, *kinds: str) -> list[object]:
        return [detail for what, detail in self.log if what in kinds]


@dataclass(frozen=True)
class SimulatedBuildFailure:
    spec: KernelSpec
    config: str
    kind: FailureKind
    message: str


class SimulatedBuilder:
    def __init__(self, world: World) -> None:
        self.world = world

    def build(self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]) -> list[object]:
        self.world.step("build", tuple((spec.key, to_text(config)) for spec, config in requests))
        return [self._build(spec, to_text(config)) for spec, config in requests]

    def _build(self, spec: KernelSpec, config: str) -> Artifact | SimulatedBuildFailure:
        if self.world.uncompilable(config):
            return SimulatedBuildFailure(spec, config, FailureKind.COMPILE, "refused")
        check, packing = Check(0, ""), Packing("plain")
        return Artifact(spec, config, 1, "entry", "none", (), (), packing, check, RUN.compiler, True, b"")


class SimulatedDevice:
    """A `Device` on which no time passes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loaded: dict[int, Artifact] = {}
        self.handles = 0
        self.samples: Counter[str] = Counter()

    @property
    def slug(self) -> str:
        return "cpu"

    def fingerprint(self, compiler: str) -> Fingerprint:
        return FINGERPRINT

    def load(self, artifact: Artifact) -> int:
        self.world.step("load", (artifact.spec.key, artifact.config))
        if self.world.crashing(artifact.config):
            raise KernelFailure(FailureKind.CRASH, "SIGSEGV")
        self.handles += 1
        self.loaded[self.handles] = artifact
        return self.handles

    def verify(self, handle: int) -> None:
        pass

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        artifact = self.loaded[handle]
        self.samples[artifact.config] += 1
        latency_s = self.world.landscape(artifact.spec, parse_config(artifact.config))
        self.world.step("time", (artifact.spec.key, artifact.config))
        share = hash_share(artifact.config, self.samples[artifact.config]) - 0.5
        return (latency_s * (1 + self.world.noise * share),) * min(launches, 9)  # a burst may be of millions

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        artifact = self.loaded[handle]
        if duration_s:
            self.world.step("work", (artifact.spec.key, artifact.config))
        if self.world.failing_at_work(artifact.config):
            raise KernelFailure(FailureKind.CRASH, "SIGSEGV")
        latency_s = self.world.landscape(artifact.spec, parse_config(artifact.config))
        runs = math.ceil(duration_s / latency_s) or 1
        if self.world.meter is not None:
            self.world.meter.joules += runs * latency_s * BUSY_W
        return Worked(runs)

    @property
    def counter(self) -> EnergyCounter:
        return self.world.meter or NoMeter()

    def recheck(self, handle: int) -> None:
        pass

    def throttling(self) -> None:
        return None

    def unload(self, handle: int) -> None:
        del self.loaded[handle]

    def circumstances(self) -> Circumstances:
        return Circumstances()

    def close(self) -> None:
        self.loaded.clear()

    def __enter__(self) -> SimulatedDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LoggedTurns:
    """Turns that note their begin and end, and refuse to be nested."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.turn: str | None = None

    @contextmanager
    def _take(self, turn: str) -> Iterator[None]:
        assert self.turn is None, f"{turn} inside {self.turn}"
        self.turn = turn
        self.world.log.append(("begin", turn))
        try:
            yield
        finally:
            self.turn = None
            self.world.log.append(("end", turn))

    @contextmanager
    def compiling(self) -> Iterator[None]:
        with self._take("compiling"):
            yield

    @contextmanager
    def measuring(self) -> Iterator[None]:
        with self._take("measuring"):
            yield


def simulated_bench(world: World) -> Workbench:
    turns = LoggedTurns(world)
    return Workbench(
        SimulatedDevice(world), SimulatedBuilder(world), CONDITIONS, RUN, turns, Rules(RULE, RULE), ENERGY_RULE
    )  # type: ignore[arg-type]
