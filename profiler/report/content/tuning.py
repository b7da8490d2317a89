"""How the search of schedule configs went: the best latency after each trial, and what failed."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.table import Column, Kind, Table


@dataclass(frozen=True)
class Search:
    """A kernel. ``best_s[i]`` is the best latency after trial i + 1, None while nothing has worked; ``failed`` trials
    have no latency. ``precision`` is that of its input and weights, or of its input (``A2``)."""

    kernel: str
    layers: tuple[str, ...]
    precision: str
    best_s: tuple[float | None, ...]
    failed: int

    @property
    def relative(self) -> tuple[float | None, ...]:
        """In units of the best latency of the whole search; all None where nothing worked."""
        final = next((best for best in reversed(self.best_s) if best is not None), None)
        return tuple(None if best is None or final is None else best / final for best in self.best_s)


@dataclass(frozen=True)
class TuningHistory:
    """``failures`` by kind, the commonest first."""

    searches: tuple[Search, ...]
    failures: tuple[tuple[str, int], ...]

    @property
    def trials(self) -> int:
        return sum(len(search.best_s) for search in self.searches)


def table_of(history: TuningHistory) -> Table:
    """A row per trial."""
    columns = (
        Column("kernel", "kernel"),
        Column("layers", "layers"),
        Column("precision", "precision"),
        Column("trial", "trial", Kind.NUMBER),
        Column("best_s", "best so far", Kind.SECONDS),
    )
    rows = tuple(
        (search.kernel, ", ".join(search.layers), search.precision, trial, best)
        for search in history.searches
        for trial, best in enumerate(search.best_s, start=1)
    )
    return Table(columns, rows)


def failures_of(history: TuningHistory) -> Table:
    """A row per kind of failure."""
    return Table((Column("failure", "failure"), Column("trials", "trials", Kind.NUMBER)), history.failures)
