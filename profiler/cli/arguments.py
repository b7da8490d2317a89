"""What several commands read alike."""

from __future__ import annotations

from profiler.errors import ProfilerError
from profiler.workload import Precision


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Comma-separated names, each once. Raises `ProfilerError`."""
    chosen = tuple(dict.fromkeys(Precision.parse(name) for name in text.split(",") if name.strip()))
    if not chosen:
        raise ProfilerError("no precision given; say for instance --precisions int8,int4")
    return chosen
