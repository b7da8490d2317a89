"""What the latency predictor says of kernels that it has not seen, beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.table import Column, Kind, Table


@dataclass(frozen=True)
class PredictedKernel:
    """A held-out kernel. ``low_s`` to ``high_s`` is the interval of the prediction; ``extrapolated``: the kernel lies
    outside of what the model had seen."""

    kernel: str
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float
    extrapolated: bool

    @property
    def covered(self) -> bool:
        return self.low_s <= self.measured_s <= self.high_s


@dataclass(frozen=True)
class SplitError:
    """Errors over a way of holding kernels out, in percent of the measured latency."""

    split: str
    rows: int
    median_percent: float
    mape_percent: float
    within_10_percent: float
    coverage: str


@dataclass(frozen=True)
class Predictions:
    """``kernels`` are those of the first of the ``splits``. ``noise_percent`` is how far two measurements of one kernel
    lie apart on average, None where nothing is known; ``noise`` says where that comes from."""

    model: str
    confidence_percent: float
    kernels: tuple[PredictedKernel, ...]
    splits: tuple[SplitError, ...]
    noise_percent: float | None
    noise: str


def table_of(predictions: Predictions) -> Table:
    """A row per held-out kernel."""
    columns = (
        Column("kernel", "kernel"),
        Column("measured_s", "measured", Kind.SECONDS),
        Column("predicted_s", "predicted", Kind.SECONDS),
        Column("low_s", "from", Kind.SECONDS),
        Column("high_s", "to", Kind.SECONDS),
        Column("error_percent", "off by", Kind.PERCENT),
        Column("covered", "in its interval"),
        Column("extrapolated", "extrapolated"),
    )
    rows = tuple(
        (
            k.kernel,
            k.measured_s,
            k.predicted_s,
            k.low_s,
            k.high_s,
            100 * (k.predicted_s / k.measured_s - 1),
            _yes(k.covered),
            _yes(k.extrapolated),
        )
        for k in predictions.kernels
    )
    return Table(columns, rows)


def splits_of(predictions: Predictions) -> Table:
    """A row per way of holding kernels out."""
    columns = (
        Column("split", "held out"),
        Column("rows", "kernels", Kind.NUMBER),
        Column("median_percent", "median error", Kind.PERCENT),
        Column("mape_percent", "mean error", Kind.PERCENT),
        Column("within_10_percent", "within 10%", Kind.PERCENT),
        Column("coverage", f"in the {predictions.confidence_percent:g}% interval"),
    )
    rows = tuple(
        (s.split, s.rows, s.median_percent, s.mape_percent, s.within_10_percent, s.coverage) for s in predictions.splits
    )
    return Table(columns, rows)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
