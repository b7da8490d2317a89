"""HiGHS, which solves a problem's program.

Source: Huangfu, Hall, Parallelizing the dual revised simplex method, Math. Prog. Comp. 10, 2018 (HiGHS).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import inf

import highspy
import numpy as np

from profiler.allocation.problem import Assignment
from profiler.allocation.program import Program, Terms

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


def minimize(
    program: Program,
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
    costs, upper = np.zeros(len(program.upper)), np.array(program.upper)
    costs[list(objective)] = list(objective.values())
    all_rows = list(program.rows)
    for terms, most in rows:
        excess = _excess(terms, most)
        upper[excess] = 0.0
        all_rows.append(_scaled({c: v for c, v in terms.items() if upper[c] > 0}, most))
    for assignment in excluded:
        chosen = program.chosen(assignment)
        all_rows.append((dict.fromkeys(chosen, 1.0), -highspy.kHighsInf, len(chosen) - 1.0))
    model = _model(program, all_rows)
    if only is not None:
        upper[program.without(only)] = 0.0
    answer: Answer | None = None
    while True:
        # HiGHS sees no difference below 1e-9 of the largest cost. Where that is far above the optimum, what costs
        # more than the solution at hand is left out, and what is left is looked at in its own scale.
        scale = float(costs[upper > 0].max(initial=0.0)) or 1.0
        model.col_cost_, model.col_upper_ = np.where(upper > 0, costs / scale, 0.0), upper
        answer, before = _search(program, model, scale, gap, began, time_limit_s), answer
        if answer.assignment is None and before is not None:  # no time was left for a closer look
            return replace(before, outcome=Outcome.TIME_LIMIT, bound=min(before.bound, answer.bound))
        if (
            answer.outcome is not Outcome.OPTIMAL
            or answer.value >= _RESOLVED * scale
            or program.peak_column in objective
        ):
            return answer
        dearer = costs > answer.value + 10 * _FEASIBILITY * scale
        if not (dearer & (upper > 0)).any():
            return answer
        upper = np.where(dearer, 0.0, upper)


def _search(
    program: Program, model: highspy.HighsLp, scale: float, gap: float, began: float, time_limit_s: float | None
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
    columns = len(program.upper)
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
        kept[program.peak_column] = True  # no share of an option: its value may be anything
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
            best, best_value = program.assignment(np.array(highs.getSolution().col_value)), value
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


def _model(program: Program, rows: Sequence[tuple[Terms, float, float]]) -> highspy.HighsLp:
    """Without an objective."""
    lp = highspy.HighsLp()
    columns = len(program.upper)
    lp.num_col_, lp.num_row_ = columns, len(rows)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(columns), np.zeros(columns), np.array(program.upper)
    lp.row_lower_ = np.array([low for _, low, _ in rows])
    lp.row_upper_ = np.array([high for _, _, high in rows])
    lp.integrality_ = [
        highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous for integer in program.integer
    ]
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = columns, len(rows)
    lengths = [len(terms) for terms, _, _ in rows]
    lp.a_matrix_.start_ = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    lp.a_matrix_.index_ = np.array([c for terms, _, _ in rows for c in terms], dtype=np.int32)
    lp.a_matrix_.value_ = np.array([v for terms, _, _ in rows for v in terms.values()])
    return lp


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
