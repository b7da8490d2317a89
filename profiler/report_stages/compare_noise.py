"""The noise between the runs of two tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

from profiler.lut.schema import LutRow, Source
from profiler.prediction_stages.logs import records_of
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import usual_conditions
from profiler.record import KernelRecord
from profiler.report.content.comparison import Noise
from profiler.report_stages.run_noise import run_noise
from profiler.report_stages.subject import folder_name


def noise_between(
    path_a: Path, a: Sequence[LutRow], path_b: Path, b: Sequence[LutRow], given: float | None = None
) -> Noise:
    """Of each of the latencies: the root of the mean of both variances, so that a ratio has sqrt(2) times as much.

    What the user has ``given`` goes ahead; else it is that of replicates in the journals beside the tables (of tables
    of one instrument those of either tell of both), or assumed. Raises `InvalidFile`, naming the line, for a damaged
    journal.
    """
    if given is not None:
        return Noise(given, "given (--noise)")
    records_a, records_b = _beside(path_a, a), _beside(path_b, b)
    of_a, of_b = run_noise(a, records_a), run_noise(b, records_b)
    if a[0].fingerprint == b[0].fingerprint and of_a.assumed != of_b.assumed:
        of_a = of_b = of_b if of_a.assumed else of_a
    if of_a == of_b:
        return Noise(of_a.sigma, of_a.origin, of_a.assumed)
    origin = f"A {of_a.sigma:.1%} ({of_a.origin}), B {of_b.sigma:.1%} ({of_b.origin})"
    return Noise(sqrt((of_a.sigma**2 + of_b.sigma**2) / 2), origin, of_a.assumed or of_b.assumed)


def _beside(path: Path, rows: Sequence[LutRow]) -> tuple[KernelRecord, ...]:
    """What the journals of the run hold that wrote ``<out>/lut/<name>.csv``, in ``<out>/tuning_logs/``; nothing where
    the table stands elsewhere."""
    folder = Path(os.path.normpath(path.parent / ".." / "tuning_logs" / folder_name(rows[0].device)))
    if path.absolute().parent.name != "lut" or not folder.is_dir():
        return ()
    conditions = usual_conditions(rows)
    row = next(r for r in rows if r.conditions == conditions and r.source is not Source.PREDICTED)
    return records_of(folder, Origin.of(row))
