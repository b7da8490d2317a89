"""A problem as a mixed-integer linear program, and HiGHS that solves it.

A binary variable x[c, l] is 1 where choice c takes level l. A table's cost is linearised exactly by z[t, o], the share
of option o: summed over the options with a given level of one choice it is that choice's x. Where all x are 0 or 1 only
the options for those very levels can be 1, so z needs to be integer only where several options are for the same levels.
For a table of two choices that is a transportation polytope: the relaxation is its convex hull. A copy k[s, a, b] is at
least every reader's flow y[r, a, b] from the tensor's level to the reader's, linearised in the same way.

Source of the solver: Huangfu, Hall, Parallelizing the dual revised simplex method, Math. Prog. Comp. 10, 2018 (HiGHS).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import inf

import highspy
import numpy as np
import numpy.typing as npt

from profiler.allocation.problem import Assignment, Costs, Moment, Problem, Quantity

_FEASIBILITY = 1e-9
"""Rows are scaled to a limit of 1; HiGHS accepts what exceeds it by no more."""
_FIRST_GUESS = 0.0015
"""Of the objective: how far integers usually are above the relaxation of such problems."""
_WIDER = 8.0
_RESOLVED = 1e-3
"""Of the largest cost: an optimum above that is told from its neighbours to one part in 10^6 and better."""
_FRUITLESS = ("mip_heuristic_run_rens", "mip_heuristic_run_rins", "mip_heuristic_run_feasibility_jump")
"""Heuristics that do not pay here: without the first two 200 layers take three quarters of the time (170 paired runs),
without the third small programs a quarter, and it was seen to end in a solution that is not the best.

What HiGHS must not be given is ``objective_bound``: faster still, but it then calls optimal what is not (1.14, 1.15).
"""
_FEW_COLUMNS = 400
"""So many are searched without presolve. At these tolerances HiGHS's presolve (1.12 to 1.16) calls a program infeasible
that is not, once in some ten thousand small ones; so it is also asked again without before that is believed."""
_INFEASIBLE = (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)

Terms = dict[int, float]
"""A linear expression: column to coefficient."""


class Outcome(str, Enum):
    """How a search ended. ``time_limit``: with the best that was found until then, if anything was."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    TIME_LIMIT = "time_limit"


@dataclass(frozen=True)
class Answer:
    """``assignment`` is None where none was found, and ``value`` of the objective, as the solver sees it, infinite. No
    feasible one has an objective below ``bound``."""

    outcome: Outcome
    assignment: Assignment | None
    value: float
    bound: float


class Program:
    """The columns and rows of a problem; built once, solved for several limits and objectives."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._upper: list[float] = []
        self._integer: list[bool] = []
        self._rows: list[tuple[Terms, float, float]] = []
        self._x = [{level: self._column(integer=True) for level in choice.allowed} for choice in problem.choices]
        for levels in self._x:
            self._rows.append((dict.fromkeys(levels.values(), 1.0), 1.0, 1.0))
        self._z = [self._table(index) for index in range(len(problem.tables))]
        self._k = [self._sharing(index) for index in range(len(problem.sharings))]
        for rule in problem.not_narrower:
            self._not_narrower(rule.choice, rule.than)
        self._peak = self._column(integer=False)
        self._upper[self._peak] = highspy.kHighsInf

    # -- expressions ------------------------------------------------------------------------------------------------

    def sensitivity(self) -> Terms:
        """The objective."""
        terms: Terms = {}
        for choice, levels in zip(self._problem.choices, self._x, strict=True):
            for level, column in levels.items():
                terms[column] = choice.sensitivity[level]
        return terms

    def sum_of(self, quantity: Quantity) -> Terms:
        """A quantity that is a sum."""
        terms: Terms = {}

        def add(column: int | None, costs: Costs) -> None:
            cost = costs.get(quantity, 0.0)
            if cost and column is not None:
                terms[column] = terms.get(column, 0.0) + cost

        problem = self._problem
        for choice, levels in zip(problem.choices, self._x, strict=True):
            for level, column in levels.items() if choice.costs else ():
                add(column, choice.costs[level])
        for table, columns in zip(problem.tables, self._z, strict=True):
            for option, share in zip(table.options, columns, strict=True):
                add(share, option.costs)
        for sharing, pairs in zip(problem.sharings, self._k, strict=True):
            for pair, column in pairs.items():
                add(column, sharing.copies[pair])
        return terms

    def distance(self, narrow: bool) -> Terms:
        """How far the layers are from their narrowest (or widest) level, in levels."""
        terms: Terms = {}
        for choice, levels in zip(self._problem.choices, self._x, strict=True):
            if choice.is_layer:
                end = choice.allowed[-1] if narrow else choice.allowed[0]
                terms.update({column: float(abs(level - end)) for level, column in levels.items()})
        return terms

    def moments(self) -> list[Terms]:
        """The bytes that are alive at each moment."""
        return [self._alive(moment) for moment in self._problem.moments]

    def peak(self) -> tuple[Terms, list[tuple[Terms, float]]]:
        """The bytes at the worst moment as an objective, with the rows that make it so."""
        scale = max((value for terms in self.moments() for value in terms.values()), default=1.0)
        return {self._peak: scale}, [({**terms, self._peak: -scale}, 0.0) for terms in self.moments()]

    def _alive(self, moment: Moment) -> Terms:
        terms: Terms = {}

        def add(column: int | None, size: float) -> None:
            if size and column is not None:
                terms[column] = terms.get(column, 0.0) + size

        for choice, by_level in moment.choices:
            for level, column in self._x[choice].items():
                add(column, by_level[level])
        for table, by_option in moment.options:
            for share, size in zip(self._z[table], by_option, strict=True):
                add(share, size)
        for sharing, by_pair in moment.copies:
            for pair, size in by_pair.items():
                add(self._k[sharing].get(pair), size)
        return terms

    # -- columns and rows -------------------------------------------------------------------------------------------

    def _column(self, *, integer: bool) -> int:
        self._upper.append(1.0)
        self._integer.append(integer)
        return len(self._upper) - 1

    def _table(self, index: int) -> list[int | None]:
        """The column of each option; None where the levels that it is for are not all allowed."""
        table = self._problem.tables[index]
        possible = [
            all(level in self._x[choice] for choice, level in zip(table.choices, option.levels, strict=True))
            for option in table.options
        ]
        alike = Counter(option.levels for option, kept in zip(table.options, possible, strict=True) if kept)
        if len(table.choices) == 1 and all(count == 1 for count in alike.values()):
            levels = self._x[table.choices[0]]
            for level, column in levels.items():
                if (level,) not in alike:
                    self._upper[column] = 0.0
            return [levels[o.levels[0]] if kept else None for o, kept in zip(table.options, possible, strict=True)]
        columns = [
            self._column(integer=alike[option.levels] > 1) if kept else None
            for option, kept in zip(table.options, possible, strict=True)
        ]
        for position, choice in enumerate(table.choices):
            for level, column in self._x[choice].items():
                row: Terms = {column: -1.0}
                for option, z in zip(table.options, columns, strict=True):
                    if z is not None and option.levels[position] == level:
                        row[z] = 1.0
                self._rows.append((row, 0.0, 0.0))
        return columns

    def _sharing(self, index: int) -> dict[tuple[int, int], int]:
        """The column of each copy."""
        sharing = self._problem.sharings[index]
        tensor = self._x[sharing.tensor]
        copied = {
            pair: self._column(integer=False)
            for pair in sharing.copies
            if pair[0] in tensor and any(pair[1] in self._x[reader] for reader in sharing.readers)
        }
        for choice in sharing.readers:
            reader = self._x[choice]
            flows = {(a, b): self._column(integer=False) for a in tensor for b in reader if a == b or (a, b) in copied}
            for a, column in tensor.items():
                row = {flow: 1.0 for pair, flow in flows.items() if pair[0] == a}
                self._rows.append(({column: -1.0, **row}, 0.0, 0.0))
            for b, column in reader.items():
                row = {flow: 1.0 for pair, flow in flows.items() if pair[1] == b}
                self._rows.append(({column: -1.0, **row}, 0.0, 0.0))
            for pair, flow in flows.items():
                if pair in copied:
                    self._rows.append(({flow: 1.0, copied[pair]: -1.0}, -highspy.kHighsInf, 0.0))
        return copied

    def _not_narrower(self, choice: int, than: int) -> None:
        """For each level: as narrow as that, or narrower, only if the other one is."""
        for least in range(1, len(self._problem.precisions)):
            row: Terms = {}
            for level, column in self._x[choice].items():
                if level >= least:
                    row[column] = row.get(column, 0.0) + 1.0
            for level, column in self._x[than].items():
                if level >= least:
                    row[column] = row.get(column, 0.0) - 1.0
            self._rows.append((row, -highspy.kHighsInf, 0.0))

    # -- solving ----------------------------------------------------------------------------------------------------

    def minimize(
        self,
        objective: Terms,
        rows: Sequence[tuple[Terms, float]],
        *,
        only: Sequence[Collection[int]] | None = None,
        excluded: Sequence[Assignment] = (),
        gap: float = 0.0,
        time_limit_s: float | None = None,
    ) -> Answer:
        """The assignment that minimises the objective with each row's expression at most its number. ``only`` has
        the levels that remain for each choice; ``excluded`` assignments are no answers."""
        began = time.perf_counter()
        costs, upper = np.zeros(len(self._upper)), np.array(self._upper)
        costs[list(objective)] = list(objective.values())
        all_rows = list(self._rows)
        for terms, most in rows:
            excess = _excess(terms, most)
            upper[excess] = 0.0
            all_rows.append(_scaled({c: v for c, v in terms.items() if upper[c] > 0}, most))
        for assignment in excluded:
            chosen = self._chosen(assignment)
            all_rows.append((dict.fromkeys(chosen, 1.0), -highspy.kHighsInf, len(chosen) - 1.0))
        model = self._model(all_rows)
        for levels, kept in zip(self._x, only, strict=True) if only is not None else ():
            upper[[column for level, column in levels.items() if level not in kept]] = 0.0
        answer: Answer | None = None
        while True:
            # HiGHS sees no difference below 1e-9 of the largest cost. Where that is far above the optimum, what costs
            # more than the solution at hand is left out, and what is left is looked at in its own scale.
            scale = float(costs[upper > 0].max(initial=0.0)) or 1.0
            model.col_cost_, model.col_upper_ = np.where(upper > 0, costs / scale, 0.0), upper
            answer, before = self._search(model, scale, gap, began, time_limit_s), answer
            if answer.assignment is None and before is not None:  # no time was left for a closer look
                return replace(before, outcome=Outcome.TIME_LIMIT, bound=min(before.bound, answer.bound))
            if answer.outcome is not Outcome.OPTIMAL or answer.value >= _RESOLVED * scale or self._peak in objective:
                return answer
            dearer = costs > answer.value + 10 * _FEASIBILITY * scale
            if not (dearer & (upper > 0)).any():
                return answer
            upper = np.where(dearer, 0.0, upper)

    def _search(
        self, model: highspy.HighsLp, scale: float, gap: float, began: float, time_limit_s: float | None
    ) -> Answer:
        """Reduced costs of the relaxation say how much dearer the best solution is that uses a column. So columns that
        cost more than a guess are left out first; a solution that lies within the guess is the best of all, any other
        one tells how far to look. ``scale`` is what the model's objective was divided by.

        Source: Balas, Martin, Pivot and complement, Management Science 26, 1980 (reduced-cost fixing).
        """

        def left() -> float | None:
            return None if time_limit_s is None else max(0.01, time_limit_s - (time.perf_counter() - began))

        def ended(outcome: Outcome, bound: float) -> Answer:
            return Answer(outcome, None, inf, bound)

        relaxed = _solver(0.0, left())
        relaxed.passModel(model)
        columns = len(self._upper)
        everywhere = np.arange(columns, dtype=np.int32)
        relaxed.changeColsIntegrality(columns, everywhere, np.zeros(columns, dtype=np.uint8))
        relaxed.run()
        status = relaxed.getModelStatus()
        if status in _INFEASIBLE:
            return ended(Outcome.INFEASIBLE, inf)
        if status == highspy.HighsModelStatus.kTimeLimit:
            return ended(Outcome.TIME_LIMIT, 0.0)
        _require(status == highspy.HighsModelStatus.kOptimal, relaxed)
        base = relaxed.getInfo().objective_function_value
        reduced = np.array(relaxed.getSolution().col_dual)
        guess = max(_FIRST_GUESS * abs(base), 100 * _FEASIBILITY)
        unit = base if base > _RESOLVED else 1.0  # of the objective in the search: the answer is near 1 there
        presolve, allowed = True, np.array(model.col_upper_)
        best, best_value = None, inf
        while True:
            kept = reduced <= guess
            kept[self._peak] = True  # no share of an option: its value may be anything
            presolve = presolve and int(np.count_nonzero(kept & (allowed > 0))) > _FEW_COLUMNS
            highs = _solver(gap, left())
            highs.setOptionValue("presolve", "on" if presolve else "off")
            for name in _FRUITLESS:
                highs.setOptionValue(name, False)
            highs.passModel(model)
            upper = np.where(kept, allowed, 0.0)
            highs.changeColsBounds(columns, everywhere, np.zeros(columns), upper)
            highs.changeColsCost(columns, everywhere, np.where(kept, model.col_cost_, 0.0) / unit)
            highs.run()
            status, info = highs.getModelStatus(), highs.getInfo()
            late = status == highspy.HighsModelStatus.kTimeLimit
            _require(late or status in (*_INFEASIBLE, highspy.HighsModelStatus.kOptimal), highs)
            found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
            value = info.objective_function_value * unit if found else inf
            if value < best_value:
                best, best_value = self._assignment(np.array(highs.getSolution().col_value)), value
            whole = bool(kept.all())
            if late or value <= base + guess - 10 * _FEASIBILITY or (whole and (found or not presolve)):
                break
            if found:
                guess = (value - base) * (1 + 1e-9) + 20 * _FEASIBILITY
            elif whole:
                presolve = False
            else:
                guess *= _WIDER
        if best is None:
            return ended(Outcome.TIME_LIMIT, base * scale) if late else ended(Outcome.INFEASIBLE, inf)
        bound = info.mip_dual_bound * unit if whole else min(info.mip_dual_bound * unit, base + guess)
        return Answer(
            outcome=Outcome.TIME_LIMIT if late else Outcome.OPTIMAL,
            assignment=best,
            value=best_value * scale,
            bound=bound * scale,
        )

    def _chosen(self, assignment: Assignment) -> list[int]:
        """The integer columns that are 1."""
        chosen = [levels[level] for levels, level in zip(self._x, assignment.levels, strict=True)]
        for columns, option in zip(self._z, assignment.options, strict=True):
            column = columns[option]
            if column is not None and self._integer[column] and column not in chosen:
                chosen.append(column)
        return chosen

    def _model(self, rows: Sequence[tuple[Terms, float, float]]) -> highspy.HighsLp:
        """Without an objective."""
        lp = highspy.HighsLp()
        columns = len(self._upper)
        lp.num_col_, lp.num_row_ = columns, len(rows)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(columns), np.zeros(columns), np.array(self._upper)
        lp.row_lower_ = np.array([low for _, low, _ in rows])
        lp.row_upper_ = np.array([high for _, _, high in rows])
        lp.integrality_ = [
            highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous for integer in self._integer
        ]
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = columns, len(rows)
        lengths = [len(terms) for terms, _, _ in rows]
        lp.a_matrix_.start_ = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        lp.a_matrix_.index_ = np.array([c for terms, _, _ in rows for c in terms], dtype=np.int32)
        lp.a_matrix_.value_ = np.array([v for terms, _, _ in rows for v in terms.values()])
        return lp

    def _assignment(self, values: npt.NDArray[np.float64]) -> Assignment:
        levels = tuple(max(columns, key=lambda level: values[columns[level]]) for columns in self._x)
        options = []
        for table, columns in zip(self._problem.tables, self._z, strict=True):
            wanted = tuple(levels[choice] for choice in table.choices)
            fitting = [
                o for o, option in enumerate(table.options) if option.levels == wanted and columns[o] is not None
            ]
            options.append(max(fitting, key=lambda o: values[columns[o]]))
        return Assignment(levels, tuple(options))


def _excess(terms: Terms, most: float) -> list[int]:
    """Columns that exceed a limit alone. They can be left out, and with them numbers against which the limit would be
    too small to be seen."""
    if most < 0 or min(terms.values(), default=0.0) < 0:
        return []
    return [column for column, value in terms.items() if value > most * (1 + 2 * _FEASIBILITY)]


def _scaled(terms: Terms, most: float) -> tuple[Terms, float, float]:
    """The row, so that coefficients and limit are near 1."""
    scale = max((abs(value) for value in terms.values()), default=0.0)
    scale = max(scale, abs(most)) or 1.0
    return {c: v / scale for c, v in terms.items()}, -highspy.kHighsInf, most / scale


def _solver(gap: float, time_limit_s: float | None) -> highspy.Highs:
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("mip_rel_gap", gap)
    highs.setOptionValue("mip_abs_gap", 0.0)
    for name in ("mip_feasibility_tolerance", "primal_feasibility_tolerance", "dual_feasibility_tolerance"):
        highs.setOptionValue(name, _FEASIBILITY)
    if time_limit_s is not None:
        highs.setOptionValue("time_limit", time_limit_s)
    return highs


def _require(expected: bool, highs: highspy.Highs) -> None:
    if not expected:
        raise RuntimeError(f"HiGHS ended with {highs.modelStatusToString(highs.getModelStatus())}")
