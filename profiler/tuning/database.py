"""The journals of a device: what was tried of every workload, by this run, by earlier ones and by others right now.

One file per workload, ``<folder>/<workload text>.jsonl``, holds the records of all its kernels. Each run writes the
fingerprint of its instrument ahead of its first record. Only records of this instrument and these conditions count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from profiler.errors import InvalidFile, OutputError
from profiler.record import (
    FINAL_STAGE,
    Conditions,
    EnergyMeasurement,
    Failure,
    Fingerprint,
    Journal,
    KernelRecord,
    Measurement,
    of_the_device,
)
from profiler.workload import KernelSpec, Workload


@dataclass
class Tried:
    """What is known of one kernel, by config text: candidates' times, final times, energies, and what has no time.

    A config that ever failed counts as failed, whatever it measured before.
    """

    screened: dict[str, Measurement] = field(default_factory=dict)
    finals: dict[str, Measurement] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    energies: dict[str, EnergyMeasurement] = field(default_factory=dict)

    def add(self, record: KernelRecord) -> None:
        if isinstance(record, Failure):
            self.failed[record.config] = record
        elif isinstance(record, EnergyMeasurement):
            self.energies[record.config] = record
        elif record.stage == FINAL_STAGE:
            self.finals[record.config] = record
        else:
            self.screened[record.config] = record

    def __len__(self) -> int:
        """Configs that were tried."""
        return len(self.screened.keys() | self.finals.keys() | self.failed.keys())

    def __contains__(self, config: object) -> bool:
        return config in self.screened or config in self.finals or config in self.failed

    @property
    def measured_s(self) -> Mapping[str, float]:
        """Medians of the configs that work: those of the search, or final ones where there is no other."""
        times = {**self.finals, **self.screened}
        return {config: m.summary.median_s for config, m in times.items() if config not in self.failed}

    @property
    def ranked(self) -> tuple[str, ...]:
        """The configs that work, fastest first."""
        times = self.measured_s
        return tuple(sorted(times, key=lambda config: (times[config], config)))

    @property
    def best(self) -> Measurement | None:
        """The final measurement with the lowest median, of a config that never failed."""
        finals = [m for config, m in self.finals.items() if config not in self.failed]
        return min(finals, key=lambda m: (m.summary.median_s, m.config), default=None)

    @property
    def energy(self) -> EnergyMeasurement | None:
        """Of the best config."""
        return None if self.best is None else self.energies.get(self.best.config)

    @property
    def finished(self) -> bool:
        """Whether the winner of the search has a final measurement."""
        return bool(self.ranked) and self.ranked[0] in self.finals


class TuningDatabase:
    """The journals in a folder, as one instrument under the given conditions sees them in the run of that id."""

    def __init__(self, folder: Path, fingerprint: Fingerprint, conditions: Conditions, run_id: str = "") -> None:
        self.folder = folder
        self._run_id = run_id
        self.fingerprint = fingerprint
        self.conditions = conditions
        self._read: dict[Path, tuple[tuple[int, int], tuple[KernelRecord, ...]]] = {}
        self._tried: dict[Path, tuple[tuple[KernelRecord, ...], dict[KernelSpec, Tried]]] = {}
        self._described: set[Path] = set()

    def path(self, workload: Workload) -> Path:
        return self.folder / f"{workload.text}.jsonl"

    def records(self, workload: Workload) -> tuple[KernelRecord, ...]:
        """What is in the workload's journal now, in its order. Raises `InvalidFile` naming a damaged line."""
        return self._records(self.path(workload))

    def measurements(self) -> tuple[Measurement, ...]:
        """All measurements, of all workloads: what a cost model learns from.

        It does without journals that cannot be read; whoever needs one of them for its own sake gets the error.
        """
        records: list[KernelRecord] = []
        for path in sorted(self.folder.glob("*.jsonl")):
            with suppress(InvalidFile):
                records += self._records(path)
        return tuple(record for record in records if isinstance(record, Measurement))

    def tried(self, workload: Workload) -> Mapping[KernelSpec, Tried]:
        """What is known of each kernel of the workload, to be read; kernels of which nothing is known are missing.

        That the device was unstable says nothing of a config: what failed so in another run may be tried again.
        """
        path, records = self.path(workload), self.records(workload)
        if path not in self._tried or self._tried[path][0] is not records:  # each of a journal's kernels asks for all
            known: dict[KernelSpec, Tried] = {}
            for record in records:
                if not of_the_device(record) or record.run_id == self._run_id:
                    known.setdefault(record.spec, Tried()).add(record)
            self._tried[path] = records, known
        return self._tried[path][1]

    def append(self, workload: Workload, records: Iterable[KernelRecord]) -> None:
        """Add records to the workload's journal; they are on disk when this returns."""
        path, new = self.path(workload), tuple(records)
        if not new:
            return
        for record in new:
            if (record.fingerprint, record.conditions) != (self.fingerprint.digest, self.conditions):
                raise ValueError("a record of another instrument, or of other conditions than the database's")
        described = path in self._described and path.exists()
        try:
            Journal(path).append(new if described else (self.fingerprint, *new))
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written: {error.strerror}; make its folder writable or choose another one"
            ) from None
        self._described.add(path)

    def _records(self, path: Path) -> tuple[KernelRecord, ...]:
        try:
            state = path.stat()
        except FileNotFoundError:
            return ()
        version = (state.st_size, state.st_mtime_ns)
        if path not in self._read or self._read[path][0] != version:
            found: list[KernelRecord] = []
            for record in Journal(path).read():
                if isinstance(record, Fingerprint):
                    if record == self.fingerprint:
                        self._described.add(path)
                elif (record.fingerprint, record.conditions) == (self.fingerprint.digest, self.conditions):
                    found.append(record)
            self._read[path] = (version, tuple(found))
        return self._read[path][1]
