"""Joules of kernels whose latency is known: of the best config of each, one after the other.

    per kernel:  [ build ] -> [ idle | work | work | work | idle ] -> journal

A bracket is a turn, as those of the `tuner`. What a journal holds is not measured again, so a run that is killed goes
on with the next kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiler.measure.energy import NoEnergy
from profiler.measure.kernel_energy import KernelEnergy
from profiler.measure.stability import require_stable
from profiler.record import EnergyMeasurement, Failure
from profiler.space.config import parse_config
from profiler.tuning.database import Tried, TuningDatabase
from profiler.tuning.events import EnergyTaken, Listener, ignore
from profiler.tuning.workbench import Bench
from profiler.workload import KernelSpec


@dataclass
class Energies:
    """Measures the energy of kernels on one device."""

    bench: Bench
    database: TuningDatabase
    listener: Listener = ignore

    def known(self, spec: KernelSpec) -> EnergyMeasurement | None:
        """Of the best config."""
        return self._tried(spec).energy

    def missing(self, specs: Sequence[KernelSpec]) -> tuple[KernelSpec, ...]:
        """Those that have a latency and no energy. Raises `InvalidFile` for a damaged journal."""

        def lacks(spec: KernelSpec) -> bool:
            found = self._tried(spec)
            return found.best is not None and found.energy is None

        return tuple(filter(lacks, dict.fromkeys(specs)))

    def measure(self, spec: KernelSpec) -> KernelEnergy:
        """Of the best config, which must be known. What came of it is in the journal when this returns; a config that
        fails is no best one any more.

        Raises as `Tuner.tune`, also if the device cannot be measured now.
        """
        found = self._measured(spec)
        if not isinstance(found, NoEnergy):
            self.listener(EnergyTaken(spec, found))
        return found

    def _measured(self, spec: KernelSpec) -> KernelEnergy:
        best = self._tried(spec).best
        assert best is not None, "an energy is of what has a latency"
        with self.bench.compiling():
            batch = self.bench.build([(spec, parse_config(best.config))])
        if batch.failures:
            self.database.append(spec.workload, batch.failures)
            return batch.failures[0]
        with self.bench.measuring():
            known = self.known(spec)  # another run may have measured it while this one built or waited
            if known is not None:
                return known
            found = self.bench.energy(batch.artifacts[0])
            if isinstance(found, NoEnergy):
                return found
            self.database.append(spec.workload, [found])
        if isinstance(found, Failure):
            require_stable([found])
        return found

    def _tried(self, spec: KernelSpec) -> Tried:
        return self.database.tried(spec.workload).get(spec, Tried())
