"""How good a saved model is on other rows of its device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from profiler.errors import FingerprintMismatch, InvalidFile
from profiler.lut.store import read
from profiler.predictor import model_file
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import observations
from profiler.predictor.validation.metrics import (
    Accuracy,
    Answer,
    Coverage,
    NoiseFloor,
    RatioErrors,
    accuracy,
    coverage,
    halfwidth_percent,
    noise_floor,
    precision_pairs,
    ratio_errors,
)
from profiler.predictor.validation.report import WorstRow
from profiler.predictor.validation.validate import CONFIDENCE, worst_rows

_DRIFT = 0.05
"""Beyond which all rows together are longer or shorter than a model of the same instrument explains."""


@dataclass(frozen=True)
class Evaluation:
    """What the regression says of rows, next to what they hold.

    ``seen_rows`` : of kernels that the model was fitted to. They are left out, unless there are no others
    (``only_seen``). ``coverage_inside`` is of the rows in the range of what the model has seen. ``level`` is the median
    of measured by predicted latency.
    """

    origin: Origin
    lut: Path
    fingerprint: str
    seen_rows: int
    only_seen: bool
    accuracy: Accuracy
    coverage: Coverage
    coverage_inside: Coverage | None
    halfwidth_percent: float
    ratios: RatioErrors | None
    noise: NoiseFloor
    worst: tuple[WorstRow, ...]
    level: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the rows, a line each."""
        found = []
        if self.fingerprint != self.origin.fingerprint:
            found.append(
                f"the rows are of instrument {self.fingerprint}, the model is of {self.origin.fingerprint}: the same "
                "device, but driver, compiler, card or the like differ"
            )
        if abs(self.level - 1) > _DRIFT:
            found.append(
                f"the rows take {self.level:.2f} times as long as predicted, in the median: was the clock another one? "
                "(sm_clock_mhz of the rows)"
            )
        if self.only_seen:
            found.append("the model was fitted to every one of these kernels: this says nothing of unseen ones")
        elif self.seen_rows:
            found.append(f"{self.seen_rows} rows of kernels that the model was fitted to are left out")
        return tuple(found)


def evaluate(model_path: Path, lut: Path) -> Evaluation:
    """By the regression, also where the model knows the kernel. Raises `ProfilerError` for a damaged file, and for rows
    of another device or of other conditions."""
    model, _ = model_file.load(model_path)
    origin = model.state.origin
    rows = read(lut)
    others = sorted({(row.device, row.arch) for row in rows} - {(origin.device, origin.arch)})
    if others:
        found = ", ".join(f"{device} ({arch})" for device, arch in others)
        raise FingerprintMismatch(
            f"{lut}: rows of {found}, but {model_path} is a model of {origin.device} ({origin.arch}); fit one to such"
            " rows"
        )
    observed = observations(rows, origin.conditions)
    if not observed:
        raise InvalidFile(
            f"{lut}: no measured or published row with {origin.conditions.describe()}, for which {model_path} predicts;"
            " fit one to these rows"
        )
    fitted = {o.spec for o in model.state.observations}
    unseen = [o for o in observed if o.spec not in fitted]
    tested = unseen or observed
    estimates = model.estimate([o.spec for o in tested], CONFIDENCE, look_up=False)
    answers = [Answer(o, estimate) for o, estimate in zip(tested, estimates, strict=True)]
    covered = coverage(answers)
    assert covered is not None  # there are answers
    noise = noise_floor(tested)
    return Evaluation(
        origin=origin,
        lut=lut,
        fingerprint=rows[0].fingerprint,
        seen_rows=len(observed) - len(unseen),
        only_seen=not unseen,
        accuracy=accuracy(answers),
        coverage=covered,
        coverage_inside=coverage([answer for answer in answers if answer.inside]),
        halfwidth_percent=halfwidth_percent(answers),
        ratios=ratio_errors(precision_pairs(answers), noise),
        noise=noise,
        level=median(a.observed.latency_s / a.estimate.latency_s for a in answers),
        worst=tuple(worst_rows(answers)),
    )
