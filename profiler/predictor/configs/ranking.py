"""The configs of a kernel in the order in which they are worth a try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiler.predictor.configs.analytic import AnalyticModel
from profiler.predictor.configs.learned import LearnedModel
from profiler.space.config import ScheduleConfig, to_text
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class RankedConfig:
    """A config and its predicted latency in seconds; ``spread`` is the standard deviation of its logarithm."""

    config: ScheduleConfig
    latency_s: float
    spread: float


def rank(
    model: LearnedModel | AnalyticModel, spec: KernelSpec, space: Sequence[ScheduleConfig]
) -> tuple[RankedConfig, ...]:
    """All configs of the space, best first by predicted latency; equals in the order of their texts.

    model : fitted to what is known. space : valid configs of the kernel, each once.
    """
    configs = sorted(space, key=to_text)
    prediction = model.predict(spec, configs)
    order = np.argsort(prediction.median_s, kind="stable")
    return tuple(RankedConfig(configs[i], float(prediction.median_s[i]), float(prediction.spread[i])) for i in order)
