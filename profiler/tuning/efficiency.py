"""How few trials a search needs, against a sweep of the space."""

from __future__ import annotations

import random
from collections.abc import Sequence

from profiler.record import Failure, Measurement
from profiler.space.config import ScheduleConfig, to_text
from profiler.tuning.workbench import Workbench
from profiler.workload import KernelSpec


def trials_until(
    records: Sequence[Measurement | Failure], tolerance: float = 0.05, best_s: float | None = None
) -> int | None:
    """Trials until a config within ``tolerance`` of the best was measured; None if none was.

    records : of one kernel, in the order in which they were tried; a failure is a trial too. best_s : the best median
    of the whole space, by a sweep; without it the best of the records.
    """
    medians = [record.summary.median_s if isinstance(record, Measurement) else None for record in records]
    if best_s is None:
        best_s = min((median for median in medians if median is not None), default=0.0)
    for number, median in enumerate(medians, start=1):
        if median is not None and median <= (1 + tolerance) * best_s:
            return number
    return None


def sweep(
    bench: Workbench, spec: KernelSpec, configs: Sequence[ScheduleConfig], limit: int, seed: int = 0, batch: int = 8
) -> tuple[Measurement | Failure, ...]:
    """Screen all configs of a space, or ``limit`` of them at random; journals and models are left alone."""
    generator = random.Random(f"{seed}/{spec.key}")
    chosen = sorted(configs, key=to_text)
    generator.shuffle(chosen)
    records: list[Measurement | Failure] = []
    for start in range(0, min(limit, len(chosen)), batch):
        with bench.compiling():
            built = bench.build([(spec, config) for config in chosen[start : min(start + batch, limit)]])
        with bench.measuring():
            records += [*built.failures, *bench.screen(built.artifacts)]
    return tuple(records)
