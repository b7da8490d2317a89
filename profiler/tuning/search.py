"""Which configs of a kernel to try next.

A pure function of what is known, so that a search that was killed goes on as if nothing had happened. First come
configs that did well in sibling kernels and that the model believes in, then those that it promises most of, not too
many of one batch alike, and in each later batch one against its advice. It ends when no config promises a gain that is
worth a trial: after the first batch where the model knows such kernels, later where it does not.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from profiler.predictor.configs.prediction import Prediction
from profiler.space.config import (
    DepthwiseConfig,
    DotConfig,
    LookupConfig,
    MmaConfig,
    PopcountConfig,
    ScheduleConfig,
    VectorConfig,
    to_text,
)
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
    believed : favourites that the model takes to be slower than the best by more than this factor, even where they are
    two standard deviations faster than predicted, are passed over.
    explored : a config that is tried against the model's advice is predicted at most this much slower than the best.
    least_trials, least_familiar_trials : before them no search has converged; the latter where the model knows such
    kernels. familiar_spread : it does where its contenders, the untried configs that it predicts to be at most
    ``explored`` times slower than the best of them, have no larger spread on average.
    worthwhile : promised gain (share of the latency) below which a search has converged.
    """

    optimism: float = 0.5
    alike: int = 2
    believed: float = 1.15
    explored: float = 1.3
    least_trials: int = 16
    least_familiar_trials: int = 8
    familiar_spread: float = 0.05
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
    first; those outside of the space are passed over, and those that the model is sure are slow. model : fitted to what
    is known. The same arguments give the same proposal.
    """
    strategy = strategy or Strategy()
    untried = {text: c for c in space if (text := to_text(c)) not in measured_s and text not in failed}
    if not untried:
        return Proposal((), StopReason.EXHAUSTED)
    texts, configs = list(untried), list(untried.values())
    prediction = model.predict(spec, configs)
    gain = None
    tried = len(measured_s) + len(failed)
    best_s = min([float(prediction.median_s.min()), *measured_s.values()])
    places = {text: place for place, text in enumerate(texts)}
    wanted = [places[text] for text in dict.fromkeys(favourites) if text in places]
    chosen = [i for i in wanted if not _surely_slow(prediction, i, strategy.believed * best_s)][:count]
    if measured_s:
        gain = promised_gain(prediction, min(measured_s.values()), strategy.optimism)
        if not chosen and tried >= _least_trials(prediction, strategy) and gain < strategy.worthwhile:
            return Proposal((), StopReason.CONVERGED, gain)
    if tried and len(chosen) < count > 1:
        generator = random.Random(f"{seed}/{spec.key}/{tried}")
        chosen += _explored(prediction, chosen, strategy.explored * best_s, generator)
    alike = strategy.alike if tried else 1
    chosen = _promising(_score(prediction, strategy.optimism), configs, chosen, count, alike)
    order = np.argsort(prediction.median_s[chosen], kind="stable")
    return Proposal(tuple(configs[chosen[i]] for i in order), None, gain)


def promised_gain(prediction: Prediction, best_s: float, optimism: float) -> float:
    """By what share of ``best_s`` the most promising config is taken to be faster; negative if it is slower."""
    return float(1 - np.exp(_score(prediction, optimism).min()) / best_s)


def family(config: ScheduleConfig) -> tuple[int, ...]:
    """What configs have in common that are likely to perform alike."""
    if isinstance(config, DotConfig | LookupConfig | PopcountConfig):
        return (int(isinstance(config, DotConfig)), config.tile_h, config.tile_w, config.vectors)
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


def _explored(prediction: Prediction, chosen: Sequence[int], slowest_s: float, generator: random.Random) -> list[int]:
    """One config at random among those that are predicted to take at most ``slowest_s``, if there is any."""
    near = [int(i) for i in np.flatnonzero(prediction.median_s <= slowest_s) if i not in chosen]
    return [generator.choice(near)] if near else []


def _surely_slow(prediction: Prediction, index: int, slowest_s: float) -> bool:
    """Whether a config takes more than ``slowest_s`` even where it is two standard deviations better than predicted."""
    return float(prediction.median_s[index] * np.exp(-2 * prediction.spread[index])) > slowest_s


def _least_trials(prediction: Prediction, strategy: Strategy) -> int:
    """Trials before which the search does not converge."""
    contenders = prediction.median_s <= strategy.explored * prediction.median_s.min()
    familiar = float(prediction.spread[contenders].mean()) <= strategy.familiar_spread
    return strategy.least_familiar_trials if familiar else strategy.least_trials
