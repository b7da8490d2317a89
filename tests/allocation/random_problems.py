"""Random small problems with everything that a problem can have, and the best assignment by trying all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from profiler.allocation.problem import (
    SUMS,
    Assignment,
    Choice,
    Costs,
    Limit,
    Moment,
    NotNarrower,
    Option,
    Problem,
    Quantity,
    Sharing,
    Table,
    sensitivity,
    total,
    violations,
)
from profiler.allocation.solve import holds

Generator = np.random.Generator


def random_problem(generator: Generator, most_choices: int = 6) -> Problem:
    """Up to that many choices of up to three levels, tables over one to three of them, sharings, rules, moments."""
    levels = int(generator.integers(1, 4))
    count = int(generator.integers(1, most_choices + 1))
    choices = tuple(_choice(generator, f"c{i}", levels) for i in range(count))
    tables = tuple(_table(generator, f"t{i}", choices) for i in range(int(generator.integers(0, count + 1))))
    sharings = tuple(_sharing(generator, f"s{i}", choices) for i in range(int(generator.integers(0, 3))) if count > 1)
    rules = tuple(
        NotNarrower(*map(int, generator.choice(count, 2, replace=False)))
        for _ in range(int(generator.integers(0, 2)) if count > 1 else 0)
    )
    moments = tuple(
        _moment(generator, f"m{i}", choices, tables, sharings) for i in range(int(generator.integers(0, 4)))
    )
    return Problem(tuple(f"p{i}" for i in range(levels)), choices, tables, sharings, rules, moments)


def assignments(problem: Problem) -> Iterator[Assignment]:
    """All that the structure of the problem admits."""
    for levels in product(*(choice.allowed for choice in problem.choices)):
        fitting = []
        for table in problem.tables:
            wanted = tuple(levels[choice] for choice in table.choices)
            fitting.append([i for i, option in enumerate(table.options) if option.levels == wanted])
        for options in product(*fitting):
            assignment = Assignment(levels, options)
            if not violations(problem, assignment):
                yield assignment


def best(problem: Problem, limits: Sequence[Limit]) -> float | None:
    """The least sensitivity within the limits."""
    within = (
        sensitivity(problem, assignment.levels)
        for assignment in assignments(problem)
        if all(holds(total(problem, assignment, limit.quantity), limit.most) for limit in limits)
    )
    return min(within, default=None)


def random_limits(generator: Generator, problem: Problem) -> tuple[Limit, ...]:
    """Somewhere between the ends of what is possible, at a possible value exactly, or out of reach."""
    possible = list(assignments(problem))
    limits = []
    for quantity in Quantity:
        if generator.random() < 0.5 or not possible:
            continue
        values = [total(problem, assignment, quantity) for assignment in possible]
        low, high = min(values), max(values)
        kind = generator.random()
        if kind < 0.4:
            most = low + generator.random() * (high - low)
        elif kind < 0.9:
            most = values[int(generator.integers(len(values)))]
        else:
            most = low * 0.9 - 0.01
        limits.append(Limit(quantity, float(most)))
    return tuple(limits)


def _number(generator: Generator) -> float:
    """Often zero or a small integer, so that ties occur."""
    kind = generator.random()
    if kind < 0.15:
        return 0.0
    if kind < 0.4:
        return float(generator.integers(1, 4))
    return float(10 ** generator.uniform(-3, 1))


def _costs(generator: Generator) -> Costs:
    return {quantity: _number(generator) for quantity in SUMS if generator.random() < 0.8}


def _choice(generator: Generator, name: str, levels: int) -> Choice:
    allowed = [level for level in range(levels) if generator.random() < 0.8] or [int(generator.integers(levels))]
    costs = tuple(_costs(generator) for _ in range(levels)) if generator.random() < 0.7 else ()
    is_layer = bool(generator.random() < 0.8)
    values = tuple(_number(generator) if is_layer else 0.0 for _ in range(levels))
    return Choice(name, tuple(allowed), values, costs, is_layer)


def _some(generator: Generator, choices: Sequence[Choice], most: int) -> tuple[int, ...]:
    size = int(generator.integers(1, min(most, len(choices)) + 1))
    return tuple(map(int, generator.choice(len(choices), size, replace=False)))


def _table(generator: Generator, name: str, choices: Sequence[Choice]) -> Table:
    chosen = _some(generator, choices, 3)
    options = []
    for levels in product(*(choices[i].allowed for i in chosen)):
        if generator.random() < 0.93:
            options += [Option(levels, _costs(generator)) for _ in range(1 + int(generator.random() < 0.3))]
    return Table(name, chosen, tuple(options))


def _sharing(generator: Generator, name: str, choices: Sequence[Choice]) -> Sharing:
    tensor, *readers = map(int, generator.permutation(len(choices))[: int(generator.integers(2, 5))])
    levels = len(choices[0].sensitivity)
    pairs = {
        (a, b): _costs(generator) for a in range(levels) for b in range(levels) if a != b and generator.random() < 0.85
    }
    return Sharing(name, tensor, tuple(readers), pairs)


def _moment(
    generator: Generator, name: str, choices: Sequence[Choice], tables: Sequence[Table], sharings: Sequence[Sharing]
) -> Moment:
    alive = _some(generator, choices, len(choices))
    levels = len(choices[0].sensitivity)
    return Moment(
        name,
        choices=tuple((c, tuple(_number(generator) for _ in range(levels))) for c in alive),
        options=tuple(
            (t, tuple(_number(generator) for _ in table.options))
            for t, table in enumerate(tables)
            if generator.random() < 0.4
        ),
        copies=tuple(
            (s, {pair: _number(generator) for pair in sharing.copies})
            for s, sharing in enumerate(sharings)
            if generator.random() < 0.6
        ),
    )
