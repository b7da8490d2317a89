"""What a bundle measures: ``manifest.json`` in the zip."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.record import (
    Conditions,
    escaped,
    require_bool,
    require_count,
    require_digest,
    require_number,
    require_text,
)
from profiler.workload import KernelSpec

MANIFEST_VERSION = 3
"""1: first version. 2: networks. 3: energy. A manifest travels with the code that reads it, so that there is no other
to read."""


def artifact_path(sha256: str) -> str:
    """Of an artifact in the zip."""
    return f"artifacts/{sha256}.lbk"


@dataclass(frozen=True)
class Candidate:
    """A schedule config of a kernel, its modelled latency in seconds, and the digest of its artifact."""

    config: str
    modelled_s: float
    sha256: str

    def __post_init__(self) -> None:
        require_text("config", self.config)
        require_number("modelled_s", self.modelled_s)
        require_digest("sha256", self.sha256)


@dataclass(frozen=True)
class Kernel:
    """A kernel, the layers that need it, and its candidates: the one that networks run, then the best modelled first.

    ``mixed``: only networks of mixed precision need it.
    """

    spec: KernelSpec
    layers: tuple[str, ...]
    mixed: bool
    candidates: tuple[Candidate, ...]

    def __post_init__(self) -> None:
        require_bool("mixed", self.mixed)
        if not all(isinstance(layer, str) for layer in self.layers):
            raise ValueError(f"a layer of {self.spec.key} is not a text")
        if not self.candidates:
            raise ValueError(f"{self.spec.key} has no candidate")
        if len({candidate.config for candidate in self.candidates}) < len(self.candidates):
            raise ValueError(f"{self.spec.key} has a candidate twice")

    @property
    def weight_s(self) -> float:
        """What it contributes to the network's latency, by the model."""
        return self.candidates[0].modelled_s * len(self.layers)


@dataclass(frozen=True)
class Configuration:
    """The network with chosen bits, to be run end to end.

    ``narrow_layers`` of its layers have weights of less than 8 bits. ``steps`` : of each step the digest of its
    artifact, which is a candidate of one of the kernels. ``description``, ``parameters`` and ``inputs`` are digests of
    files in the zip (`packed`).
    """

    name: str
    narrow_layers: int
    steps: tuple[str, ...]
    description: str
    parameters: str
    inputs: str

    def __post_init__(self) -> None:
        require_text("the name of a network", self.name)
        require_count("narrow_layers", self.narrow_layers)
        for name in ("description", "parameters", "inputs"):
            require_digest(name, getattr(self, name))
        for artifact in self.steps:
            require_digest("the kernel of a step", artifact)
        if not self.steps:
            raise ValueError(f"network {self.name} has no step")

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Digests of the distinct ones, in the order of their first use, which is that of `Plan.kernels`."""
        return tuple(dict.fromkeys(self.steps))


@dataclass(frozen=True)
class Draw:
    """The digest of the arguments that `quantize.samples` draws for a kernel from a seed."""

    spec: KernelSpec
    seed: int
    sha256: str

    def __post_init__(self) -> None:
        require_count("seed", self.seed)
        require_digest("sha256", self.sha256)


@dataclass(frozen=True)
class Manifest:
    """What is measured, for which device, under which conditions.

    device : slug, e.g. ``h200``. arch : as in the device's fingerprint. machine : of the CPU (``x86_64``), empty for a
    GPU. features : of the CPU, that the kernels use. least_driver : the oldest driver that loads all cubins, empty for
    a CPU. draws : for a test of the random generator; the first one is of a small kernel. configurations : of the
    network, to be run end to end. energy : whether joules are wanted, too.
    """

    tool_version: str
    device: str
    device_name: str
    arch: str
    machine: str
    features: tuple[str, ...]
    least_driver: str
    compiler: str
    conditions: Conditions
    network: str
    batch: int
    kernels: tuple[Kernel, ...]
    draws: tuple[Draw, ...]
    configurations: tuple[Configuration, ...] = ()
    energy: bool = False

    def __post_init__(self) -> None:
        for name in ("tool_version", "device", "device_name", "arch", "machine", "least_driver", "compiler", "network"):
            require_text(name, getattr(self, name))
        for feature in self.features:
            require_text("a feature", feature)
        require_count("batch", self.batch, least=1)
        require_bool("energy", self.energy)
        if not self.draws or not {draw.spec for draw in self.draws} <= {kernel.spec for kernel in self.kernels}:
            raise ValueError("there is no draw, or one is of no kernel")
        if len({configuration.name for configuration in self.configurations}) < len(self.configurations):
            raise ValueError("two networks have one name")
        known = {candidate.sha256 for kernel in self.kernels for candidate in kernel.candidates}
        for configuration in self.configurations:
            if not known.issuperset(configuration.steps):
                raise ValueError(f"network {configuration.name} runs a kernel that is no candidate")

    @property
    def is_gpu(self) -> bool:
        return not self.machine

    @property
    def digest(self) -> str:
        """sha256 of the file, in hex. Artifacts and networks are in it by their own digests."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The file: the same manifest gives the same bytes."""
        body: dict[str, Any] = {**asdict(self), "version": MANIFEST_VERSION}
        body["kernels"] = [{**asdict(kernel), "spec": kernel.spec.to_dict()} for kernel in self.kernels]
        body["draws"] = [{**asdict(draw), "spec": draw.spec.to_dict()} for draw in self.draws]
        return json.dumps(body, sort_keys=True, indent=1).encode() + b"\n"

    @staticmethod
    def from_bytes(data: bytes, origin: str = "manifest.json") -> Manifest:
        """Inverse of `to_bytes`; raises `InvalidFile` naming ``origin``."""
        try:
            body = json.loads(data)
            version = body.pop("version")
            if isinstance(version, bool) or version != MANIFEST_VERSION:
                raise ValueError(f"version {version!r} is not supported (this is version {MANIFEST_VERSION})")
            body["features"] = tuple(body["features"])
            body["conditions"] = Conditions(**body["conditions"])
            body["kernels"] = tuple(_kernel(kernel) for kernel in body["kernels"])
            body["draws"] = tuple(Draw(**{**d, "spec": KernelSpec.from_dict(d["spec"])}) for d in body["draws"])
            body["configurations"] = tuple(
                Configuration(**{**c, "steps": tuple(c["steps"])}) for c in body["configurations"]
            )
            return Manifest(**body)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidWorkload) as error:
            raise InvalidFile(
                f"{origin}: not the manifest of a bundle: {escaped(str(error))}; bundle it again"
            ) from None


def _kernel(body: Mapping[str, Any]) -> Kernel:
    return Kernel(
        spec=KernelSpec.from_dict(body["spec"]),
        layers=tuple(body["layers"]),
        mixed=body["mixed"],
        candidates=tuple(Candidate(**candidate) for candidate in body["candidates"]),
    )
