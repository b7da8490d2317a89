"""What came back: verified to the last line, then into the journals, the LUT, and the end-to-end latencies of networks.
Twice is as good as once."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from profiler.bundle import end_to_end_file
from profiler.bundle.box.end_to_end import EndToEnd, end_to_end
from profiler.bundle.box.results import NO_ENERGY, Header, Results, parse
from profiler.errors import FingerprintMismatch, InvalidFile, OutputError
from profiler.lut import store
from profiler.lut.build import build as build_rows
from profiler.lut.build import failed_configs, row_of
from profiler.lut.schema import COLUMNS, LutRow, RowError
from profiler.output_folder import require_writable, write_whole
from profiler.record import EnergyMeasurement, Fingerprint, KernelRecord, Measurement, encode, escaped
from profiler.tuning.database import TuningDatabase
from profiler.workload import Workload


@dataclass(frozen=True)
class Ingested:
    """What became of a file. ``added`` of its ``records`` were new; ``measured`` of its kernels have a row in ``lut``,
    which is None if none has. ``energies`` of the file's kernels are known now, and ``no_energy`` says why the box told
    none, where it was asked for them. ``networks`` ran end to end; those with a latency and a sum of their kernels are
    in ``end_to_end``, which is None if there is none."""

    path: Path
    header: Header
    records: int
    added: int
    measured: int
    lut: Path | None
    logs: Path
    networks: tuple[EndToEnd, ...] = ()
    end_to_end: Path | None = None
    energies: int = 0
    no_energy: str = ""


def load(path: Path, incomplete: bool = False) -> Results:
    """The verified content of a result file.

    Raises `InvalidFile` naming the line that is wrong; a file that was only cut short is taken up to there if
    ``incomplete``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None
    try:
        results = parse(data, path)
    except InvalidFile as error:
        raise InvalidFile(
            f"{error}; copy the file from the box again (what was edited is never taken: measure it)"
        ) from None
    if results.header is None:
        raise InvalidFile(f"{path}, line 1: not a result file of a bundle: it has no whole line")
    fingerprint = results.header.fingerprint
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", fingerprint.device):  # it names files
        raise InvalidFile(f"{path}, line 1: '{fingerprint.device}' is not the name of a device")
    cut = f"line {results.lines + 1}: it is cut short" if results.torn else ""
    if not cut and results.end is None:
        cut = f"line {results.lines}: the file ends here without its closing line"
    if cut and not incomplete:
        raise InvalidFile(
            f"{path}, {cut}; copy it from the box again, or run the bundle again with the same -o, which goes on there "
            "(--incomplete takes what is verified)"
        )
    _require_rows(path, results, fingerprint)
    return results


def ingest(paths: Sequence[Path], out: Path, lut: Path | None = None, incomplete: bool = False) -> tuple[Ingested, ...]:
    """Verify all files, then add each one's records to ``out``/tuning_logs and its rows to ``out``/lut, or to ``lut``.
    Latencies of networks go to ``out``/tuning_logs/<device>/end_to_end.csv.

    Raises `InvalidFile` for a file that is wrong, and `FingerprintMismatch` for a ``lut`` of another instrument, before
    anything is written.
    """
    loaded = [(path, load(path, incomplete)) for path in paths]
    for folder in (out / "tuning_logs", (lut.parent if lut else out / "lut")):
        require_writable(folder)
    if lut is not None:
        _require_one_instrument(lut, [results for _, results in loaded])
    return tuple(_add(path, results, out, lut) for path, results in loaded)


def _require_one_instrument(lut: Path, files: Iterable[Results]) -> None:
    """Of the files' rows and those of the LUT."""
    instruments = {results.header.fingerprint: results for results in files if results.header}
    rows = store.read(lut) if lut.exists() else ()
    for fingerprint, results in instruments.items():
        try:
            rows = store.merge(rows, build_rows(results.records, fingerprint), instruments)
        except FingerprintMismatch as error:
            raise FingerprintMismatch(f"{lut}: {error}") from None


def _require_rows(path: Path, results: Results, fingerprint: Fingerprint) -> None:
    """Raises `InvalidFile` for a measurement from which no row can be made that can be read again."""
    energies = {(r.spec, r.config): r for r in results.records if isinstance(r, EnergyMeasurement)}
    for measurement in (record for record in results.records if isinstance(record, Measurement)):
        energy = energies.get((measurement.spec, measurement.config))
        try:
            LutRow.from_cells(dict(zip(COLUMNS, row_of(measurement, fingerprint, energy).cells, strict=True)))
        except RowError as error:
            raise InvalidFile(
                f"{path}: the measurement of {measurement.spec.key}, {measurement.config}, cannot be: "
                f"{escaped(str(error))}"
            ) from None


def _add(path: Path, results: Results, out: Path, lut: Path | None) -> Ingested:
    header = results.header
    assert header is not None, "verified when it was loaded"
    fingerprint = header.fingerprint
    logs = out / "tuning_logs" / fingerprint.device
    with _locked(logs):
        database = TuningDatabase(logs, fingerprint, header.conditions)
        by_workload: dict[Workload, list[KernelRecord]] = {}
        for record in results.records:
            by_workload.setdefault(record.spec.workload, []).append(record)
        old = {workload: database.records(workload) for workload in by_workload}
        new = {workload: _new(records, old[workload]) for workload, records in by_workload.items()}
        records = [r for workload in by_workload for r in (*old[workload], *new[workload])]
        rows, failed = build_rows(records, fingerprint), failed_configs(records, fingerprint)
        target = lut or store.path_for(out / "lut", fingerprint.device, fingerprint.short)
        if target.exists():
            store.merge(store.read(target), rows, known=(fingerprint,))
        networks = end_to_end(results.records, results.networks)
        latencies = logs / end_to_end_file.NAME
        content = end_to_end_file.merged(latencies, end_to_end_file.rows_of(header, networks))
        for workload, added in new.items():  # what could be refused has been
            database.append(workload, added)
        if not rows:
            lut = None
        elif lut is None:
            lut = store.save(out / "lut", fingerprint.device, fingerprint, rows, failed)
        else:
            store.update(lut, rows, (fingerprint,), failed)
        if content is not None:
            write_whole(latencies, content)
    own = {record.spec for record in results.records}
    metered = any(isinstance(record, EnergyMeasurement) for record in results.records)
    return Ingested(
        path=path,
        header=header,
        records=len(results.records),
        added=sum(map(len, new.values())),
        measured=sum(row.spec in own for row in rows),
        lut=lut,
        logs=logs,
        networks=networks,
        end_to_end=None if content is None else latencies,
        energies=sum(row.spec in own and row.energy_j is not None for row in rows),
        no_energy="" if metered else header.host.get(NO_ENERGY, ""),
    )


def _new(records: Iterable[KernelRecord], known: Iterable[KernelRecord]) -> tuple[KernelRecord, ...]:
    texts = {encode(record) for record in known}
    return tuple(record for record in dict.fromkeys(records) if encode(record) not in texts)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two that take in the same file at once: the second one finds what the first one has added."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".ingest.lock", "ab")  # noqa: SIM115 - closed below, outside of what is an OutputError
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}; make it writable") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
