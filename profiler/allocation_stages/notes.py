"""What a reader of an allocation should know first, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from profiler.allocation.calibration import Calibration
from profiler.allocation.network_problem import NetworkProblem
from profiler.allocation.problem import Quantity
from profiler.allocation_stages.prices import PriceList
from profiler.allocation_stages.result import Ends
from profiler.allocation_stages.which_lut import LutChoice
from profiler.sensitivity.table import Sensitivity

_MOST_WARNINGS = 3


def notes(
    table: LutChoice,
    problem: NetworkProblem,
    priced: PriceList,
    sensitivity: Sensitivity,
    calibration: Calibration | None,
    ends: Sequence[Ends],
    without_ends: str,
    limited: bool,
    late: bool,
) -> Iterator[str]:
    """``without_ends`` : why there are no ends; ``late`` : there was no time for explanations."""
    network = problem.network
    if table.note:
        yield table.note
    if network.skipped:
        yield f"left out of the network: {', '.join(network.skipped)}"
    if problem.unpriced:
        yield f"without any price, not in the latency: {', '.join(problem.unpriced)}"
    if priced.kernel_only:
        yield "latencies are those of bare kernels: without bias, requantization, ReLU and additions"
    if problem.gaps:
        yield gaps_text(problem)
    if problem.choices.tied:
        groups = "; ".join(", ".join(names) for names in problem.choices.tied)
        yield f"share a precision, since no conversion between them has a price: {groups}"
    strangers = sensitivity.unknown_layers(network)
    if strangers:
        yield f"sensitivities of layers that the network has not are not read: {', '.join(strangers)}"
    fixed = [name for name in (layer.name for layer in network.weighted_layers) if name not in sensitivity]
    if fixed:
        yield f"no sensitivity is listed for {', '.join(fixed)}, which stay as they are: counted as zero"
    for alike in _told_apart_by_nothing(problem, sensitivity):
        yield (
            f"sensitivities of {', '.join(alike[:-1])} and {alike[-1]} are the same: they tell of weights alone, and "
            "fewer bits of activations cost accuracy too; measure them (the command sensitivity, --method noise) and "
            "give the file (--sensitivity FILE), or leave one out (--precisions)"
        )
    if priced.other_conditions:
        yield (
            f"{priced.other_conditions} rows of other conditions than {priced.origin.conditions.describe()} are not "
            "read (--threads, --cache choose)"
        )
    for warning in priced.warnings[:_MOST_WARNINGS]:
        yield f"predictions may be off: {warning}"
    if len(priced.warnings) > _MOST_WARNINGS:
        yield f"{len(priced.warnings) - _MOST_WARNINGS} more such warnings (the command predict lists them)"
    if priced.predicted_ends:
        yield (
            "fewer kernels are predicted than the interval of a sum was calibrated with: the upper end of each one's "
            "own interval counts against the limit"
        )
    if calibration is not None:
        yield "limits, ends and the front are of the sum of the kernels; what they mean for the network is told with it"
        yield (
            f"network latency = {calibration.offset_s:.3g} s + {calibration.slope:.3f} x the sum of its kernels, by "
            f"{calibration.points} end-to-end measurements (off by at most {calibration.worst:.1%})"
        )
    if without_ends:
        yield without_ends
    if not limited:
        yield "no limit is given, so nothing asks for fewer bits; say for instance --max-latency 0.5"
    if any(end.quantity is Quantity.LATENCY and end.narrow >= end.wide for end in ends):
        yield "the network is no faster in its narrowest precision than in its widest, as this device goes"
    if late:
        yield "which limits bind is not told: the optimum is not proven, or there was no time for it"


def gaps_text(problem: NetworkProblem) -> str:
    """What cannot be chosen for want of a price; there are such ``gaps``."""
    missing, of = sum(gap[1] for gap in problem.gaps), sum(gap[2] for gap in problem.gaps)
    return (
        f"{missing} combinations of neighbouring precisions (of {of}, in {len(problem.gaps)} layers) have no price "
        "and cannot be chosen; measure them (profile without --no-mixed), or predict them (--predictor)"
    )


def _told_apart_by_nothing(problem: NetworkProblem, sensitivity: Sensitivity) -> Iterator[tuple[str, ...]]:
    """Precisions that cost the same in every layer."""
    costs = [sensitivity.layer(x.name).cost for x in problem.network.weighted_layers if x.name in sensitivity]
    alike: dict[tuple[float, ...], list[str]] = {}
    for name in problem.problem.precisions:
        if costs and all(name in cost for cost in costs):
            alike.setdefault(tuple(cost[name] for cost in costs), []).append(name)
    yield from (tuple(names) for names in alike.values() if len(names) > 1)
