"""What the bench of the ranking replays: searches and sweeps that were once measured, condensed to two tables.

Both are gzipped CSV, one config of a kernel to a line; the README beside them says where they come from.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf
from pathlib import Path
from typing import TypeVar

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.predictor.configs.prediction import one_each
from profiler.predictor.configs.thinning import evenly
from profiler.record import STAGES, Journal, Measurement
from profiler.workload import KernelSpec

SEARCHES, SWEEPS = "searches.csv.gz", "sweeps.csv.gz"
MOST_CONFIGS = 24
"""Of a kernel that was searched, in the condensed table."""
_SEARCH_COLUMNS = ("kernel", "config", "latency_s", "relative_halfwidth", "stage")
_SWEEP_COLUMNS = ("kernel", "config", "latency_s", "failed")
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Timed:
    """A config that a search measured: median in seconds, and half the width of its 95% interval as a share of it."""

    spec: KernelSpec
    config: str
    latency_s: float
    relative_halfwidth: float
    stage: str

    def __post_init__(self) -> None:
        if not (0 < self.latency_s < inf and 0 <= self.relative_halfwidth < inf and self.stage in STAGES):
            raise ValueError("a latency is positive, its interval not negative, the stage screen or final")


@dataclass
class Sweep:
    """All configs of a kernel's space, or many of them: medians in seconds by config text, and what failed."""

    spec: KernelSpec
    latencies_s: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @property
    def configs(self) -> tuple[str, ...]:
        """Texts of all that were tried, in a fixed order without meaning."""
        return tuple(sorted(self.latencies_s.keys() | self.failed))

    @property
    def best_s(self) -> float:
        return min(self.latencies_s.values())


def read_searches(path: Path) -> tuple[Timed, ...]:
    """Raises `InvalidFile` for what is no such table."""

    def timed(row: Mapping[str, str]) -> Timed:
        latency_s, halfwidth = float(row["latency_s"]), float(row["relative_halfwidth"])
        return Timed(_kernel(row["kernel"]), row["config"], latency_s, halfwidth, row["stage"])

    return tuple(_rows(path, timed))


def read_sweeps(path: Path) -> tuple[Sweep, ...]:
    """In the order of the file, gzipped or not. Raises `InvalidFile` for what is no such table, or has no latency."""
    sweeps: dict[KernelSpec, Sweep] = {}

    def parsed(row: Mapping[str, str]) -> tuple[KernelSpec, str, float | None]:
        failed = {"0": False, "1": True}[row["failed"]]
        return _kernel(row["kernel"]), row["config"], None if failed else float(row["latency_s"])

    for spec, config, latency_s in _rows(path, parsed):
        sweep = sweeps.setdefault(spec, Sweep(spec))
        if latency_s is None:
            sweep.failed.add(config)
        else:
            sweep.latencies_s[config] = latency_s
    silent = [sweep.spec.key for sweep in sweeps.values() if not sweep.latencies_s]
    if silent or not sweeps:
        raise InvalidFile(f"{path}: holds no latency{f' of {silent[0]}' if silent else ''}; sweep it again")
    return tuple(sweeps.values())


def condense(logs: Path, sweeps: Path, folder: Path) -> None:
    """Write the two tables of journals (a folder of them) and of a file of sweeps. Raises `InvalidFile`."""
    records = [r for path in sorted(logs.glob("*.jsonl")) for r in Journal(path).read()]
    measurements = [r for r in records if isinstance(r, Measurement)]
    if not measurements:
        raise InvalidFile(f"{logs}: holds no journal with a measurement; give the folder tuning_logs/<device> of a run")
    if len({(m.fingerprint, m.conditions) for m in measurements}) > 1:
        raise InvalidFile(f"{logs}: is of several instruments or conditions; keep the journals of one")
    folder.mkdir(parents=True, exist_ok=True)
    searched = [
        (_text(t.spec), t.config, f"{t.latency_s:.6g}", f"{t.relative_halfwidth:.3g}", t.stage)
        for t in thinned(measurements)
    ]
    _write(folder / SEARCHES, _SEARCH_COLUMNS, searched)
    swept = [
        (_text(s.spec), c, f"{s.latencies_s[c]:.6g}" if c in s.latencies_s else "", str(int(c in s.failed)))
        for s in read_sweeps(sweeps)
        for c in s.configs
    ]
    _write(folder / SWEEPS, _SWEEP_COLUMNS, swept)


def thinned(measurements: Iterable[Measurement]) -> Iterator[Timed]:
    """One row per kernel and config, as a model sees them; of kernels with more than `MOST_CONFIGS` the fastest config
    and others evenly down to the slowest."""
    kernels: dict[KernelSpec, list[Measurement]] = {}
    for m in one_each(measurements):
        kernels.setdefault(m.spec, []).append(m)
    for found in kernels.values():
        found.sort(key=lambda m: (m.summary.median_s, m.config))
        for m in evenly(found, MOST_CONFIGS):
            yield Timed(m.spec, m.config, m.summary.median_s, m.summary.relative_halfwidth, m.stage)


def _rows(path: Path, parse: Callable[[Mapping[str, str]], _Row]) -> Iterator[_Row]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path}: cannot be read: {error}") from None
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        try:
            yield parse(row)
        except (KeyError, TypeError, ValueError, InvalidWorkload) as error:
            raise InvalidFile(f"{path}, line {number}: not a row of such a table: {error}") from None


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


def _text(spec: KernelSpec) -> str:
    return json.dumps(spec.to_dict(), separators=(",", ":"))


@cache
def _kernel(text: str) -> KernelSpec:
    return KernelSpec.from_dict(json.loads(text))
