"""The artifact: a compiled kernel with everything that is needed to launch and check it without its compiler."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.quantize.packing import Packing
from profiler.workload import KernelSpec

ARTIFACT_VERSION = 1
_MAGIC = b"LBPA"


class Role(str, Enum):
    """What a kernel does with an argument."""

    INPUT = "input"
    PARAMETER = "parameter"  # weights, bias, requantization: constant over inferences
    OUTPUT = "output"
    INOUT = "inout"  # written in part; what was there stays
    WORKSPACE = "workspace"  # scratch, contents undefined


@dataclass(frozen=True)
class ArgSpec:
    """One pointer argument, in call order. Names are those of `quantize.samples`, or ``workspace``."""

    name: str
    role: Role
    nbytes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", Role(self.role))
        if self.nbytes < 0:
            raise ValueError(f"argument {self.name}: negative size")


@dataclass(frozen=True)
class Check:
    """How a launch is proven right: arguments drawn by `quantize.samples` from ``seed``, and what must come out."""

    seed: int
    output_sha256: str


@dataclass(frozen=True)
class Artifact:
    """A compiled kernel.

    ``code`` is a shared object (CPU) whose ``entry`` takes one pointer per argument and returns nothing, next to the
    timing loop of `kernels/cpu/runtime.c`. ``features`` are the CPU features that the code uses. ``native`` is false
    where the instruction set emulates the arithmetic.
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

    @property
    def sha256(self) -> str:
        """Digest of the code and of everything that decides how it is called."""
        return hashlib.sha256(self._header() + self.code).hexdigest()

    def _header(self) -> bytes:
        header: dict[str, Any] = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("spec", "args", "packing", "check", "code")
        }
        header["spec"] = self.spec.to_dict()
        header["args"] = [{"name": a.name, "role": a.role.value, "nbytes": a.nbytes} for a in self.args]
        header["packing"] = asdict(self.packing)
        header["check"] = asdict(self.check)
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
                features=tuple(header["features"]),
                code=code,
                **{k: header[k] for k in ("config", "threads", "entry", "arch", "compiler", "native")},
            )
        except (ValueError, KeyError, TypeError, InvalidWorkload) as error:
            raise InvalidFile(f"{origin}: {error}") from None
        if artifact.sha256 != digest.hex():
            raise InvalidFile(f"{origin}: the content does not match its digest; build it again")
        return artifact
