"""The reference kernels on one card: built once for all cards of a model, measured in one call, kept in journals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from profiler.artifact import Artifact
from profiler.fleet.bench import FleetBench
from profiler.fleet.reference_kernels import reference_configs
from profiler.kernels.backend import Backend
from profiler.record import FINAL_STAGE, Failure, Measurement
from profiler.space.config import ScheduleConfig, to_text
from profiler.targets import Target
from profiler.tuning.database import TuningDatabase
from profiler.workload import KernelSpec

Configs = Mapping[str, tuple[KernelSpec, ScheduleConfig]]
"""The reference kernels by name, each with its config."""


@dataclass
class BuiltReferences:
    """For all lanes of a run: what one has built the others use, byte for byte."""

    _built: dict[Backend, Mapping[str, Artifact]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, backend: Backend, wanted: Configs, bench: FleetBench) -> Mapping[str, Artifact]:
        """By name, those that could be built. ``wanted`` are the same for all who build for that backend."""
        with self._lock:
            if backend not in self._built:
                results = bench.builder.build(list(wanted.values()))
                self._built[backend] = {
                    name: result for name, result in zip(wanted, results, strict=True) if isinstance(result, Artifact)
                }
            return self._built[backend]


@dataclass(frozen=True)
class ReferenceWork:
    """``alone`` tells whether no other card of the fleet has this fingerprint. The records of earlier runs are then
    this card's own, and are not measured again; hosts of one kind share a fingerprint, and which of them measured is
    not recorded."""

    target: Target
    database: TuningDatabase
    built: BuiltReferences
    alone: Callable[[], bool]

    def known(self, wanted: Configs) -> dict[str, float]:
        """Seconds by name, of what an earlier run has measured of this card."""
        if not self.alone():
            return {}
        found: dict[str, float] = {}
        for name, (spec, config) in wanted.items():
            tried = self.database.tried(spec.workload).get(spec)
            final = tried.finals.get(to_text(config)) if tried else None
            if final is not None:
                found[name] = final.summary.median_s
        return found

    def measure(self, bench: FleetBench) -> Mapping[str, float]:
        """Seconds by name, of those that work on the card."""
        wanted = reference_configs(self.target)
        known = self.known(wanted)
        missing = [name for name in wanted if name not in known]
        if not missing:
            return known
        built = self.built.of(self.target.backend, wanted, bench)
        artifacts = {name: artifact for name, artifact in built.items() if name in missing}
        records: tuple[Measurement | Failure, ...] = bench.card.measure(
            list(artifacts.values()), bench.conditions, bench.rules.final, FINAL_STAGE, bench.run, bench.watch
        )
        for record in records:
            self.database.append(record.spec.workload, [record])
        measured = {
            name: record.summary.median_s
            for name, record in zip(artifacts, records, strict=True)
            if isinstance(record, Measurement)
        }
        return {**known, **measured}
