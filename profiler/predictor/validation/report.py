"""What a validation found: values that `report_json` and `report_text` show."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.predictor.model_state import Origin
from profiler.predictor.validation.metrics import (
    Accuracy,
    Coverage,
    NetworkSum,
    NoiseFloor,
    RatioErrors,
)

FEW_ROWS = 100
"""With fewer rows a model says how far it can be trusted ahead of anything else."""


@dataclass(frozen=True)
class Score:
    """How a learner did in a split, over all its folds. ``coverage_inside`` is of the rows in the range of what the
    learner had seen. Without intervals there is neither coverage nor ``halfwidth_percent`` (the median)."""

    learner: str
    accuracy: Accuracy
    coverage: Coverage | None
    coverage_inside: Coverage | None
    halfwidth_percent: float | None
    ratios: RatioErrors | None
    sums: tuple[NetworkSum, ...]


@dataclass(frozen=True)
class NetworkPart:
    """One held-out network."""

    network: str
    training_rows: int
    accuracy: Accuracy


@dataclass(frozen=True)
class Contributor:
    """Rows that are alike in one respect (``facet``), their error, and their share in the sum of all errors."""

    facet: str
    kind: str
    rows: int
    mape_percent: float
    share_percent: float


@dataclass(frozen=True)
class WorstRow:
    """A kernel (`KernelSpec.key`) that the model is far off at."""

    kernel: str
    measured_s: float
    predicted_s: float
    covered: bool
    extrapolated: bool

    @property
    def error_percent(self) -> float:
        """Positive where the prediction is too long."""
        return 100 * (self.predicted_s / self.measured_s - 1)


@dataclass(frozen=True)
class SplitReport:
    """``training_rows`` of each fold; ``scores`` begin with the learner's own, which the rest is about."""

    name: str
    training_rows: tuple[int, ...]
    scores: tuple[Score, ...]
    networks: tuple[NetworkPart, ...]
    contributors: tuple[Contributor, ...]
    worst: tuple[WorstRow, ...]
    impossible: tuple[str, ...]


@dataclass(frozen=True)
class ValidationReport:
    """``workloads`` count batches, types and epilogues of a workload once. ``seed`` is of the random split and of
    whatever the learners draw."""

    origin: Origin
    rows: int
    workloads: int
    data_sha256: str
    seed: int
    confidence_percent: float
    noise: NoiseFloor
    splits: tuple[SplitReport, ...]

    @property
    def trust(self) -> str:
        """How far the model can be trusted, in a sentence."""
        split = next((split for split in self.splits if split.scores), None)
        if split is None:
            return f"{self.rows} rows are too few to hold any out: nothing is known of the errors of this model"
        own = split.scores[0]
        seen = f"workloads held out ({split.name}) were off by {own.accuracy.mape_percent:.1f}% on average"
        if own.coverage is None:
            return seen
        verdict = f"the {self.confidence_percent:g}% intervals held {own.coverage.describe()}: {own.coverage.verdict}"
        few = f"with only {self.rows} rows of {self.workloads} workloads, " if self.rows < FEW_ROWS else ""
        return f"{few}{seen}; {verdict}"
