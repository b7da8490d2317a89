"""The section on the predictor: what it says of the table's own kernels without having seen them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.prediction_stages import NETWORKS
from profiler.predictor import latency_model
from profiler.predictor.device_facts import ObservedPeaks, observed_peaks
from profiler.predictor.latency_model import LatencyModel
from profiler.predictor.observation import Observation, observations
from profiler.predictor.validation.baselines import Learner
from profiler.predictor.validation.cross_validated import cross_validated
from profiler.predictor.validation.metrics import Answer, accuracy, coverage
from profiler.predictor.validation.splits import Split, extrapolation, held_network, leave_one_network_out
from profiler.predictor.validation.validate import CONFIDENCE, held_out_answers
from profiler.report.content.prediction import PredictedKernel, Predictions, SplitError, splits_of, table_of
from profiler.report.content.report import NamedTable, Section
from profiler.report_stages.subject import Subject
from profiler.report_stages.words import sentence

MOST_ROWS = 300
"""With more rows the splits that take a whole fit each are left out: a report should not take minutes."""
_DIGITS = 6
_TITLE = "What a predictor makes of it"


def prediction_section(subject: Subject) -> Section:
    """Says why there is nothing to show, where there is not."""
    observed = observations(subject.rows, subject.conditions)
    try:
        family, answers = cross_validated(observed, subject.facts, subject.conditions.threads, CONFIDENCE)
    except ProfilerError as error:
        reason = str(error) if observed else "the table has no measured or published row to learn from"
        return Section("predictor", _TITLE, "", None, notes=(f"Nothing is predicted: {reason}.",))
    answers = tuple(map(_rounded, answers))
    splits, left_out = _other_splits(subject, observed, family)
    noise = subject.noise
    predictions = Predictions(
        model=family.replace("_", " "),
        confidence_percent=100 * CONFIDENCE,
        kernels=tuple(_kernel(answer) for answer in answers),
        splits=(_errors("workloads, in turn", answers), *splits),
        noise_percent=noise.percent,
        noise=f"two measurements of a kernel lie {noise.percent:.1f}% apart on average ({noise.origin})",
    )
    own = predictions.splits[0]
    lead = (
        f"Fitted to the other workloads of this table ({predictions.model}), a model is off by "
        f"{own.median_percent:.1f}% in the median and {own.mape_percent:.1f}% on average at those that it has not seen."
    )
    return Section(
        name="predictor",
        title=_TITLE,
        lead=lead,
        figure=predictions,
        alt=f"Predicted against measured latency of held-out kernels with intervals, and errors by split. {lead}",
        tables=(
            NamedTable("predictor-splits", "Errors by what was held out", splits_of(predictions)),
            NamedTable("predictor", "Held-out kernels", table_of(predictions), shown=False),
        ),
        notes=(*_of_peaks(subject), sentence(f"noise floor: {predictions.noise}"), *map(sentence, left_out)),
    )


def _of_peaks(subject: Subject) -> Iterator[str]:
    if isinstance(subject.facts, ObservedPeaks):
        yield (
            "No data sheet of this device is known: its peaks are the most that any of its rows reaches, the held-out "
            "ones among them, so errors by workload are a little too small."
        )


def _other_splits(subject: Subject, observed: Sequence[Observation], family: str) -> tuple[list[SplitError], list[str]]:
    """Those that can be held out in seconds, by the regression that was chosen, and what is left out."""
    if len(observed) > MOST_ROWS:
        return [], [f"With {len(observed)} rows other splits take minutes: the command fit makes them"]
    facts = subject.facts

    def learn(part: Sequence[Observation]) -> LatencyModel:
        # peaks that were read off the rows would tell of those that are held out
        seen = observed_peaks([(o.spec, o.latency_s) for o in part]) if isinstance(facts, ObservedPeaks) else facts
        return latency_model.fit(part, subject.origin, seen, among=(family,))

    networks = [held_network(load_network(name, 1)) for name in NETWORKS]
    learner = Learner("", learn, intervals=True)
    found, left_out = [], []
    for split, what in (
        (leave_one_network_out(observed, networks), "networks, in turn"),
        (extrapolation(observed), "the largest fifth"),
    ):
        answers = _answers(split, observed, learner)
        if answers:
            found.append(_errors(what, answers))
        else:
            left_out.append(f"Not held out, {what}: {'; '.join(split.impossible)}")
    return found, left_out


def _answers(split: Split, observed: Sequence[Observation], learner: Learner) -> tuple[Answer, ...]:
    return tuple(map(_rounded, held_out_answers(split, observed, learner))) if split.folds else ()


def _rounded(answer: Answer) -> Answer:
    """To digits in which processors agree: they differ in the last ones of the linear algebra."""
    e = answer.estimate
    latency_s, low_s, high_s = (float(f"{seconds:.{_DIGITS}g}") for seconds in (e.latency_s, e.low_s, e.high_s))
    return replace(answer, estimate=replace(e, latency_s=latency_s, low_s=low_s, high_s=high_s))


def _errors(what: str, answers: Sequence[Answer]) -> SplitError:
    found, covered = accuracy(answers), coverage(answers)
    assert covered is not None  # there are answers
    return SplitError(
        split=what,
        rows=found.rows,
        median_percent=found.median_percent,
        mape_percent=found.mape_percent,
        within_10_percent=found.within_10_percent,
        coverage=covered.describe(),
    )


def _kernel(answer: Answer) -> PredictedKernel:
    estimate = answer.estimate
    return PredictedKernel(
        kernel=answer.observed.spec.key,
        measured_s=answer.observed.latency_s,
        predicted_s=estimate.latency_s,
        low_s=estimate.low_s,
        high_s=estimate.high_s,
        extrapolated=not answer.inside,
    )
