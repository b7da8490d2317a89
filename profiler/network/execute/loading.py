"""What workers are given, on a CPU and on a GPU alike: plan, parameters and artifacts as one request, and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact
from profiler.devices.buffers import POISON
from profiler.devices.pipe import Header
from profiler.network.execute.planned import Plan

Bytes = npt.NDArray[np.uint8]


def load_request(plan: Plan, parameters: bytes, artifacts: Sequence[Artifact]) -> tuple[Header, bytes]:
    """``artifacts`` : one for each of the plan's kernels, in that order."""
    code = [artifact.to_bytes() for artifact in artifacts]
    header: Header = {"request": "load", "plan": asdict(plan), "artifacts": [len(one) for one in code]}
    return header, b"".join((parameters, *code))


def loaded(request: Header, payload: bytes) -> tuple[Plan, bytes, list[Artifact]]:
    """Inverse of `load_request`."""
    plan = Plan.from_dict(request["plan"])
    at, artifacts = plan.parameter_nbytes, []
    for nbytes in request["artifacts"]:
        artifacts.append(Artifact.from_bytes(payload[at : at + nbytes]))
        at += nbytes
    return plan, payload[: plan.parameter_nbytes], artifacts


def fill_arena(arena: Any, plan: Plan, inputs: bytes) -> None:
    """Write the inputs, which lie one behind the other in ``inputs``, to their places in the arena [arena_nbytes] of
    bytes. All else is poisoned: what a run before this one left must not look like an answer."""
    arena[:] = POISON
    given: Bytes = np.frombuffer(inputs, np.uint8)
    at = 0
    for value in plan.inputs:
        arena[value.place.slice] = given[at : at + value.place.nbytes]
        at += value.place.nbytes
