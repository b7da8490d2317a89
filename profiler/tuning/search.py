"""Which configs of a kernel to try next.

A pure function of what is known, so that a search that was killed goes on as if nothing had happened. First come
configs that did well in sibling kernels, then those that the model promises most of, not too many of one batch alike,
and in each later batch one against the model's advice. It ends when no config promises a gain that is worth a trial.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from profiler.predictor.prediction import Prediction
from profiler.space.config import DepthwiseConfig, DotConfig, MmaConfig, ScheduleConfig, VectorConfig, to_text
from profiler.tuning.cost_model import CostModel
from profiler.workload import KernelSpec


class StopReason(str, Enum):
    """Why a search proposes nothing more.

    ``trials``: as many as were granted; ``converged``: no config promises enough; ``exhausted``: every
    config was tried; ``known``: finished by an earlier run.
    """

    TRIALS = "trials"
    CONVERGED = "converged"
    EXHAUSTED = "exhausted"
    KNOWN = "known"


@dataclass(frozen=True)
class Strategy:
    """How a search weighs things.

    optimism : standard deviations by which a config is taken to be faster than predicted.
    alike : configs of one register tile in a batch, which differ in loop order and unrolling alone; one in the first.
    explored : a config that is tried against the model's advice is predicted at most this much slower than the best.
    least_trials : before them no search has converged.
    worthwhile : promised gain (share of the latency) below which a search has converged.
    """

    optimism: float = 0.5
    alike: int = 2
    explored: float = 1.3
    least_trials: int = 16
    worthwhile: float = 0.015


@dataclass(frozen=True)
class Proposal:
    """What to try next, best first; if nothing, why. ``gain`` is the `promised_gain` over what was measured."""

    configs: tuple[ScheduleConfig, ...]
    stop: StopReason | None = None
    gain: float | None = None


def propose(
    spec: KernelSpec,
    space: Sequence[ScheduleConfig],
    measured_s: Mapping[str, float],
    failed: Collection[str],
    favourites: Sequence[str],
    model: CostModel,
    count: int,
    seed: int = 0,
    strategy: Strategy | None = None,
) -> Proposal:
    """Up to ``count`` configs of the space that were neither measured nor failed.

    measured_s : median latency by config text. favourites : texts of configs that did well in similar kernels, best
    first; those outside of the space are passed over. model : fitted to what is known. The same arguments give the
    same proposal.
    """
    strategy = strategy or Strategy()
    untried = {text: c for c in space if (text := to_text(c)) not in measured_s and text not in failed}
    if not untried:
        return Proposal((), StopReason.EXHAUSTED)
    texts, configs = list(untried), list(untried.values())
    prediction = model.predict(spec, configs)
    gain = None
    tried = len(measured_s) + len(failed)
    wanted = [text for text in dict.fromkeys(favourites) if text in untried][:count]
    if measured_s:
        gain = promised_gain(prediction, min(measured_s.values()), strategy.optimism)
        if not wanted and tried >= strategy.least_trials and gain < strategy.worthwhile:
            return Proposal((), StopReason.CONVERGED, gain)
    chosen = [texts.index(text) for text in wanted]
    if tried and len(chosen) < count > 1:
        generator = random.Random(f"{seed}/{spec.key}/{tried}")
        chosen += _explored(prediction, configs, chosen, measured_s, strategy.explored, generator)
    alike = strategy.alike if tried else 1
    chosen = _promising(_score(prediction, strategy.optimism), configs, chosen, count, alike)
    order = np.argsort(prediction.median_s[chosen], kind="stable")
    return Proposal(tuple(configs[chosen[i]] for i in order), None, gain)


def promised_gain(prediction: Prediction, best_s: float, optimism: float) -> float:
    """By what share of ``best_s`` the most promising config is taken to be faster; negative if it is slower."""
    return float(1 - np.exp(_score(prediction, optimism).min()) / best_s)


def family(config: ScheduleConfig) -> tuple[int, ...]:
    """What configs have in common that are likely to perform alike."""
    if isinstance(config, DotConfig):
        return (config.tile_h, config.tile_w, config.vectors)
    if isinstance(config, MmaConfig):
        return (config.block_m, config.block_n, config.warp_m, config.warp_n)
    if isinstance(config, DepthwiseConfig | VectorConfig):
        return (config.vectors, getattr(config, "tile_w", 1))
    return (config.channels, getattr(config, "pixels", 1))


def _score(prediction: Prediction, optimism: float) -> npt.NDArray[np.float64]:
    """Logarithm of the latency that each config is taken to have; shape (n_configs,)."""
    return np.asarray(np.log(prediction.median_s) - optimism * prediction.spread)


def _promising(
    score: npt.NDArray[np.float64], configs: Sequence[ScheduleConfig], chosen: Sequence[int], count: int, alike: int
) -> list[int]:
    """``chosen`` filled up to ``count`` with the lowest scores, ``alike`` of a family as long as there are others."""
    picked = list(chosen)
    families = Counter(family(configs[i]) for i in picked)
    order = [int(i) for i in np.argsort(score, kind="stable")]
    for limit in (alike, len(configs)):
        for index in order:
            if len(picked) >= count:
                return picked
            kin = family(configs[index])
            if index not in picked and families[kin] < limit:
                picked.append(index)
                families[kin] += 1
    return picked


def _explored(
    prediction: Prediction,
    configs: Sequence[ScheduleConfig],
    chosen: Sequence[int],
    measured_s: Mapping[str, float],
    explored: float,
    generator: random.Random,
) -> list[int]:
    """One config at random among those that are predicted not much slower than the best, if there is any."""
    best_s = min([float(prediction.median_s.min()), *measured_s.values()])
    near = [i for i in range(len(configs)) if prediction.median_s[i] <= explored * best_s and i not in chosen]
    return [generator.choice(near)] if near else []
