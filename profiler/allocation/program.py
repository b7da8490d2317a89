"""A problem as a mixed-integer linear program: columns, rows, and what its quantities are in them.

A binary variable x[c, l] is 1 where choice c takes level l. A table's cost is linearised exactly by z[t, o], the share
of option o: summed over the options with a given level of one choice it is that choice's x. Where all x are 0 or 1 only
the options for those very levels can be 1, so z needs to be integer only where several options are for the same levels.
For a table of two choices that is a transportation polytope: the relaxation is its convex hull. A copy k[s, a, b] is at
least every reader's flow y[r, a, b] from the tensor's level to the reader's, linearised in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from math import inf

import numpy as np
import numpy.typing as npt

from profiler.allocation.problem import Assignment, Costs, Moment, Problem, Quantity

Terms = dict[int, float]
"""A linear expression: column to coefficient."""


class Program:
    """The columns and rows of a problem; built once, solved for several limits and objectives.

    Columns go from 0 to ``upper``, and are 0 or 1 where they are ``integer``; ``rows`` are expressions, each with its
    least and its most. ``peak_column``, which is in no row, is for `peak`.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.upper: list[float] = []
        self.integer: list[bool] = []
        self.rows: list[tuple[Terms, float, float]] = []
        self._x = [{level: self._column(integer=True) for level in choice.allowed} for choice in problem.choices]
        for levels in self._x:
            self.rows.append((dict.fromkeys(levels.values(), 1.0), 1.0, 1.0))
        self._z = [self._table(index) for index in range(len(problem.tables))]
        self._k = [self._sharing(index) for index in range(len(problem.sharings))]
        for rule in problem.not_narrower:
            self._not_narrower(rule.choice, rule.than)
        self.peak_column = self._column(integer=False)
        self.upper[self.peak_column] = inf

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
        return {self.peak_column: scale}, [({**terms, self.peak_column: -scale}, 0.0) for terms in self.moments()]

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
        self.upper.append(1.0)
        self.integer.append(integer)
        return len(self.upper) - 1

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
                    self.upper[column] = 0.0
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
                self.rows.append((row, 0.0, 0.0))
        return columns

    def _sharing(self, index: int) -> dict[tuple[int, int], int]:
        """The column of each copy."""
        sharing = self._problem.sharings[index]
        tensor = self._x[sharing.tensor]
        copied = {
            pair: self._column(integer=False)
            for pair in sharing.copies
            if any(sharing.pair(a, b) == pair for a in tensor for reader in sharing.readers for b in self._x[reader])
        }
        for choice in sharing.readers:
            reader = self._x[choice]
            copy_of = {(a, b): sharing.pair(a, b) for a in tensor for b in reader}
            flows = {
                pair: self._column(integer=False) for pair, copy in copy_of.items() if copy is None or copy in copied
            }
            for a, column in tensor.items():
                row = {flow: 1.0 for pair, flow in flows.items() if pair[0] == a}
                self.rows.append(({column: -1.0, **row}, 0.0, 0.0))
            for b, column in reader.items():
                row = {flow: 1.0 for pair, flow in flows.items() if pair[1] == b}
                self.rows.append(({column: -1.0, **row}, 0.0, 0.0))
            by_copy: dict[tuple[int, int], list[int]] = {}
            for pair, flow in flows.items():
                if (copy := copy_of[pair]) is not None:
                    by_copy.setdefault(copy, []).append(flow)
            for made, those in by_copy.items():
                self.rows.append(({**dict.fromkeys(those, 1.0), copied[made]: -1.0}, -inf, 0.0))
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
            self.rows.append((row, -inf, 0.0))

    # -- assignments ------------------------------------------------------------------------------------------------

    def without(self, only: Sequence[Collection[int]]) -> list[int]:
        """The columns of all levels but those that remain for each choice."""
        pairs = zip(self._x, only, strict=True)
        return [column for levels, kept in pairs for level, column in levels.items() if level not in kept]

    def chosen(self, assignment: Assignment) -> list[int]:
        """The integer columns that are 1."""
        chosen = [levels[level] for levels, level in zip(self._x, assignment.levels, strict=True)]
        for columns, option in zip(self._z, assignment.options, strict=True):
            column = columns[option]
            if column is not None and self.integer[column] and column not in chosen:
                chosen.append(column)
        return chosen

    def assignment(self, values: npt.NDArray[np.float64]) -> Assignment:
        """What a solution says; ``values`` of all columns."""
        levels = tuple(max(columns, key=lambda level: values[columns[level]]) for columns in self._x)
        options = []
        for table, columns in zip(self._problem.tables, self._z, strict=True):
            wanted = tuple(levels[choice] for choice in table.choices)
            fitting = [
                o for o, option in enumerate(table.options) if option.levels == wanted and columns[o] is not None
            ]
            options.append(max(fitting, key=lambda o: values[columns[o]]))
        return Assignment(levels, tuple(options))
