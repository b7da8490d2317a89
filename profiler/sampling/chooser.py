"""What to measure next on a device, by what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cached_property
from pathlib import Path

from profiler.campaign import Campaign
from profiler.errors import ProfilerError
from profiler.lut.schema import LutRow
from profiler.predictor.device_facts import facts_of
from profiler.predictor.estimate import Estimate
from profiler.predictor.model_state import ModelState, Origin
from profiler.predictor.observation import Observation, observations
from profiler.predictor.population import Draw, draws
from profiler.predictor.proposals import least_certain, space_filling, untried, worth_measuring
from profiler.workload import KernelSpec, Precision

ROUND = 16
"""Workloads of a proposal: what one teaches is known to the next."""
ROWS_FOR_INTERVALS = 100
"""Of a LUT, before the intervals of a model that is fitted to it decide."""
_DRAWS, _DRAWS_OF_EACH = 4096, 16
"""Of the population: at least, and for each workload that is known or wanted. Six of seven take an H200 no time."""
_ESTIMATED = 128
"""Candidates of which a model is asked: on a GPU an answer takes a tenth of a second. The first ones of the population
spread over all of it."""


class Reason(str, Enum):
    """Why workloads are measured next."""

    SPACE = "that fill the space"
    INTERVALS = "of which the model is least certain"
    PENDING = "that an earlier run had in hand"


class Chooser:
    """Proposes ``count`` workloads in all, a round at a time.

    model : the file of a fitted model of the device, whose observations are known beside those of the LUT. Raises
    `InvalidFile` for what is no model, and `ProfilerError` for one of another device or of other conditions.
    """

    def __init__(
        self, campaign: Campaign, count: int, precisions: Sequence[Precision], seed: int, model: Path | None = None
    ) -> None:
        self._campaign, self._count, self._precisions, self._seed = campaign, count, precisions, seed
        self._model = None if model is None else _read(model, campaign)

    def propose(self, done: int) -> tuple[tuple[Draw, ...], Reason]:
        """What comes after ``done`` of the workloads; nothing if the population has nothing more for this device.

        It takes seconds of processor time.
        """
        rows = self._campaign.rows()
        observed = self._observed(rows)
        known = self._known(observed)
        candidates = untried(self._worthwhile, known)
        half = (self._count + 1) // 2
        wanted = min(ROUND, (half if done < half else self._count) - done)
        if done >= half and (self._model is not None or len(observed) >= ROWS_FOR_INTERVALS):
            asked = candidates[:_ESTIMATED]
            return least_certain(asked, self._estimates(asked, rows, observed), wanted), Reason.INTERVALS
        return space_filling(candidates, {spec.workload for spec in known}, wanted), Reason.SPACE

    @cached_property
    def _worthwhile(self) -> tuple[Draw, ...]:
        """The part of the population that the device can compute, in a reasonable time."""
        target = self._campaign.target
        workloads = {row.spec.workload for row in self._campaign.rows()}
        drawn = draws(max(_DRAWS, _DRAWS_OF_EACH * (len(workloads) + self._count)), self._precisions, self._seed)
        return tuple(
            draw
            for draw in drawn
            if not any(target.obstacle(spec) for spec in draw.specs)
            and worth_measuring(draw, target.device, target.threads)
        )

    def _observed(self, rows: Iterable[LutRow]) -> tuple[Observation, ...]:
        here = observations(rows, self._campaign.conditions)
        if self._model is None:
            return here
        specs = {o.spec for o in here}
        return (*here, *(o for o in self._model.observations if o.spec not in specs))

    def _known(self, observed: Iterable[Observation]) -> set[KernelSpec]:
        """Kernels that have a latency, and those of the population that the journals know to have none."""
        known = {o.spec for o in observed}
        for draw in self._worthwhile:
            tried = self._campaign.database.tried(draw.workload)
            known |= {spec for spec, of_it in tried.items() if of_it.best is not None or not of_it.ranked}
        return known

    def _estimates(
        self, asked: Sequence[Draw], rows: Sequence[LutRow], observed: Sequence[Observation]
    ) -> Mapping[KernelSpec, Estimate]:
        """Of every kernel of these draws, by a model that is fitted to all that was observed until now."""
        from profiler.predictor.latency_model import fit  # late: it imports scikit-learn

        instrument = self._campaign.fingerprint
        origin = Origin(
            device=instrument.device,
            device_name=instrument.device_name,
            arch=instrument.arch,
            fingerprint=instrument.short,
            conditions=self._campaign.conditions,
        )
        facts = facts_of(rows) if self._model is None else self._model.facts
        specs = list(dict.fromkeys(spec for draw in asked for spec in draw.specs))
        estimates = fit(observed, origin, facts, seed=self._seed).estimate(specs, look_up=False)
        return {estimate.spec: estimate for estimate in estimates}


def _read(path: Path, campaign: Campaign) -> ModelState:
    from profiler.predictor.model_file import read  # late: it imports scikit-learn

    state = read(path).state
    origin, instrument = state.origin, campaign.fingerprint
    if not origin.is_of(instrument.device, instrument.arch, campaign.conditions):
        raise ProfilerError(
            f"{path}: a model of {origin.device} ({origin.arch}), {origin.conditions.describe()}, does not tell what"
            f" is uncertain of {instrument.device} ({instrument.arch}), {campaign.conditions.describe()}; give one that"
            " was fitted to rows like those, or leave out --model"
        )
    return state
