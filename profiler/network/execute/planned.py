"""How an integer network runs from compiled kernels, as values: where things lie and what each kernel gets.

What is needed for a while (values, scratch memory) lies in one arena, where memory is used again; what stays (weights
and other parameters, a GPU's counters) lies in one stretch of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from profiler.record import require_bool, require_count


class Memory(str, Enum):
    """The two stretches of memory."""

    ARENA = "arena"
    PARAMETERS = "parameters"


@dataclass(frozen=True)
class Place:
    """``nbytes`` from ``offset`` on."""

    memory: Memory
    offset: int
    nbytes: int

    def __post_init__(self) -> None:
        require_count("offset", self.offset)
        require_count("nbytes", self.nbytes)

    @staticmethod
    def from_dict(body: Mapping[str, Any]) -> Place:
        """Inverse of `dataclasses.asdict`, as JSON leaves it; `ValueError`, `TypeError` or `KeyError` for what is
        none."""
        return Place(Memory(body["memory"]), body["offset"], body["nbytes"])

    @property
    def slice(self) -> slice:
        return slice(self.offset, self.offset + self.nbytes)


@dataclass(frozen=True)
class PlannedValue:
    """A tensor that goes in or comes out."""

    name: str
    place: Place

    @staticmethod
    def from_dict(body: Mapping[str, Any]) -> PlannedValue:
        """As `Place.from_dict`."""
        return PlannedValue(str(body["name"]), Place.from_dict(body["place"]))


@dataclass(frozen=True)
class PlannedStep:
    """A launch. ``kernel`` counts in `Plan.kernels`, ``args`` are in call order. ``output`` is all of the value that is
    written, also where the kernel writes a slice of it and its argument begins further on; ``begins``: no step ahead of
    this one wrote to that value."""

    name: str
    layer: str
    kernel: int
    args: tuple[Place, ...]
    output: Place
    begins: bool

    def __post_init__(self) -> None:
        require_count("kernel", self.kernel)
        require_bool("begins", self.begins)

    @staticmethod
    def from_dict(body: Mapping[str, Any]) -> PlannedStep:
        """As `Place.from_dict`."""
        return PlannedStep(
            name=str(body["name"]),
            layer=str(body["layer"]),
            kernel=body["kernel"],
            args=tuple(map(Place.from_dict, body["args"])),
            output=Place.from_dict(body["output"]),
            begins=body["begins"],
        )


@dataclass(frozen=True)
class Plan:
    """How a network runs.

    ``kernels`` are the keys of the distinct kernel specs (`KernelSpec.key`) in order of first use. Inputs keep their
    memory to the end, so that a run can be repeated. ``needed_nbytes`` is the most that values and scratch memory take
    together during one step, below which no arena can be; ``unshared_nbytes`` is what they take without sharing.
    """

    kernels: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    inputs: tuple[PlannedValue, ...]
    outputs: tuple[PlannedValue, ...]
    arena_nbytes: int
    parameter_nbytes: int
    needed_nbytes: int
    unshared_nbytes: int

    def __post_init__(self) -> None:
        """Raises `ValueError` for a place beyond its memory, or a kernel that is not there."""
        for name in ("arena_nbytes", "parameter_nbytes", "needed_nbytes", "unshared_nbytes"):
            require_count(name, getattr(self, name))
        ends = {Memory.ARENA: self.arena_nbytes, Memory.PARAMETERS: self.parameter_nbytes}
        places = [value.place for value in (*self.inputs, *self.outputs)]
        places += [place for step in self.steps for place in (step.output, *step.args)]
        if any(place.offset + place.nbytes > ends[place.memory] for place in places):
            raise ValueError("a value lies beyond the end of its memory")
        if any(step.kernel >= len(self.kernels) for step in self.steps):
            raise ValueError("a step has a kernel that is not there")

    @staticmethod
    def from_dict(body: Mapping[str, Any]) -> Plan:
        """As `Place.from_dict`."""
        return Plan(
            kernels=tuple(body["kernels"]),
            steps=tuple(map(PlannedStep.from_dict, body["steps"])),
            inputs=tuple(map(PlannedValue.from_dict, body["inputs"])),
            outputs=tuple(map(PlannedValue.from_dict, body["outputs"])),
            arena_nbytes=body["arena_nbytes"],
            parameter_nbytes=body["parameter_nbytes"],
            needed_nbytes=body["needed_nbytes"],
            unshared_nbytes=body["unshared_nbytes"],
        )

    def where(self, index: int) -> str:
        """A step, for messages."""
        step = self.steps[index]
        name = f" ({step.name})" if step.name != step.layer else ""
        return f"step {index}, layer '{step.layer}'{name}, kernel {self.kernels[step.kernel]}"
