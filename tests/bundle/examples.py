"""Bundles, records and a device that are made up: every time is known, nothing is compiled or launched. And a network
small enough for bundles that are."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from profiler.artifact import ArgSpec, Artifact, Check, Role
from profiler.bundle.box import chain
from profiler.bundle.box.archive import MANIFEST
from profiler.bundle.box.manifest import Candidate, Configuration, Draw, Kernel, Manifest, artifact_path
from profiler.bundle.box.network_record import NetworkFault, NetworkRecord, NetworkRound, StepMedian
from profiler.bundle.pack import write
from profiler.measure import Run
from profiler.measure.energy import ENERGY_RULE
from profiler.quantize.packing import Packing
from profiler.record import (
    CacheMode,
    Circumstances,
    Conditions,
    Energy,
    EnergyMeasurement,
    EnergyWindow,
    Failure,
    FailureKind,
    Fingerprint,
    Measurement,
)
from profiler.workload import DType, Epilogue, KernelSpec, Layer, Network, Op, Tensor, Workload

CONDITIONS = Conditions(1, CacheMode.NETWORK)
INSTRUMENT = Fingerprint("cpu", "A CPU", "avx2", "0123", "linux", "a compiler")
NETWORK = Network(
    name="two layers",
    batch=1,
    tensors=(
        Tensor("x", 4, 4, 16, signed=False),
        Tensor("y", 4, 4, 16, signed=False),
        Tensor("z", 1, 1, 10, signed=True),
    ),
    layers=(
        Layer("conv", Workload(Op.CONV2D, 1, 4, 4, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1), ("x",), "y", relu=True),
        Layer("fc", Workload(Op.CONV2D, 1, 4, 4, 16, 10, 4, 4), ("y",), "z"),
    ),
)
KERNELS = 4
"""Of the network: two layers in two precisions."""


def spec(channels: int = 8, bits: int = 8) -> KernelSpec:
    """A pointwise convolution."""
    workload = Workload(Op.CONV2D, 1, 2, 2, channels, channels, 1, 1)
    activation, weight = DType.integer(bits, signed=False), DType.integer(bits, signed=True)
    return KernelSpec(workload, activation, activation, weight, epilogue=Epilogue.REQUANT_RELU)


def artifact(of: KernelSpec, config: str) -> Artifact:
    return Artifact(
        spec=of,
        config=config,
        threads=1,
        entry="entry",
        arch="any",
        features=(),
        args=(ArgSpec("output", Role.OUTPUT, 8),),
        packing=Packing("plain"),
        check=Check(1, "00" * 32),
        compiler="a compiler",
        native=True,
        code=b"no code",
    )


def kernel(of: KernelSpec, candidates: int = 3, modelled_s: float = 1.0) -> Kernel:
    """Configs ``c0``, ``c1``, ..., each modelled a tenth slower than the one before."""
    names = [f"c{rank}" for rank in range(candidates)]
    chosen = [Candidate(c, modelled_s * (1 + i / 10), artifact(of, c).sha256) for i, c in enumerate(names)]
    return Kernel(of, ("layer",), False, tuple(chosen))


def configuration(name: str, *kernels: Kernel) -> Configuration:
    """A network that runs the first candidates of these kernels, one after the other. It has no files."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Configuration(name, 0, tuple(k.candidates[0].sha256 for k in kernels), digest, digest, digest)


def network_round(of: Configuration, median_s: float = 1.0, measured_at: float = 100.0) -> NetworkRound:
    return NetworkRound(
        configuration=of.name,
        narrow_layers=of.narrow_layers,
        fingerprint=INSTRUMENT.digest,
        samples_s=(median_s, 0.9 * median_s, 1.1 * median_s),
        marked_s=(1.2 * median_s,),
        steps=tuple(StepMedian(f"s{i}", "layer", "a kernel", sha256, 0.1) for i, sha256 in enumerate(of.steps)),
        discarded=0,
        verified_bytes=100,
        run_id="run",
        measured_at=measured_at,
        tool_version="0.1.0",
        circumstances=Circumstances(notes=("a note",)),
    )


def network_fault(of: Configuration, kind: FailureKind = FailureKind.WRONG_OUTPUT) -> NetworkFault:
    return NetworkFault(of.name, INSTRUMENT.digest, kind, "it is wrong", 3, "run", 100.0, "0.1.0")


def manifest(
    kernels: tuple[Kernel, ...],
    machine: str = "x86_64",
    configurations: tuple[Configuration, ...] = (),
    energy: bool = False,
) -> Manifest:
    return Manifest(
        tool_version="0.1.0",
        device="cpu" if machine else "t4",
        device_name="A CPU" if machine else "Tesla T4",
        arch="avx2" if machine else "sm_75",
        machine=machine,
        features=(),
        least_driver="" if machine else "525.60.13",
        compiler="a compiler",
        conditions=CONDITIONS,
        network="made up",
        batch=1,
        kernels=kernels,
        draws=(Draw(kernels[0].spec, 1, "00" * 32),),
        configurations=configurations,
        energy=energy,
    )


def pack(path: Path, of: Manifest) -> Path:
    """A bundle without code."""
    candidates = [(k.spec, c) for k in of.kernels for c in k.candidates]
    artifacts = {artifact_path(c.sha256): artifact(spec, c.config).to_bytes() for spec, c in candidates}
    write(path, {MANIFEST: of.to_bytes(), **artifacts})
    return path


def measurement(
    of: KernelSpec, config: str, median_s: float = 1.0, stage: str = "final", instrument: Fingerprint = INSTRUMENT
) -> Measurement:
    return Measurement(
        spec=of,
        config=config,
        conditions=CONDITIONS,
        fingerprint=instrument.digest,
        artifact_sha256=artifact(of, config).sha256,
        samples_s=(median_s, 0.9 * median_s, 1.1 * median_s),
        launches_per_sample=2,
        discarded=0,
        stage=stage,
        run_id="run",
        measured_at=100.0,
        tool_version="0.1.0",
        circumstances=Circumstances(notes=("a note",)),
    )


def energy_of(
    of: KernelSpec, config: str, per_launch_j: float = 0.5, instrument: Fingerprint = INSTRUMENT
) -> EnergyMeasurement:
    return EnergyMeasurement(
        spec=of,
        config=config,
        conditions=CONDITIONS,
        fingerprint=instrument.digest,
        artifact_sha256=artifact(of, config).sha256,
        energy=Energy((EnergyWindow(100, 5.0, 100 * per_launch_j, None),), 10.0, None, ("a note",), "meter"),
        run_id="run",
        measured_at=200.0,
        tool_version="0.1.0",
    )


def failure(of: KernelSpec, config: str) -> Failure:
    return Failure(of, config, CONDITIONS, INSTRUMENT.digest, FailureKind.CRASH, "SIGSEGV", "run", 100.0, "0.1.0")


def forged(data: bytes, kind: str, changes: Mapping[str, object]) -> bytes:
    """A result file whose lines of that kind say something else, linked anew by somebody who knows how."""
    bodies = [json.loads(text) for text in data.splitlines()]
    return linked({**body, kind: {**body[kind], **changes}} if kind in body else body for body in bodies)


def linked(bodies: Iterable[Mapping[str, Any]]) -> bytes:
    """Those lines as a file; what they say of their chain does not count."""
    before, lines = chain.START, []
    for body in bodies:
        ((kind, content),) = ((key, value) for key, value in body.items() if key != "chain")
        before, line = chain.link(before, kind, content)
        lines.append(line)
    return b"".join(lines)


@dataclass
class Meter:
    """A counter, or none."""

    name: str = "meter"
    refusals: tuple[str, ...] = ()

    def read_j(self) -> float | None:
        return None if self.refusals else 1.0

    def power_w(self) -> None:
        return None


NO_METER = Meter("none", ("no counter here",))


@dataclass
class FakeDevice:
    """Answers at once, as a recorded device does, and lets ``clock`` run on.

    medians_s : by kernel and config, drawn from the config's name where it is missing; None fails. before : is called
    ahead of every answer. counter : of energies, of which each takes half a minute. fragile : configs that fail at
    work.
    """

    medians_s: Mapping[tuple[KernelSpec, str], float | None] = field(default_factory=dict)
    costs_s: Mapping[str, float] = field(default_factory=lambda: {"final": 1.0, "screen": 0.1})
    instrument: Fingerprint = INSTRUMENT
    before: Callable[[], None] = lambda: None
    slug: str = "cpu"
    now_s: float = 0.0
    asked: list[tuple[KernelSpec, str, str]] = field(default_factory=list)
    counter: Meter = field(default_factory=Meter)
    fragile: frozenset[str] = frozenset()
    times: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def clock(self) -> float:
        return self.now_s

    def fingerprint(self, compiler: str) -> Fingerprint:
        return self.instrument

    def recall(self, artifact: Artifact, conditions: Conditions, stage: str) -> Measurement | Failure:
        self.before()
        self.asked.append((artifact.spec, artifact.config, stage))
        self.now_s += self.costs_s[stage]
        named = hashlib.sha256(f"{artifact.spec.key} {artifact.config}".encode()).digest()[0]
        median_s = self.medians_s.get((artifact.spec, artifact.config), 1.0 + named)
        if median_s is None:
            return failure(artifact.spec, artifact.config)
        return measurement(artifact.spec, artifact.config, median_s, stage, self.instrument)

    def recall_energy(self, artifact: Artifact, conditions: Conditions) -> EnergyMeasurement | Failure:
        self.before()
        self.asked.append((artifact.spec, artifact.config, "energy"))
        self.now_s += ENERGY_RULE.total_s
        if artifact.config in self.fragile:
            return failure(artifact.spec, artifact.config)
        return energy_of(artifact.spec, artifact.config, instrument=self.instrument)

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class FakeNetworks:
    """Answers at once, and lets the device's clock run on by ``cost_s``. ``faults`` : of configurations by name."""

    device: FakeDevice
    cost_s: float = 3.0
    faults: Mapping[str, FailureKind] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)

    def round(self, configuration: Configuration, run: Run, fingerprint: str) -> NetworkRecord:
        self.before()
        assert fingerprint == INSTRUMENT.digest
        self.asked.append(configuration.name)
        self.device.now_s += self.cost_s
        kind = self.faults.get(configuration.name)
        if kind is not None:
            return network_fault(configuration, kind)
        return network_round(configuration, len(self.asked))
