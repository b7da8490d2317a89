"""What the figure of an allocation's Pareto front shows, for `allocate --plot` and for reports alike."""

from __future__ import annotations

from profiler.allocation.problem import Quantity
from profiler.allocation_stages.result import Allocation, FrontResult, Point
from profiler.report.content.front import FigurePoint, FrontFigure

_AXES = {
    Quantity.LATENCY: (1e-3, "latency (ms)"),
    Quantity.SIZE: (1e6, "size of the weights (MB)"),
    Quantity.BOPS: (1e9, "bit operations of an image (10^9)"),
    Quantity.ENERGY: (1e-3, "energy of a batch (mJ)"),
    Quantity.MEMORY: (1e6, "peak of live activations (MB)"),
}
_LEVELS = (0.25, 0.5, 0.75)
"""Of HAWQ-V3: low, medium and high, of the way from the narrowest to the widest network."""


def front_figure(allocation: Allocation, front: FrontResult) -> FrontFigure:
    """The levels are marked where the narrowest network takes less than the widest."""
    bits = allocation.bits
    unit, axis = _AXES[front.quantity]

    def drawn(point: Point) -> FigurePoint:
        return FigurePoint(point.sensitivity, _amount(point, front.quantity) / unit, point.precisions)

    points = tuple(map(drawn, front.points))
    levels: list[tuple[str, float]] = []
    for end in allocation.ends:
        if end.quantity is front.quantity and end.narrow < end.wide:
            names = (f"all {allocation.narrowest.upper()}", *map(str, _LEVELS), f"all {allocation.widest.upper()}")
            amounts = (end.narrow + fraction * (end.wide - end.narrow) for fraction in (0.0, *_LEVELS, 1.0))
            levels = [(name, amount / unit) for name, amount in zip(names, amounts, strict=True)]
    if bits.latency.kernel_only and front.quantity is Quantity.LATENCY:
        axis = "latency of bare kernels (ms)"
    return FrontFigure(
        title=f"{bits.network}, batch {bits.batch}, {bits.device_name}",
        axis=axis,
        layers=tuple(layer.name for layer in bits.layers),
        points=points,
        chosen=_chosen(allocation, front.quantity, points, unit),
        levels=tuple(levels),
    )


def _chosen(
    allocation: Allocation, quantity: Quantity, points: tuple[FigurePoint, ...], unit: float
) -> FigurePoint | None:
    """The allocation itself: a point of the front, or one beside it (of a front of some limits, or other bits)."""
    bits = allocation.bits
    precisions = tuple(layer.precision for layer in bits.layers)
    found = next((point for point in points if point.precisions == precisions), None)
    if found is not None:
        return found
    amounts = {
        Quantity.LATENCY: bits.latency.total_s,
        Quantity.SIZE: bits.size_bytes,
        Quantity.BOPS: bits.bops,
        Quantity.ENERGY: bits.energy_j,
        Quantity.MEMORY: bits.activation_bytes,
    }
    amount = amounts[quantity]
    return None if amount is None else FigurePoint(bits.sensitivity, amount / unit, precisions)


def _amount(point: Point, quantity: Quantity) -> float:
    amount = {
        Quantity.LATENCY: point.latency_s,
        Quantity.SIZE: point.size_bytes,
        Quantity.BOPS: point.bops,
        Quantity.ENERGY: point.energy_j,
        Quantity.MEMORY: point.activation_bytes,
    }[quantity]
    assert amount is not None  # the front is of a quantity that is known
    return amount
