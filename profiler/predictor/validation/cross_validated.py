"""Every row as a model answers for it that was fitted without the row's workload: one cross-validation, quickly.

`validate` fits and calibrates a whole model for each fold of a split, and so takes minutes for a thousand rows. Here
the cross-validation with which `latency_model.fit` chooses its regression gives the answers; the interval of a row is
calibrated on the rows of the other folds. Only the choice of the family has seen all rows, and so have the peaks of a
device that has no data sheet, where they were read off these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isinf

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from profiler.errors import ProfilerError
from profiler.predictor.conformal import grouped_quantile
from profiler.predictor.device_facts import DeviceFacts
from profiler.predictor.envelope import Envelope
from profiler.predictor.estimate import Basis, Estimate
from profiler.predictor.kernel_features import kernel_features
from profiler.predictor.latency_model import reason_too_few, scores_by_group, training_rows
from profiler.predictor.observation import Observation
from profiler.predictor.selection import select
from profiler.predictor.validation.metrics import Answer

_WIDEST = 5.0
"""Half of the widest interval, as a logarithm, where too few workloads are left to calibrate one."""


def cross_validated(
    observed: Sequence[Observation], facts: DeviceFacts, threads: int, confidence: float, seed: int = 0
) -> tuple[str, tuple[Answer, ...]]:
    """The name of the regression, and an answer for each observation, in their order.

    Raises `ProfilerError` for fewer than 16 latencies or 8 workloads.
    """
    reason = reason_too_few(observed)
    if reason is not None:
        raise ProfilerError(reason)
    groups = [o.group for o in observed]
    features = [kernel_features(o.spec, facts, threads) for o in observed]
    rows = training_rows(observed, features, facts)
    with threadpool_limits(1):
        selection = select(rows, groups, seed)
    out = selection.out_of_fold
    scores = np.abs(rows.y - out.mean) / out.spread
    answers: dict[int, Answer] = {}
    for fold in np.unique(out.fold):
        held, kept = np.flatnonzero(out.fold == fold), np.flatnonzero(out.fold != fold)
        scale = grouped_quantile(scores_by_group([groups[i] for i in kept.tolist()], scores[kept]), confidence)
        seen = Envelope(observed[i].spec for i in kept.tolist())
        for index in held.tolist():
            latency_s = features[index].modelled_s * exp(float(out.mean[index]))
            half = _WIDEST if isinf(scale) else min(scale * float(out.spread[index]), _WIDEST)
            warnings = seen.warnings(observed[index].spec)
            basis = Basis.EXTRAPOLATED if warnings else Basis.PREDICTED
            ends = latency_s * exp(-half), latency_s * exp(half)
            estimate = Estimate(observed[index].spec, latency_s, *ends, basis, warnings)
            answers[index] = Answer(observed[index], estimate)
    return selection.family, tuple(answers[index] for index in range(len(observed)))
