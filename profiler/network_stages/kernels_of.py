"""Compiled kernels for the steps of a network, with the schedule configs that the user's table was measured with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from profiler.artifact import Artifact
from profiler.errors import CompilerError, FingerprintMismatch, InvalidConfig, InvalidFile
from profiler.kernels.pool_build import BuildFailure
from profiler.lut.schema import LutRow, Source
from profiler.network.integer_network import IntegerNetwork
from profiler.record import Conditions, Fingerprint
from profiler.space.config import ScheduleConfig, parse_config, to_text
from profiler.targets import Target
from profiler.workload import KernelSpec


class Builder(Protocol):
    """`pool_build.BuildPool`, or `cached_build.CachedBuilds`."""

    def build(self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]) -> list[Artifact | BuildFailure]: ...


@dataclass(frozen=True)
class Chosen:
    """A kernel of a network. ``row`` is the one that its config is taken from, None for the analytic default.
    ``layers`` are those that run it."""

    spec: KernelSpec
    config: ScheduleConfig
    row: LutRow | None
    layers: tuple[str, ...]


def chosen_configs(
    network: IntegerNetwork,
    rows: Iterable[LutRow],
    conditions: Conditions,
    fingerprint: Fingerprint,
    target: Target,
    allow_default: bool = False,
) -> tuple[Chosen, ...]:
    """One for each distinct kernel of the network, in the order of their first use.

    rows : of the user's table; measured ones under these conditions count, a network runs on one thread.
    fingerprint : that of this device with the compiler at hand, which ``target`` builds for. allow_default : take the
    analytic model's config for kernels that have no row.

    Raises `FingerprintMismatch` for rows of another device or compiler, and `InvalidFile` for a kernel that has no row,
    or whose row has a config that its template does not admit, naming its layer. `InvalidConfig` where no config is
    valid at all.
    """
    if conditions.threads != 1:
        raise InvalidConfig(f"a network runs on one thread, not on {conditions.threads}")
    measured = {row.spec: row for row in rows_with_config(rows, conditions)}
    layers: dict[KernelSpec, list[str]] = {}
    for step in network.steps:
        layers.setdefault(step.spec, []).append(step.layer)
    found = []
    for spec, names in layers.items():
        row = measured.get(spec)
        if row is not None:
            _require_instrument(row, fingerprint)
            config = config_of(row, names[0], target, "measure it again (make profile)")
        elif allow_default:
            config = target.default_config(spec)
        else:
            raise InvalidFile(
                f"layer '{names[0]}': the table has no measured row of kernel {spec.key} ({conditions.describe()}); "
                "measure it (make profile), or allow the config that the analytic model holds for the fastest "
                "(--allow-default)"
            )
        found.append(Chosen(spec, config, row, tuple(names)))
    return tuple(found)


def rows_with_config(rows: Iterable[LutRow], conditions: Conditions) -> Iterator[LutRow]:
    """The measured ones under these conditions that say with which config."""
    return (r for r in rows if r.conditions == conditions and r.source is Source.MEASURED and r.config)


def kernels_of(chosen: Sequence[Chosen], builds: Builder, compiler: str) -> Mapping[KernelSpec, Artifact]:
    """The kernels, compiled in worker processes.

    compiler : that of the fingerprint. Raises `CompilerError` for a kernel that does not compile, naming its layer, and
    `FingerprintMismatch` for one that came from another compiler.
    """
    artifacts = {}
    for kernel, result in zip(chosen, builds.build([(k.spec, k.config) for k in chosen]), strict=True):
        where = f"layer '{kernel.layers[0]}': kernel {kernel.spec.key} with {to_text(kernel.config)}"
        if isinstance(result, BuildFailure):
            raise CompilerError(f"{where} does not compile: {result.message}")
        if result.compiler != compiler:
            raise FingerprintMismatch(f"{where} was built by {result.compiler}, not by {compiler}; build it again")
        artifacts[kernel.spec] = result
    return artifacts


def _require_instrument(row: LutRow, fingerprint: Fingerprint) -> None:
    if row.fingerprint != fingerprint.short:
        raise FingerprintMismatch(
            f"the table is of {row.device_name} ({row.fingerprint}), and not of this {fingerprint.device_name} with "
            f"{fingerprint.compiler} ({fingerprint.short}); measure its kernels here (make profile)"
        )


def config_of(row: LutRow, layer: str, target: Target, advice: str) -> ScheduleConfig:
    """The row's config. Raises `InvalidFile`, naming a layer that runs the kernel and ending in the ``advice``, where
    the template does not admit it."""
    try:
        config = parse_config(row.config)
        target.check_config(row.spec, config)
    except InvalidConfig as error:
        raise InvalidFile(
            f"layer '{layer}': the table's config of kernel {row.spec.key} cannot be used: {error}; {advice}"
        ) from None
    return config
