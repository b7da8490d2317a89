"""LUT files: read, merge, write atomically, update under a lock, and which file belongs to which instrument.

The csv module and not pandas reads them here, since it knows on which line a cell stands.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Collection, Iterable
from dataclasses import fields
from pathlib import Path

from profiler.errors import FingerprintMismatch, InvalidFile
from profiler.lut.age import age_rank
from profiler.lut.check import scan
from profiler.lut.schema import COLUMNS, LutRow, Source
from profiler.output_folder import locked, write_whole
from profiler.record import Conditions, Fingerprint
from profiler.workload import KernelSpec

Config = tuple[KernelSpec, Conditions, str, str]
"""A config of a kernel under some conditions on some instrument: what ends in the fingerprint and config of a row."""


def read(path: Path) -> tuple[LutRow, ...]:
    """All rows of a sound file; raises `InvalidFile` naming file, line and column of the first defect."""
    rows, findings = scan(path)
    if findings:
        more = f" ({len(findings) - 1} more: see 'lut check')" if len(findings) > 1 else ""
        raise InvalidFile(f"{path}, {findings[0].text}{more}")
    return tuple(rows)


def merge(
    a: Iterable[LutRow], b: Iterable[LutRow], known: Iterable[Fingerprint] = (), now: float | None = None
) -> tuple[LutRow, ...]:
    """The rows of both, ordered by key: independent of order, idempotent, associative.

    Of two rows with one key the later ``measured_at`` stays, but for one that lies in the future of ``now`` (Unix time;
    None is the time of the call): its clock was wrong, and it would stay for ever. At the same time it is one
    measurement: a row that knows its energy stays, then the content decides (the larger digest), so that every order of
    merging ends alike. Raises `FingerprintMismatch` for rows of two instruments and says in what they differ, as far as
    the ``known`` fingerprints or the rows tell.
    """
    today = time.time() if now is None else now

    def rank(row: LutRow) -> tuple[tuple[bool, float], bool, str]:
        return age_rank(row.measured_at, today), row.energy_j is not None, row.digest

    latest: dict[tuple[int | str, ...], LutRow] = {}
    instruments: dict[str, LutRow] = {}
    for row in (*a, *b):
        instruments.setdefault(row.fingerprint, row)
        if len(instruments) > 1:
            raise FingerprintMismatch(_difference(list(instruments.values()), known))
        other = latest.get(row.key)
        if other is None or rank(row) > rank(other):
            latest[row.key] = row
    return tuple(latest[key] for key in sorted(latest))


def _difference(rows: list[LutRow], known: Iterable[Fingerprint]) -> str:
    a, b = rows
    by_short = {f.short: f for f in known}
    if a.fingerprint in by_short and b.fingerprint in by_short:
        left: object = by_short[a.fingerprint]
        right: object = by_short[b.fingerprint]
        names = [f.name for f in fields(Fingerprint)]
    else:
        left, right, names = a, b, ["device", "device_name", "arch"]
    differing = [n for n in names if getattr(left, n) != getattr(right, n)]
    how = "; ".join(f"{n} is '{getattr(left, n)}' in one and '{getattr(right, n)}' in the other" for n in differing)
    return (
        f"rows of two instruments, {a.fingerprint} and {b.fingerprint}, cannot be merged"
        f" ({how or 'the device is of the same model: driver, compiler, power limit or the like has changed'});"
        " keep them in a file each, or measure all again on one"
    )


def to_bytes(rows: Iterable[LutRow]) -> bytes:
    """The file's content: the same rows, in whatever order, give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.cells for row in merge(rows, ()))
    return text.getvalue().encode()


def write(path: Path, rows: Iterable[LutRow]) -> None:
    """Replace the file atomically, whatever it held. Raises `OutputError` if the folder cannot be written."""
    data = to_bytes(rows)
    with locked(path):
        write_whole(path, data)


def update(
    path: Path, rows: Iterable[LutRow], known: Iterable[Fingerprint] = (), failed: Collection[Config] = ()
) -> tuple[LutRow, ...]:
    """Merge ``rows`` into the file (made if it is not there) under its lock, and return what it then holds.

    Measured rows of ``failed`` configs leave it, since an older one of another config may be the best now.
    Raises `InvalidFile` for a damaged file and `FingerprintMismatch` for one of another instrument, both untouched;
    `OutputError` if the folder cannot be written.
    """
    new = tuple(rows)
    with locked(path):
        old = read(path) if path.exists() else None
        sound = [row for row in old or () if row.source is not Source.MEASURED or _config_of(row) not in failed]
        try:
            merged = merge(sound, new, known)
        except FingerprintMismatch as error:
            raise FingerprintMismatch(f"{path}: {error}") from None
        if merged != old:
            write_whole(path, to_bytes(merged))
    return merged


def _config_of(row: LutRow) -> Config:
    return row.spec, row.conditions, row.fingerprint, row.config


def path_for(folder: Path, device: str, fingerprint: str) -> Path:
    """The file of that instrument (``fingerprint`` as in the rows, eight hex digits).

    ``<device>.csv``, unless that holds rows of another instrument: then ``<device>-<fingerprint>.csv``, so that an
    older file never stops a run. Raises `InvalidFile` if the file that decides is damaged.
    """
    path = folder / f"{device}.csv"
    if path.exists() and any(row.fingerprint != fingerprint for row in read(path)):
        return folder / f"{device}-{fingerprint}.csv"
    return path


def save(
    folder: Path, device: str, fingerprint: Fingerprint, rows: Iterable[LutRow], failed: Collection[Config] = ()
) -> Path:
    """`update` the file of that instrument and say which it is. Errors as those of `update` and `path_for`."""
    new = tuple(rows)
    path = path_for(folder, device, fingerprint.short)
    try:
        update(path, new, (fingerprint,), failed)
    except FingerprintMismatch:
        # Another instrument's run may have made the file between the two calls (two cards of one model); a mismatch
        # that stays is a real one.
        path = path_for(folder, device, fingerprint.short)
        update(path, new, (fingerprint,), failed)
    return path
