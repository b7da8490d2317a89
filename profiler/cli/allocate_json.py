"""What an allocation found, as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from profiler.allocation.explain import Binding, Step
from profiler.allocation_stages.from_problem import ProblemAnswer, ProblemFront
from profiler.allocation_stages.result import Allocation, FrontResult

Json = dict[str, Any]


def problem_json(answer: ProblemAnswer, front: ProblemFront | None) -> Json:
    """Latency in milliseconds, as in the file; numbers are null where the limits cannot be met."""
    found: Json = {"network": answer.network, **_answer(answer)}
    found["limits"] = {limit.quantity.value: limit.most for limit in answer.limits}
    found["reason"] = answer.reason
    if front is not None:
        found["pareto"] = {
            "quantity": front.quantity.value,
            "exact": front.exact,
            "complete": front.complete,
            "points": [_answer(point) for point in front.points],
        }
    return found


def _answer(answer: ProblemAnswer) -> Json:
    known = bool(answer.bits)

    def number(value: float) -> float | None:
        return value if known else None

    return {
        "bits": list(answer.bits) if known else None,
        "objective": number(answer.objective),
        "latency_ms": number(answer.latency_s * 1e3),
        "size_bytes": number(answer.size_bytes),
        "bops": number(answer.bops),
        "status": answer.status,
        "gap": number(answer.gap),
        "bound": number(answer.bound),
        "seconds": answer.seconds,
    }


def allocation_json(allocation: Allocation) -> Json:
    """The content of bits.json, and why it is so."""
    return {
        "bits": asdict(allocation.bits),
        "precisions": list(allocation.precisions),
        "layers": [asdict(layer) for layer in allocation.layers],
        "fractions": {quantity.value: fraction for quantity, fraction in allocation.fractions.items()},
        "ends": [{**asdict(end), "quantity": end.quantity.value} for end in allocation.ends],
        "limits": [_binding(binding) for binding in allocation.bindings],
        "not_worth": [{**asdict(price), "speedup": price.speedup} for price in allocation.not_worth],
        "pareto": None if allocation.front is None else _front(allocation.front),
        "out": None if allocation.out is None else str(allocation.out),
        "seconds": allocation.seconds,
        "notes": list(allocation.notes),
    }


def _binding(binding: Binding) -> Json:
    return {
        "quantity": binding.limit.quantity.value,
        "most": binding.limit.most,
        "reached": binding.reached,
        "binds": binding.binds,
        "looser": None if binding.looser is None else _step(binding.looser),
        "tighter": None if binding.tighter is None else _step(binding.tighter),
    }


def _step(step: Step) -> Json:
    return {**asdict(step), "shadow_price": step.price}


def _front(front: FrontResult) -> Json:
    return {
        "quantity": front.quantity.value,
        "exact": front.exact,
        "complete": front.complete,
        "points": [asdict(point) for point in front.points],
    }
