"""What the figure of a Pareto front shows. Importing this does not import matplotlib."""

from __future__ import annotations

from dataclasses import dataclass

FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True)
class FigurePoint:
    """``amount`` of the quantity in the unit of its axis; ``precisions`` by layer."""

    sensitivity: float
    amount: float
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class FrontFigure:
    """``points`` from the least to the most sensitive one, ``chosen`` is one of them, or lies beside them. ``levels``
    are limits to mark: a label and an amount."""

    title: str
    axis: str
    layers: tuple[str, ...]
    points: tuple[FigurePoint, ...]
    chosen: FigurePoint | None
    levels: tuple[tuple[str, float], ...] = ()
