"""How good the first configs are that a search tries: a replay of searches over sweeps that were measured once.

Of each swept kernel the model knows what was measured of kernels of other workloads, and nothing of its own. What the
search would then try is looked up in the sweep. Beside it: the same search knowing nothing but the analytic model, and
configs drawn at random (exactly, not by drawing). The figure is the best of what was tried over the best of the sweep;
both are medians of single measurements, so that of hundreds of configs a lucky one is the best by the noise alone.

Where a choice was made by sweeps (`Strategy.familiar_spread`), it was made by those of workloads with an even place in
the order of their texts ("dev"), and not by the others ("final").
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb, inf
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.ranking_data import SEARCHES, SWEEPS, Sweep, Timed, condense, read_searches, read_sweeps
from profiler.hardware import CpuSpec, DotIsa
from profiler.predictor.configs.learned import LearnedModel
from profiler.record import SCREEN_STAGE, Conditions, Measurement
from profiler.space.config import parse_config
from profiler.tuning.cost_model import CostModel
from profiler.tuning.search import propose
from profiler.tuning.tuner import Budget
from profiler.units import format_duration
from profiler.workload import KernelSpec, Workload

DATA = Path(__file__).parent / "data"
CPU = CpuSpec("AMD EPYC (26/2/1)", DotIsa.AVX512_VNNI, frozenset(), "", 2, 48 << 10, 1 << 20, 32 << 20)
"""What was measured on; see the README of the data."""
FIRST, WITHIN = 8, 0.05
"""The goal: the best of the first 8 configs within 5% of the best of the space."""
_BUDGET = Budget()


@dataclass(frozen=True)
class Search:
    """What came of a search of a sweep, as multiples of its best latency: after the first batch, and when it ended."""

    first: float
    last: float
    trials: int


@dataclass(frozen=True)
class Drawn:
    """What comes of as many configs as a batch has, drawn at random: median multiple, and probability of the goal."""

    median: float
    within: float


@dataclass(frozen=True)
class Outcome:
    """Of one sweep: the search of a model that knows other workloads, of one that knows nothing, and chance."""

    sweep: Sweep
    knowing: Search
    ignorant: Search
    drawn: Drawn


def replay(model: CostModel, known: Sequence[Measurement], sweep: Sweep) -> tuple[str, ...]:
    """Texts of the configs that a tuner tries, in its order, until it stops; its space are the swept configs."""
    space = tuple(map(parse_config, sweep.configs))
    measured_s: dict[str, float] = {}
    tried: list[str] = []
    while len(tried) < _BUDGET.trials:
        own = [as_measured(Timed(sweep.spec, c, s, 0.0, SCREEN_STAGE)) for c, s in measured_s.items()]
        model.fit([*known, *own])
        failed = [config for config in tried if config in sweep.failed]
        count = min(_BUDGET.batch, _BUDGET.trials - len(tried))
        proposal = propose(sweep.spec, space, measured_s, failed, (), model, count)
        if proposal.stop is not None:
            break
        batch = [sweep.configs[space.index(config)] for config in proposal.configs]
        measured_s.update({c: sweep.latencies_s[c] for c in batch if c in sweep.latencies_s})
        tried += batch
    return tuple(tried)


def multiple(sweep: Sweep, tried: Iterable[str]) -> float:
    """The best of what was tried over the best of the sweep; infinite if nothing of it works."""
    return min((sweep.latencies_s[c] for c in tried if c in sweep.latencies_s), default=inf) / sweep.best_s


def drawn(sweep: Sweep, count: int = FIRST) -> Drawn:
    """The best of ``count`` configs drawn without replacement."""
    latencies_s, total = sorted(sweep.latencies_s.values()), len(sweep.configs)

    def probability(fast: int) -> float:
        """That one of the ``fast`` fastest is among those drawn."""
        return 1 - comb(total - fast, count) / comb(total, count) if total > count else 1.0

    median = next((s for n, s in enumerate(latencies_s, start=1) if probability(n) >= 0.5), inf)
    within = sum(s <= (1 + WITHIN) * sweep.best_s for s in latencies_s)
    return Drawn(median / sweep.best_s, probability(within))


def outcomes(searches: Sequence[Timed], sweeps: Sequence[Sweep], device: CpuSpec = CPU) -> tuple[Outcome, ...]:
    """One for each sweep; what is known of its workload, in whatever batch, precision and epilogue, is left out."""
    measured = [(_group(timed.spec), as_measured(timed)) for timed in searches]
    model = LearnedModel(device)
    found = []
    for sweep in sweeps:
        known = [m for group, m in measured if group != _group(sweep.spec)]
        knowing, ignorant = (_search(sweep, replay(model, rows, sweep)) for rows in (known, []))
        found.append(Outcome(sweep, knowing, ignorant, drawn(sweep)))
    return tuple(found)


def as_measured(timed: Timed) -> Measurement:
    """A measurement with that median and an interval of that width, for a model to learn from: its samples are made up
    for it."""
    high_s = timed.latency_s * (1 + 2 * timed.relative_halfwidth)
    samples_s = (*[timed.latency_s] * 5, high_s)  # of six samples the outermost enclose the median with 95%
    return Measurement(
        timed.spec, timed.config, Conditions(), "", "0" * 64, samples_s, 1, 0, timed.stage, "replay", 0.0, ""
    )


def halves(sweeps: Sequence[Sweep]) -> dict[KernelSpec, str]:
    """``dev`` or ``final``, by the place of the workload in the order of their texts; batches of one stay together."""
    order = sorted({_group(sweep.spec).text for sweep in sweeps})
    return {s.spec: "final" if order.index(_group(s.spec).text) % 2 else "dev" for s in sweeps}


def bench_ranking(folder: Path = DATA, console: Console | None = None) -> tuple[Outcome, ...]:
    """Print what became of each sweep, and of each half of them. Raises `InvalidFile`."""
    console = console or Console(width=160, highlight=False, markup=False)
    searches, sweeps = read_searches(folder / SEARCHES), read_sweeps(folder / SWEEPS)
    half = halves(sweeps)
    found = outcomes(searches, sweeps)
    console.print(
        f"{len(sweeps)} sweeps; known: {len(searches)} configs of {len({t.spec for t in searches})} kernels, those of "
        "the same workload left out; best of what was tried over the best of the sweep",
        soft_wrap=True,
    )
    console.print(_table(found, half))
    for name in ("dev", "final"):
        group = [outcome for outcome in found if half[outcome.sweep.spec] == name]
        if group:
            console.print(f"{name} ({len(group)} sweeps):")
            for line in _summary(group):
                console.print(f"  {line}", soft_wrap=True)
    return found


def main(arguments: Sequence[str]) -> None:
    """``python -m bench ranking [--data DIR]``, ``... --condense LOGS SWEEPS.csv [-o DIR]``."""
    parser = argparse.ArgumentParser(prog="bench ranking", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"folder of {SEARCHES} and {SWEEPS}")
    parser.add_argument(
        "--condense", type=Path, nargs=2, metavar=("LOGS", "SWEEPS.csv"), help="write these files instead, of journals"
    )
    parser.add_argument("-o", "--out", type=Path, default=DATA, metavar="DIR", help="of --condense")
    parsed = parser.parse_args(arguments)
    if parsed.condense:
        logs, sweeps = parsed.condense
        condense(logs, sweeps, parsed.out)
    else:
        bench_ranking(parsed.data)


def _group(spec: KernelSpec) -> Workload:
    return spec.workload.with_batch(1)


def _search(sweep: Sweep, tried: Sequence[str]) -> Search:
    return Search(multiple(sweep, tried[:FIRST]), multiple(sweep, tried), len(tried))


def _table(found: Sequence[Outcome], half: dict[KernelSpec, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    left = ("half", "workload", "weights")
    search = ("first 8", "end", "trials")
    right = ("configs", "best", *search, "nothing known: 8", *search[1:], "random 8")
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right")
    for o in sorted(found, key=lambda o: (half[o.sweep.spec], o.sweep.spec.key)):
        weights = o.sweep.spec.weight_dtype
        table.add_row(
            half[o.sweep.spec], o.sweep.spec.workload.text, weights.value if weights else "", str(len(o.sweep.configs)),
            format_duration(o.sweep.best_s), *_cells(o.knowing), *_cells(o.ignorant), f"{o.drawn.median:.3f}",
        )  # fmt: skip
    return table


def _cells(search: Search) -> tuple[str, str, str]:
    return f"{search.first:.3f}", f"{search.last:.3f}", str(search.trials)


def _summary(found: Sequence[Outcome]) -> list[str]:
    lines = []
    for name, searches in (
        ("known: other workloads", [o.knowing for o in found]),
        ("known: nothing", [o.ignorant for o in found]),
    ):
        parts = [f"after {FIRST} trials {_shares([s.first for s in searches])}"]
        parts.append(f"at the end {_shares([s.last for s in searches])}")
        trials = [s.trials for s in searches]
        parts.append(f"which takes {statistics.median(trials):g} trials in the median, {max(trials)} at most")
        lines.append(f"{name}: {'; '.join(parts)}")
    chance = statistics.fmean(o.drawn.within for o in found)
    middle = statistics.median(o.drawn.median for o in found)
    return [*lines, f"random {FIRST}: median {middle:.3f}, {chance:.0%} within {WITHIN:.0%}"]


def _shares(multiples: Sequence[float]) -> str:
    within = f"{sum(m <= 1 + WITHIN for m in multiples)} of {len(multiples)} within {WITHIN:.0%}"
    return f"median {statistics.median(multiples):.3f}, worst {max(multiples):.3f}, {within}"
