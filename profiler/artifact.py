"""The artifact: a compiled kernel with everything that is needed to launch and check it without its compiler."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.quantize.packing import Packing
from profiler.workload import KernelSpec

ARTIFACT_VERSION = 2
_MAGIC = b"LBPA"


class Role(str, Enum):
    """What a kernel does with an argument."""

    INPUT = "input"
    PARAMETER = "parameter"  # weights, bias, requantization: constant over inferences
    OUTPUT = "output"
    INOUT = "inout"  # written in part; what was there stays
    WORKSPACE = "workspace"  # scratch, contents undefined
    COUNTERS = "counters"  # zero ahead of the first launch; every launch leaves them zero


@dataclass(frozen=True)
class ArgSpec:
    """One pointer argument, in call order. Names are those of `quantize.samples`, ``workspace`` or ``counters``."""

    name: str
    role: Role
    nbytes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", Role(self.role))
        if self.nbytes < 0:
            raise ValueError(f"argument {self.name}: negative size")


@dataclass(frozen=True)
class Launch:
    """How a GPU kernel is launched: blocks in x, y, z, threads of a block (in x), dynamic shared memory of a block."""

    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", tuple(self.grid))
        if len(self.grid) != 3 or min(self.grid) < 1 or self.threads < 1 or self.shared_bytes < 0:
            raise ValueError(f"impossible launch: grid {self.grid}, {self.threads} threads, {self.shared_bytes} bytes")


@dataclass(frozen=True)
class Resources:
    """What a GPU kernel needs, and what it is made of.

    Of a thread: ``registers``, ``stack_bytes`` of local memory, ``spill_bytes`` stored and loaded because registers
    did not suffice. Of a block: ``shared_bytes`` (static and dynamic), ``threads``. On the target: ``blocks_per_sm``
    that are resident together, and ``occupancy``, the part of an SM's threads that they are.

    ``instructions`` counts the kernel's by class (e.g. ``IMMA.8816.S8.S8``, ``LDG.128``, ``BAR``), ``main_loop`` those
    of the innermost loop with tensor-core instructions (the whole kernel if there is none). ``least_driver`` is the
    oldest driver that loads a cubin of ``cubin_abi``.
    """

    registers: int
    stack_bytes: int
    spill_bytes: int
    shared_bytes: int
    threads: int
    blocks_per_sm: int
    occupancy: float
    instructions: Mapping[str, int] = field(hash=False)
    main_loop: Mapping[str, int] = field(hash=False)
    cubin_abi: int
    least_driver: str

    def __post_init__(self) -> None:
        for name in ("instructions", "main_loop"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        sizes = (self.registers, self.stack_bytes, self.spill_bytes, self.shared_bytes, self.cubin_abi)
        if min(sizes) < 0 or min(self.threads, self.blocks_per_sm) < 1 or not 0 < self.occupancy <= 1:
            raise ValueError(f"impossible resources of a kernel: {self}")
        excess = {k: n for k, n in self.main_loop.items() if not 0 < n <= self.instructions.get(k, 0)}
        if excess:
            raise ValueError(f"the main loop has instructions that the kernel has not: {excess}")


@dataclass(frozen=True)
class Check:
    """How a launch is proven right: arguments drawn by `quantize.samples` from ``seed``, and what must come out."""

    seed: int
    output_sha256: str


@dataclass(frozen=True)
class Artifact:
    """A compiled kernel.

    CPU: ``code`` is a shared object whose ``entry`` takes one pointer per argument and returns nothing, next to the
    timing loop of `kernels/cpu/runtime.c`; ``features`` are the CPU features that the code uses.
    GPU: ``code`` is a cubin for ``arch`` whose kernel ``entry`` takes one pointer per argument; ``launch`` and
    ``resources`` are there, ``features`` is empty and ``threads`` (of the CPU) is 1.

    ``native`` is false where the instruction set emulates the arithmetic.
    """

    spec: KernelSpec
    config: str
    threads: int
    entry: str
    arch: str
    features: tuple[str, ...]
    args: tuple[ArgSpec, ...]
    packing: Packing
    check: Check
    compiler: str
    native: bool
    code: bytes
    launch: Launch | None = None
    resources: Resources | None = None

    def __post_init__(self) -> None:
        launch, resources = self.launch, self.resources
        if (launch is None) != (resources is None):
            raise ValueError("launch and resources belong together")
        if launch is None or resources is None:
            return
        if launch.threads != resources.threads or launch.shared_bytes > resources.shared_bytes:
            raise ValueError(f"a launch of {launch} contradicts the resources {resources}")

    @property
    def sha256(self) -> str:
        """Digest of the code and of everything that decides how it is called."""
        return hashlib.sha256(self._header() + self.code).hexdigest()

    def _header(self) -> bytes:
        header: dict[str, Any] = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("spec", "args", "packing", "check", "code", "launch", "resources")
        }
        header["spec"] = self.spec.to_dict()
        header["args"] = [{"name": a.name, "role": a.role.value, "nbytes": a.nbytes} for a in self.args]
        header["packing"] = asdict(self.packing)
        header["check"] = asdict(self.check)
        header["launch"] = None if self.launch is None else asdict(self.launch)
        header["resources"] = None if self.resources is None else asdict(self.resources)
        return json.dumps({"version": ARTIFACT_VERSION, **header}, sort_keys=True).encode()

    def to_bytes(self) -> bytes:
        """Magic, length of the JSON header (8 bytes, little endian), header, sha256 (32 bytes), code."""
        header = self._header()
        return _MAGIC + len(header).to_bytes(8, "little") + header + bytes.fromhex(self.sha256) + self.code

    @staticmethod
    def from_bytes(data: bytes, origin: str | Path = "artifact") -> Artifact:
        """Inverse of `to_bytes`; raises `InvalidFile` naming ``origin`` if anything does not fit."""
        try:
            if data[:4] != _MAGIC:
                raise ValueError("not an artifact")
            length = int.from_bytes(data[4:12], "little")
            header: Mapping[str, Any] = json.loads(data[12 : 12 + length])
            if header["version"] != ARTIFACT_VERSION:
                raise ValueError(f"version {header['version']} is not supported (this is version {ARTIFACT_VERSION})")
            digest, code = data[12 + length : 44 + length], data[44 + length :]
            artifact = Artifact(
                spec=KernelSpec.from_dict(header["spec"]),
                args=tuple(ArgSpec(**a) for a in header["args"]),
                packing=Packing(**header["packing"]),
                check=Check(**header["check"]),
                launch=None if header["launch"] is None else Launch(**header["launch"]),
                resources=None if header["resources"] is None else Resources(**header["resources"]),
                features=tuple(header["features"]),
                code=code,
                **{k: header[k] for k in ("config", "threads", "entry", "arch", "compiler", "native")},
            )
        except (ValueError, KeyError, TypeError, RecursionError, InvalidWorkload) as error:
            raise InvalidFile(f"{origin}: {error}") from None
        if artifact.sha256 != digest.hex():
            raise InvalidFile(f"{origin}: the content does not match its digest; build it again")
        return artifact
