"""How well a learner does on what it has not seen: each split fitted anew, next to plain baselines.

Whatever a learner chooses, it chooses on the training part of a fold alone; nothing of the rest reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, gcd, log10

from profiler.predictor.model_state import Origin
from profiler.predictor.observation import Observation, data_sha256
from profiler.predictor.validation.baselines import Learner, Model, baselines
from profiler.predictor.validation.metrics import (
    Answer,
    NetworkSum,
    NoiseFloor,
    Pair,
    accuracy,
    coverage,
    halfwidth_percent,
    noise_floor,
    precision_pairs,
    ratio_errors,
)
from profiler.predictor.validation.report import (
    Contributor,
    NetworkPart,
    Score,
    SplitReport,
    ValidationReport,
    WorstRow,
)
from profiler.predictor.validation.splits import HeldNetwork, Split, extrapolation, leave_one_network_out, random_folds
from profiler.units import format_duration
from profiler.workload import DType, KernelSpec, Op

CONFIDENCE = 0.9
_WORST = 10


@dataclass(frozen=True)
class _Outcome:
    """What a learner answered in one fold."""

    training_rows: int
    network: HeldNetwork | None
    answers: tuple[Answer, ...]
    pairs: tuple[Pair, ...]
    sums: tuple[NetworkSum, ...]


def usual_splits(observed: Sequence[Observation], networks: Sequence[HeldNetwork], seed: int) -> tuple[Split, ...]:
    """Random, leave-one-network-out, extrapolation."""
    return random_folds(observed, seed), leave_one_network_out(observed, networks), extrapolation(observed)


def validate(
    observed: Sequence[Observation],
    origin: Origin,
    networks: Sequence[HeldNetwork],
    learner: Learner,
    replicates: Sequence[tuple[float, float]] = (),
    seed: int = 0,
    splits: Sequence[Split] | None = None,
) -> ValidationReport:
    """``replicates`` : latencies of one kernel in two runs, in seconds. ``splits`` : other ones than the usual."""
    noise = noise_floor(observed, replicates)
    learners = (learner, *baselines(seed))
    chosen = usual_splits(observed, networks, seed) if splits is None else splits
    return ValidationReport(
        origin=origin,
        rows=len(observed),
        workloads=len({o.group for o in observed}),
        data_sha256=data_sha256(observed),
        seed=seed,
        confidence_percent=100 * CONFIDENCE,
        noise=noise,
        splits=tuple(_split_report(split, observed, learners, noise) for split in chosen),
    )


def network_sums(network: HeldNetwork, answers: Sequence[Answer], model: Model, intervals: bool) -> list[NetworkSum]:
    """For each precision among the rows the kernels of one inference, as far as they have rows.

    Where a table holds none of the kernels that the network would launch with weights of a type, as those of others do,
    each of its layers is stood in for by a row of that workload and type.
    """
    measured_s = {answer.observed.spec: answer.observed.latency_s for answer in answers}
    batch = max(workload.batch for workload in network.layers)
    found = []
    for dtype in sorted({spec.weight_dtype for spec in measured_s if spec.weight_dtype}, key=lambda t: t.value):
        for name, counts, wanted in _launches(network, dtype, measured_s):
            total = model.total(counts, CONFIDENCE)
            found.append(
                NetworkSum(
                    network=network.name,
                    weights=name,
                    batch=batch,
                    kernels=sum(counts.values()),
                    wanted=wanted,
                    measured_s=sum(measured_s[spec] * count for spec, count in counts.items()),
                    predicted_s=total.latency_s,
                    low_s=total.low_s if intervals else None,
                    high_s=total.high_s if intervals else None,
                )
            )
    return found


def _launches(
    network: HeldNetwork, dtype: DType, known: Collection[KernelSpec]
) -> Iterator[tuple[str, dict[KernelSpec, int], int]]:
    """In each precision with weights of that type: its name, how often which known kernel is launched, and how many
    launches there are in all. Without any such kernel the same of the rows that stand in."""
    found = False
    for precision, launched in network.uniform.items():
        counts = {spec: count for spec, count in launched.items() if spec in known}
        if precision.weight_dtype is dtype and any(spec.weight_dtype for spec in counts):
            found = True
            yield precision.name, counts, sum(launched.values())
    counts = {} if found else _stand_ins(network, dtype, known)
    if counts:
        yield dtype.value, counts, sum(network.layers.values())


def _stand_ins(network: HeldNetwork, dtype: DType, known: Iterable[KernelSpec]) -> dict[KernelSpec, int]:
    rows = {spec.workload: spec for spec in sorted(known, key=lambda s: s.key) if spec.weight_dtype is dtype}
    return {rows[workload]: count for workload, count in network.layers.items() if workload in rows}


def held_out_answers(split: Split, observed: Sequence[Observation], learner: Learner) -> tuple[Answer, ...]:
    """What the learner answers for all rows that the folds of the split hold out."""
    return tuple(answer for outcome in _outcomes(split, observed, learner) for answer in outcome.answers)


def _split_report(
    split: Split, observed: Sequence[Observation], learners: Sequence[Learner], noise: NoiseFloor
) -> SplitReport:
    by_learner = [(learner, _outcomes(split, observed, learner)) for learner in learners] if split.folds else []
    own = by_learner[0][1] if by_learner else []
    answers = [answer for outcome in own for answer in outcome.answers]
    return SplitReport(
        name=split.name,
        training_rows=tuple(len(fold.train) for fold in split.folds),
        scores=tuple(_score(learner, outcomes, noise) for learner, outcomes in by_learner),
        networks=tuple(part for outcome in own for part in _parts(outcome)),
        contributors=tuple(contributors(answers)),
        worst=tuple(worst_rows(answers)),
        impossible=split.impossible,
    )


def _outcomes(split: Split, observed: Sequence[Observation], learner: Learner) -> list[_Outcome]:
    outcomes = []
    for fold in split.folds:
        model = learner.fit([observed[index] for index in fold.train])
        held_out = [observed[index] for index in fold.test]
        estimates = model.estimate([o.spec for o in held_out], CONFIDENCE, look_up=False)
        answers = tuple(Answer(o, estimate) for o, estimate in zip(held_out, estimates, strict=True))
        sums = network_sums(fold.network, answers, model, learner.intervals) if fold.network else []
        outcomes.append(_Outcome(len(fold.train), fold.network, answers, precision_pairs(answers), tuple(sums)))
    return outcomes


def _score(learner: Learner, outcomes: Sequence[_Outcome], noise: NoiseFloor) -> Score:
    answers = [answer for outcome in outcomes for answer in outcome.answers]
    inside = [answer for answer in answers if answer.inside]
    return Score(
        learner=learner.name,
        accuracy=accuracy(answers),
        coverage=coverage(answers) if learner.intervals else None,
        coverage_inside=coverage(inside) if learner.intervals else None,
        halfwidth_percent=halfwidth_percent(answers) if learner.intervals else None,
        ratios=ratio_errors([pair for outcome in outcomes for pair in outcome.pairs], noise),
        sums=tuple(total for outcome in outcomes for total in outcome.sums),
    )


def _parts(outcome: _Outcome) -> list[NetworkPart]:
    if outcome.network is None:
        return []
    return [NetworkPart(outcome.network.name, outcome.training_rows, accuracy(outcome.answers))]


def worst_rows(answers: Sequence[Answer]) -> list[WorstRow]:
    """The ten with the largest errors, the largest first."""
    ranked = sorted(answers, key=lambda answer: -abs(answer.error_percent))[:_WORST]
    return [
        WorstRow(a.observed.spec.key, a.observed.latency_s, a.estimate.latency_s, a.covered, not a.inside)
        for a in ranked
    ]


def contributors(answers: Sequence[Answer]) -> list[Contributor]:
    """Which kinds of kernel the mean error comes from, the largest part first."""
    total = sum(abs(answer.error_percent) for answer in answers)
    found = []
    for facet, kind_of in _FACETS.items():
        kinds: dict[str, list[Answer]] = {}
        for answer in answers:
            kinds.setdefault(kind_of(answer.observed), []).append(answer)
        for kind, members in kinds.items():
            part = sum(abs(answer.error_percent) for answer in members)
            share = 100 * part / total if total else 0.0
            found.append(Contributor(facet, kind, len(members), part / len(members), share))
    return sorted(found, key=lambda c: (list(_FACETS).index(c.facet), -c.share_percent, c.kind))


def _operator(observed: Observation) -> str:
    w = observed.spec.workload
    name = "depthwise" if w.is_depthwise else f"grouped {w.op.value}" if w.groups > 1 else w.op.value
    window = f" {w.kernel_h}x{w.kernel_w}" if (w.kernel_h, w.kernel_w) != (1, 1) or w.op is Op.CONV2D else ""
    return name + window


def _weights(observed: Observation) -> str:
    dtype = observed.spec.weight_dtype
    return dtype.value if dtype else "none"


def _channels(observed: Observation) -> str:
    w = observed.spec.workload
    common = gcd(w.in_channels, w.out_channels)
    return next((f"multiples of {step}" for step in (16, 8) if common % step == 0), "others")


def _decade(observed: Observation) -> str:
    low_s = 10.0 ** floor(log10(observed.latency_s))
    return f"{format_duration(low_s)} to {format_duration(10 * low_s)}"


_FACETS: Mapping[str, Callable[[Observation], str]] = {
    "operator": _operator,
    "weights": _weights,
    "channels": _channels,
    "latency": _decade,
}
