"""What came back: verified to the last line, then into the journals and the LUT. Twice is as good as once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.bundle.box.results import Header, Results, parse
from profiler.errors import InvalidFile
from profiler.lut import store
from profiler.lut.build import build as build_rows
from profiler.output_folder import require_writable
from profiler.record import Failure, Measurement, encode
from profiler.tuning.database import TuningDatabase
from profiler.workload import Workload


@dataclass(frozen=True)
class Ingested:
    """What became of a file. ``added`` of its ``records`` were new; ``measured`` of its kernels have a row in ``lut``,
    which is None if none has."""

    path: Path
    header: Header
    records: int
    added: int
    measured: int
    lut: Path | None
    logs: Path


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
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", results.header.fingerprint.device):  # it names files
        raise InvalidFile(f"{path}, line 1: '{results.header.fingerprint.device}' is not the name of a device")
    cut = f"line {results.lines + 1}: it is cut short" if results.torn else ""
    if not cut and results.end is None:
        cut = f"line {results.lines}: the file ends here without its closing line"
    if cut and not incomplete:
        raise InvalidFile(
            f"{path}, {cut}; copy it from the box again, or run the bundle again with the same -o, which goes on there "
            "(--incomplete takes what is verified)"
        )
    return results


def ingest(paths: Sequence[Path], out: Path, lut: Path | None = None, incomplete: bool = False) -> tuple[Ingested, ...]:
    """Verify all files, then add each one's records to ``out``/tuning_logs and its rows to ``out``/lut, or to ``lut``.

    Raises `InvalidFile` for a file that is wrong, before anything is written, and `FingerprintMismatch` for a ``lut``
    of another instrument.
    """
    loaded = [(path, load(path, incomplete)) for path in paths]
    for folder in (out / "tuning_logs", (lut.parent if lut else out / "lut")):
        require_writable(folder)
    if lut is not None and lut.exists():
        store.read(lut)
    return tuple(_add(path, results, out, lut) for path, results in loaded)


def _add(path: Path, results: Results, out: Path, lut: Path | None) -> Ingested:
    header = results.header
    assert header is not None, "verified when it was loaded"
    fingerprint = header.fingerprint
    logs = out / "tuning_logs" / fingerprint.device
    database = TuningDatabase(logs, fingerprint, header.conditions)
    by_workload: dict[Workload, list[Measurement | Failure]] = {}
    for record in results.records:
        by_workload.setdefault(record.spec.workload, []).append(record)
    added = 0
    for workload, records in by_workload.items():
        known = {encode(record) for record in database.records(workload)}
        new = [record for record in dict.fromkeys(records) if encode(record) not in known]
        database.append(workload, new)
        added += len(new)
    rows = build_rows((r for workload in by_workload for r in database.records(workload)), fingerprint)
    if not rows:
        lut = None
    elif lut is None:
        lut = store.save(out / "lut", fingerprint.device, fingerprint, rows)
    else:
        store.update(lut, rows, known=(fingerprint,))
    own = {record.spec for record in results.records}
    return Ingested(
        path=path,
        header=header,
        records=len(results.records),
        added=added,
        measured=sum(row.spec in own for row in rows),
        lut=lut,
        logs=logs,
    )
