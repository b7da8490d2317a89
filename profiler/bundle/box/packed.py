"""A whole network as it lies in the zip: how it runs, and digests of what the integer oracle says.

``networks/<sha256>.json`` is a `PackedNetwork`; ``networks/<sha256>.bin`` are bytes, of parameters or of inputs. Both
are named by their own digest, so that networks share what is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from profiler.network.execute.planned import Plan
from profiler.quantize.spare_bits import SpareBits
from profiler.record import require_count, require_digest, require_text

if TYPE_CHECKING:
    from profiler.artifact import Artifact  # importing it needs NumPy, which may have to come out of the zip

PACKED_VERSION = 2
"""1 knew the spare bits of nibbles alone. A zip's own code reads it: no other version is."""


@dataclass(frozen=True)
class Expected:
    """The sha256 of a value's bytes as they lie in memory, ``spare`` bits counting as zero."""

    sha256: str
    spare: SpareBits = field(default_factory=SpareBits)

    def __post_init__(self) -> None:
        require_digest("sha256", self.sha256)


@dataclass(frozen=True)
class PackedNetwork:
    """``steps``: behind each step, the value that it writes, all values ahead of a concatenation's first slice being
    poisoned as the worker does; ``outputs``: in the plan's order. Raises `ValueError`."""

    plan: Plan
    steps: tuple[Expected, ...]
    outputs: tuple[Expected, ...]

    def __post_init__(self) -> None:
        if (len(self.steps), len(self.outputs)) != (len(self.plan.steps), len(self.plan.outputs)):
            raise ValueError("there is not one expected value for each step and each output")
        texts = [text for step in self.plan.steps for text in (step.name, step.layer)]
        for text in (*texts, *self.plan.kernels, *(value.name for value in self.plan.outputs)):
            require_text("a name", text)
        values = [step.output for step in self.plan.steps] + [value.place for value in self.plan.outputs]
        for value, expected in zip(values, (*self.steps, *self.outputs)):
            if expected.spare.bits and value.nbytes % expected.spare.every:
                raise ValueError("a value does not consist of whole pixels")

    def to_bytes(self) -> bytes:
        """The file: the same network gives the same bytes."""
        return json.dumps({**asdict(self), "version": PACKED_VERSION}, sort_keys=True).encode() + b"\n"

    @staticmethod
    def from_bytes(data: bytes) -> PackedNetwork:
        """Inverse of `to_bytes`; `ValueError`, `TypeError`, `KeyError` or the like for what is none."""
        body = json.loads(data)
        if body["version"] != PACKED_VERSION:
            raise ValueError(f"version {body['version']!r} is not supported (this is version {PACKED_VERSION})")
        return PackedNetwork(
            Plan.from_dict(body["plan"]), tuple(map(_expected, body["steps"])), tuple(map(_expected, body["outputs"]))
        )


@dataclass(frozen=True)
class LoadedNetwork:
    """With all that it needs to run: ``artifacts`` in the order of the plan's kernels, and the bytes of parameters and
    inputs."""

    packed: PackedNetwork
    artifacts: tuple[Artifact, ...]
    parameters: bytes
    inputs: bytes

    @property
    def fault(self) -> str:
        """What of it contradicts the plan; empty if nothing does."""
        plan = self.packed.plan
        if tuple(artifact.spec.key for artifact in self.artifacts) != plan.kernels:
            return "its kernels are not those of its plan"
        if len(self.parameters) != plan.parameter_nbytes:
            return f"it has {len(self.parameters)} bytes of parameters, not {plan.parameter_nbytes}"
        wanted = sum(value.place.nbytes for value in plan.inputs)
        if len(self.inputs) != wanted:
            return f"it has {len(self.inputs)} bytes of inputs, not {wanted}"
        for step in plan.steps:
            sizes = [argument.nbytes for argument in self.artifacts[step.kernel].args]
            if len(sizes) != len(step.args):
                return f"step '{step.name}' has {len(step.args)} arguments, and its kernel takes {len(sizes)}"
        return ""


def _expected(body: Mapping[str, Any]) -> Expected:
    every, bits = body["spare"]["every"], body["spare"]["bits"]
    require_count("every", every)
    require_count("bits", bits)
    return Expected(body["sha256"], SpareBits(every, bits))


def description_path(sha256: str) -> str:
    """Of a `PackedNetwork` in the zip."""
    return f"networks/{sha256}.json"


def bytes_path(sha256: str) -> str:
    """Of parameters or inputs in the zip."""
    return f"networks/{sha256}.bin"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
