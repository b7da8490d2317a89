"""Limits that cannot be met, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.allocation.calibration import Calibration
from profiler.allocation.explain import Unmet
from profiler.allocation.limit_text import amount_text
from profiler.allocation.problem import Quantity


def missed_text(found: Sequence[Unmet], calibration: Calibration | None = None) -> str:
    """Which limit, and the best that can be."""
    if not found:
        return (
            "no allocation is possible, whatever the limits: the combinations of precisions that have a price exclude "
            "each other; measure more (profile without --no-mixed), or loosen --keep and --forbid"
        )
    parts = []
    for unmet in found:
        quantity = unmet.limit.quantity
        most, least = unmet.limit.most, unmet.least
        if quantity is Quantity.LATENCY and calibration is not None:
            most, least = calibration.latency_s(most), calibration.latency_s(least)
        with_others = " while the others hold" if unmet.with_others else ""
        parts.append(
            f"{quantity.value} of at most {amount_text(quantity, most)} asked, the least that is possible"
            f"{with_others} is {amount_text(quantity, least)}"
        )
    how = "the limits cannot be met together" if found[0].with_others else "a limit cannot be met"
    return f"{how}: {'; '.join(parts)}"
