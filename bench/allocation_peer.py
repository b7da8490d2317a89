"""The same allocation problems as a textbook would write them, through `scipy.optimize.milp`.

A binary variable per choice and level; the product of two of them is a variable of its own, at least x + y - 1. A copy
is at least x + y - 1 of the tensor's level and each reader's. All costs are at least zero and limits are upper ends, so
nothing has to hold the products up against x and y. No big M.

Only for problems whose tables have one or two choices and one option for all levels, which is what
`allocation_problems` makes. Source: Glover, Woolsey, Converting the 0-1 polynomial programming problem to a 0-1 linear
program, Operations Research 22, 1974.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from profiler.allocation.problem import Costs, Limit, Problem, Quantity

_Terms = dict[int, float]
_OPTIMAL = 0


@dataclass(frozen=True)
class PeerAnswer:
    """``objective`` is None where the peer did not finish within its time."""

    objective: float | None


def solve_plainly(problem: Problem, limits: Sequence[Limit], time_limit_s: float) -> PeerAnswer:
    """HiGHS with its defaults, but for the gap of zero."""
    model = _Model()
    x = [{level: model.column(integer=True) for level in choice.allowed} for choice in problem.choices]
    for choice, columns in zip(problem.choices, x, strict=True):
        model.row(dict.fromkeys(columns.values(), 1.0), 1.0, 1.0)
        for level, column in columns.items():
            model.objective[column] = choice.sensitivity[level]
            model.cost(column, choice.costs[level] if choice.costs else {})
    for table in problem.tables:
        for option in table.options:
            ends = [x[choice][level] for choice, level in zip(table.choices, option.levels, strict=True)]
            model.cost(ends[0] if len(ends) == 1 else model.product(ends), option.costs)
    for sharing in problem.sharings:
        for (stored, wanted), costs in sharing.copies.items():
            copy = model.column(integer=False)
            for reader in sharing.readers:
                model.at_least_product(copy, [x[sharing.tensor][stored], x[reader][wanted]])
            model.cost(copy, costs)
    for limit in limits:
        model.row(model.costs.get(limit.quantity, {}), -np.inf, limit.most)
    return PeerAnswer(model.solve(time_limit_s))


@dataclass
class _Model:
    """Columns are 0 to 1."""

    integer: list[bool] = field(default_factory=list)
    objective: _Terms = field(default_factory=dict)
    costs: dict[Quantity, _Terms] = field(default_factory=dict)
    rows: list[tuple[Mapping[int, float], float, float]] = field(default_factory=list)

    def column(self, *, integer: bool) -> int:
        self.integer.append(integer)
        return len(self.integer) - 1

    def row(self, terms: Mapping[int, float], low: float, high: float) -> None:
        self.rows.append((terms, low, high))

    def cost(self, column: int, costs: Costs) -> None:
        for quantity, value in costs.items():
            self.costs.setdefault(quantity, {})[column] = value

    def product(self, factors: Sequence[int]) -> int:
        column = self.column(integer=False)
        self.at_least_product(column, factors)
        return column

    def at_least_product(self, column: int, factors: Sequence[int]) -> None:
        self.row({column: 1.0, **dict.fromkeys(factors, -1.0)}, -1.0, np.inf)

    def solve(self, time_limit_s: float) -> float | None:
        columns = len(self.integer)
        objective = np.zeros(columns)
        objective[list(self.objective)] = list(self.objective.values())
        starts = np.cumsum([0, *(len(terms) for terms, _, _ in self.rows)])
        indices = [column for terms, _, _ in self.rows for column in terms]
        values = [value for terms, _, _ in self.rows for value in terms.values()]
        matrix = csr_array((values, indices, starts), shape=(len(self.rows), columns))
        answer = milp(
            objective,
            integrality=np.array(self.integer, dtype=int),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, [low for _, low, _ in self.rows], [high for _, _, high in self.rows]),
            options={"mip_rel_gap": 0.0, "time_limit": time_limit_s},
        )
        return float(answer.fun) if answer.status == _OPTIMAL else None
