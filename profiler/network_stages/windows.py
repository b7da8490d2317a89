"""Windows of several networks in steady state, in turn; those that a run has taken before it was ended are not taken
again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from profiler.network.steady import SteadyRule
from profiler.network_stages.prepared import Prepared
from profiler.throughput.point import Window
from profiler.throughput.unfinished import Taken, Unfinished


def windows_in_turn(
    rule: SteadyRule,
    energy: bool,
    rounds: int,
    ready: Sequence[Prepared],
    batches: Sequence[int],
    unfinished: Unfinished,
    run_id: str,
    told: Callable[[str], None],
) -> list[list[Taken]]:
    """Of each network, one in each round; the next round goes backwards, so that a drift of the clock meets all alike.
    Those that are there already are not taken again. ``told`` hears of each.
    """
    found: list[list[Taken]] = [[] for _ in ready]
    for taken in unfinished.taken:
        if taken.point < len(found) and len(found[taken.point]) < rounds:
            found[taken.point].append(taken)
    order = list(range(len(ready)))
    for number in range(rounds):
        for at in order:
            if len(found[at]) > number:
                continue
            told(f"round {number + 1} of {rounds}: {ready[at].name}, batch {batches[at]}")
            others = [pid for pid in (one.worker_pid for one in ready) if pid is not None]
            steady = ready[at].steady(rule, energy, others)
            runs, counted_j, integrated_j = steady.window.runs, steady.window.counted_j, steady.window.integrated_j
            window = Window(runs, steady.window.duration_s, counted_j, integrated_j)
            taken = Taken(at, window, steady.no_energy, tuple(steady.notes), run_id)
            unfinished.append(taken)
            found[at].append(taken)
        order.reverse()
    return found


def notes_of(found: Sequence[Taken]) -> Iterator[str]:
    """What was noted of windows, each once: what differs in its numbers alone counts as the same."""
    said: Counter[str] = Counter()
    texts: dict[str, str] = {}
    for window in found:
        for note in dict.fromkeys(window.notes):
            kind = re.sub(r"[0-9]+", "#", note)
            texts.setdefault(kind, note)
            said[kind] += 1
    for kind, count in said.items():
        yield texts[kind] if count == len(found) else f"{texts[kind]} ({count} of {len(found)} windows)"


def earlier_notes(windows: Sequence[Taken], run_id: str) -> Iterator[str]:
    """That some are of runs which were ended before their end: a drift of the clock may lie in between."""
    earlier = [window for window in windows if window.run_id != run_id]
    if earlier:
        yield f"{len(earlier)} of {len(windows)} windows are of earlier runs of this command, which were ended"
