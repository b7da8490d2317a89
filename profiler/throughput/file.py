"""``lut/<device>.throughput.json``: what networks did in steady state on one instrument.

Raw windows are kept; ``derived`` beside them is for readers without this program, and is not read. A point is one of
each network, configuration and batch: a later run replaces it. Another instrument's points are in another file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from profiler.errors import FingerprintMismatch, InvalidFile
from profiler.lut.age import age_rank
from profiler.output_folder import locked, write_whole
from profiler.throughput.point import Point
from profiler.typed_json import FileFormat, typed

FORMAT, THROUGHPUT_VERSION = "lowbit-profiler throughput", 1
"""1: first version."""
SUFFIX = ".throughput.json"
_DERIVED = "derived"
_FILE = FileFormat(
    FORMAT, THROUGHPUT_VERSION, "is no file of throughputs", "files of throughputs", command="throughput"
)


@dataclass(frozen=True)
class Throughputs:
    """The content of a file. ``fingerprint`` is that of the rows of its table. Raises `ValueError` for two points of
    one key."""

    device: str
    device_name: str
    arch: str
    fingerprint: str
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if len({point.key for point in self.points}) < len(self.points):
            raise ValueError("a network, configuration and batch is there twice")


def to_bytes(found: Throughputs) -> bytes:
    """The same content gives the same bytes: points are ordered by their keys."""
    body = asdict(found)
    body["points"] = [
        {**asdict(point), _DERIVED: _derived(point)} for point in sorted(found.points, key=lambda point: point.key)
    ]
    whole = {"format": FORMAT, "version": THROUGHPUT_VERSION, **body}
    return (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode()


def read(path: Path) -> Throughputs:
    """Raises `InvalidFile` that names the file and what is wrong."""
    body = _FILE.read(path)
    try:
        found: Throughputs = typed(Throughputs, body, "throughputs", _not_read)
    except ValueError as error:
        raise InvalidFile(f"{path}: {error}; move it away, or measure again (throughput)") from None
    return found


def path_for(folder: Path, device: str, fingerprint: str) -> Path:
    """The file of that instrument (``fingerprint`` as in the rows): ``<device>.throughput.json``, unless that is of
    another one. Raises `InvalidFile` if the file that decides is damaged."""
    path = folder / f"{device}{SUFFIX}"
    if path.exists() and read(path).fingerprint != fingerprint:
        return folder / f"{device}-{fingerprint}{SUFFIX}"
    return path


def require(path: Path, fingerprint: str) -> None:
    """Ahead of the work. Raises `InvalidFile` for a file to which nothing can be added, and `FingerprintMismatch` for
    one of another instrument."""
    if path.exists():
        _require_instrument(path, read(path), fingerprint)


def update(path: Path, new: Throughputs, now: float | None = None) -> Throughputs:
    """Add the points to the file (made if it is not there), under its lock; of two of one key the later one stays, but
    for one that lies in the future (``now`` as in `lut.store.merge`). Returns what the file then holds.

    Raises `InvalidFile` for a damaged file and `FingerprintMismatch` for one of another instrument, both untouched;
    `OutputError` if it cannot be written.
    """
    today = time.time() if now is None else now
    with locked(path):
        old: Sequence[Point] = ()
        if path.exists():
            known = read(path)
            _require_instrument(path, known, new.fingerprint)
            old = known.points
        points = {point.key: point for point in old}
        for point in new.points:
            other = points.get(point.key)
            if other is None or age_rank(other.measured_at, today) <= age_rank(point.measured_at, today):
                points[point.key] = point
        merged = Throughputs(
            new.device, new.device_name, new.arch, new.fingerprint, tuple(points[key] for key in sorted(points))
        )
        write_whole(path, to_bytes(merged))
    return merged


def beside(table: Path) -> tuple[Path, ...]:
    """The files of throughputs in the folder of a table."""
    return tuple(sorted(table.parent.glob(f"*{SUFFIX}")))


def _require_instrument(path: Path, found: Throughputs, fingerprint: str) -> None:
    if found.fingerprint != fingerprint:
        raise FingerprintMismatch(
            f"{path}: is of {found.device_name} ({found.fingerprint}), and not of this instrument ({fingerprint}); "
            "name another file with --out"
        )


def _not_read(kind: type) -> Collection[str]:
    return (_DERIVED,) if kind is Point else ()


def _derived(point: Point) -> dict[str, float | None]:
    latency = point.latency
    return {
        "images_per_s": point.images_per_s,
        "images_per_s_ci95_low": point.batch / latency.high_s,
        "images_per_s_ci95_high": point.batch / latency.low_s,
        "latency_s": latency.latency_s,
        "latency_ci95_low_s": latency.low_s,
        "latency_ci95_high_s": latency.high_s,
        "j_per_image": point.j_per_image,
        "images_per_j": point.images_per_j,
        "power_w": point.power_w,
    }
