"""Which bit configurations of a network a sweep measures: spread over what an allocation could choose."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import launches
from profiler.allocation.problem import Quantity
from profiler.allocation_stages.allocate import AllocateRequest, allocate
from profiler.errors import NoAllocation
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.network_stages.deployments import uniform_deployment
from profiler.record import CacheMode
from profiler.workload import KernelSpec, Network, Precision

_SEED = 0
_DRAWS = 4
"""Drawn for each that is wanted, at most: a small network has few that differ."""


@dataclass(frozen=True)
class ConfigurationsRequest:
    """So many configurations beside the uniform ones of all ``precisions``, the widest first. ``table`` and
    ``cache_mode`` say whose prices an allocation has, ``sensitivity`` what it minimises."""

    model: str
    count: int
    precisions: tuple[Precision, ...]
    sensitivity: str | None
    table: Path
    cache_mode: CacheMode


@dataclass(frozen=True)
class Configurations:
    """``deployments`` by name, no two that run the same kernels: what is measured twice says nothing of what was not
    measured. Of those that were drawn ``unpriced`` have kernels without a row."""

    deployments: Mapping[str, Deployment]
    unpriced: int

    @property
    def note(self) -> str:
        """What a reader should know of the choice; often empty."""
        if not self.unpriced:
            return ""
        return (
            f"{self.unpriced} configurations were left out, since the table has no rows of their kernels; measure more "
            "(make profile without --no-mixed)"
        )


def configurations(
    request: ConfigurationsRequest, network: Network, latencies_s: Mapping[KernelSpec, float]
) -> Configurations:
    """Errors as those of `allocate`."""
    found, kernels, unpriced = {}, set(), 0
    for name, deployment in _candidates(request, network, latencies_s):
        if deployment is None:
            unpriced += 1
            continue
        key = tuple(launch.spec for launch in launches(network, deployment))
        if key not in kernels:
            kernels.add(key)
            found[name] = deployment
        if len(found) == len(request.precisions) + request.count:
            break
    return Configurations(found, unpriced)


def _candidates(
    request: ConfigurationsRequest, network: Network, latencies_s: Mapping[KernelSpec, float]
) -> Iterator[tuple[str, Deployment | None]]:
    """The uniform ones, then allocations that are spread over the front, and layers drawn by chance; None for one whose
    kernels have no rows."""
    for precision in request.precisions:
        yield f"uniform {precision.name}", uniform_deployment(network, precision, latencies_s)
    asked = AllocateRequest(
        model=request.model,
        lut=request.table,
        sensitivity=request.sensitivity,
        precisions=request.precisions,
        batch=network.batch,
        threads=1,
        cache_mode=request.cache_mode,
    )
    on_front = request.count // 2
    if on_front:
        front = allocate(replace(asked, front=Quantity.LATENCY, points=max(2, on_front))).front
        for index, point in enumerate([] if front is None else front.points, start=1):
            names = [layer.name for layer in network.weighted_layers]
            forced = dict(zip(names, point.precisions, strict=True))
            yield f"front {index}", _forced(asked, request.precisions, forced)
    draw = random.Random(_SEED)
    draws = request.count - on_front
    widest, *others = request.precisions
    narrower = [uniform_precisions(network, precision) for precision in others]
    for index in range(1, _DRAWS * draws + 1):
        share = (1 + (index - 1) % draws) / (draws + 1)
        forced = {
            layer.name: _drawn(widest, [of[layer.inputs[0]] for of in narrower], share, draw).name
            for layer in network.weighted_layers
        }
        yield f"drawn {index}", _forced(asked, request.precisions, forced)


def _drawn(widest: Precision, narrower: Sequence[Precision], share: float, draw: random.Random) -> Precision:
    """In a ``share`` of the draws one of the narrower ones, each as often as another. What does not fit is in none of
    them, but wide (`uniform_precisions`): here as wide as others are."""
    number = draw.random() / share
    drawn = narrower[int(number * len(narrower))] if number < 1 and narrower else widest
    return min(drawn, widest, key=lambda precision: precision.activation_bits)


def _forced(asked: AllocateRequest, precisions: Sequence[Precision], forced: Mapping[str, str]) -> Deployment | None:
    """The fastest way to run the layers in these precisions."""
    forbid = tuple(
        f"{_literal(name)}={p.name}" for name, chosen in forced.items() for p in precisions if p.name != chosen
    )
    try:
        return Deployment.of(allocate(replace(asked, keep=(), forbid=forbid)).bits)
    except NoAllocation:
        return None


def _literal(name: str) -> str:
    """A pattern that fits this name alone: a name itself comes ahead of all patterns, but loses blanks at its ends."""
    if name == name.strip():
        return name
    return "".join(f"[{c}]" if c in "*?[" or c.isspace() else c for c in name)
