"""The kernels that a bundle's networks run: demanded with the others, and the first candidates of their kind, so that
the box measures them first and has the sum that a network's latency is set beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from profiler.artifact import Artifact
from profiler.bundle.networks import Integers
from profiler.errors import CompilerError
from profiler.kernel_library.candidates import Candidates
from profiler.kernel_library.choice import Candidate
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.cached_build import CachedBuilds
from profiler.lut.demand import Demand, Role
from profiler.lut.schema import LutRow
from profiler.network_stages.kernels_of import config_of
from profiler.space.config import ScheduleConfig, to_text
from profiler.targets import Target
from profiler.workload import KernelSpec

Built = tuple[Candidate, Artifact]
"""A config, and what was compiled with it."""
_ADVICE = "measure it again, or leave out --lut"


def with_demands_of(networks: Iterable[Integers], demands: Sequence[Demand]) -> tuple[Demand, ...]:
    """The demands, and behind them what else the networks run."""
    known = {demand.spec for demand in demands}
    more: dict[KernelSpec, Demand] = {}
    for network in networks:
        for spec, layers in network.layers.items():
            if spec not in known:
                more.setdefault(spec, Demand(spec, layers, Role.MIXED))
    return (*demands, *more.values())


def network_kernels_first(
    kernels: Sequence[Candidates[Built]],
    networks: Sequence[Integers],
    rows: Iterable[LutRow],
    target: Target,
    cache: ArtifactCache,
) -> tuple[tuple[Candidates[Built], ...], tuple[str, ...]]:
    """The kernels with what networks run ahead of other candidates: the config of the table's row, compiled where it is
    none of them, else the best modelled one. And what a reader should know of it.

    Raises `CompilerError` for a kernel of a network that cannot be built, and `InvalidFile` for a row whose config the
    template does not admit, naming a layer that runs it.
    """
    layers = {spec: own for network in networks for spec, own in network.layers.items()}
    configs = {row.spec: config_of(row, layers[row.spec][0], target, _ADVICE) for row in rows if row.spec in layers}
    by_spec = {kernel.demand.spec: kernel for kernel in kernels}
    missing = [
        (spec, config)
        for spec, config in configs.items()
        if all(artifact.config != to_text(config) for _, artifact in by_spec[spec].built)
    ]
    compiled = dict(zip(missing, _compiled(missing, layers, target, cache), strict=True))
    found = []
    for kernel in kernels:
        spec = kernel.demand.spec
        config = configs.get(spec)
        if config is not None:
            kernel = _with_first(
                kernel, Candidate(config, target.modelled_s(spec, config)), compiled.get((spec, config))
            )
        if spec in layers and not kernel.built:
            raise CompilerError(f"layer '{layers[spec][0]}': kernel {spec.key} cannot be built: {kernel.obstacle}")
        found.append(kernel)
    without = len(layers) - len(configs)
    note = f"{without} of the networks' {len(layers)} kernels run with the config that a model holds for the fastest"
    return tuple(found), ((note,) if without else ())


def artifacts_of(network: Integers, kernels: Iterable[Candidates[Built]]) -> Mapping[KernelSpec, Artifact]:
    """The first candidates of the network's kernels."""
    first = {kernel.demand.spec: kernel.built[0][1] for kernel in kernels if kernel.built}
    return {spec: first[spec] for spec in network.layers}


def _with_first(kernel: Candidates[Built], candidate: Candidate, compiled: Artifact | None) -> Candidates[Built]:
    """With this config ahead of the others; ``compiled`` is None where it is one of them."""
    text = to_text(candidate.config)
    others = tuple(built for built in kernel.built if built[1].config != text)
    own = [built for built in kernel.built if built[1].config == text]
    first = own[0] if compiled is None else (candidate, compiled)
    return replace(kernel, built=(first, *others))


def _compiled(
    requests: Sequence[tuple[KernelSpec, ScheduleConfig]],
    layers: Mapping[KernelSpec, Sequence[str]],
    target: Target,
    cache: ArtifactCache,
) -> list[Artifact]:
    with CachedBuilds(target.backend, cache) as builds:
        results = builds.build(requests)
    found = []
    for (spec, config), result in zip(requests, results, strict=True):
        if not isinstance(result, Artifact):
            raise CompilerError(
                f"layer '{layers[spec][0]}': kernel {spec.key} with {to_text(config)}, the table's config, does not "
                f"compile: {result.message}"
            )
        found.append(result)
    return found
