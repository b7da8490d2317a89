"""The latency predictor on real rows: what it reaches per split, next to plain baselines and to the noise of the rows.

Host: the LUT of lut/recorded. T4: HAWQ-V3's 70 tensor-core convolutions as its two sessions timed them (eight of the
workloads twice), leave one shape out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.published import compare
from profiler.frontend import load_network
from profiler.hardware import GPUS
from profiler.lut.schema import Source
from profiler.lut.store import read
from profiler.prediction_stages import NETWORKS
from profiler.predictor.device_facts import facts_of
from profiler.predictor.latency_model import fit
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import Observation, observations, usual_conditions
from profiler.predictor.validation.baselines import Learner
from profiler.predictor.validation.report import ValidationReport
from profiler.predictor.validation.report_text import SCORE_COLUMNS, noise_text, score_cells
from profiler.predictor.validation.splits import Fold, Split, held_network, leave_one_workload_out
from profiler.predictor.validation.validate import usual_splits, validate
from profiler.record import CacheMode, Conditions

RECORDED = Path(__file__).parents[1] / "lut" / "recorded" / "cpu-8cfd341f-shapes.csv"
TRAINING_ROWS = 300
_ROUNDS = 5


def bench_predictor() -> None:
    """Print every split, the learning from few rows, and the published rows."""
    console = Console(width=170, highlight=False)
    for title, report in (("host CPU, lut/recorded", host_report()), ("T4, published by HAWQ-V3", t4_report())):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in SCORE_COLUMNS:
            table.add_column(column, justify="left" if column in ("split", "model") else "right")
        for cells in score_cells(report):
            table.add_row(*cells)
        console.print(table)
        console.print(noise_text(report.noise), soft_wrap=True)


def host_report() -> ValidationReport:
    """Of the recorded LUT: the usual splits, and rounds of learning from few rows."""
    rows = read(RECORDED)
    conditions = usual_conditions(rows)
    observed = observations(rows, conditions)
    networks = [held_network(load_network(name, 1)) for name in NETWORKS]
    facts = facts_of(rows)
    origin = Origin.of(rows[0])
    splits = (*usual_splits(observed, networks, seed=0), few_rows(observed, TRAINING_ROWS))
    return validate(observed, origin, networks, Learner("ours", lambda o: fit(o, origin, facts), True), splits=splits)


def t4_report() -> ValidationReport:
    """Of the 70 published convolutions: leave one shape out, with both precisions and both sessions of it."""
    observed = [Observation(c.spec, c.published_s, source=Source.PUBLISHED) for c in compare()]
    gpu = GPUS["t4"]
    origin = Origin(gpu.slug, gpu.name, gpu.arch, "00000000", Conditions(1, CacheMode.HOT))
    learner = Learner("ours", lambda o: fit(o, origin, gpu), True)
    return validate(observed, origin, (), learner, splits=(leave_one_workload_out(observed),))


def few_rows(observed: Sequence[Observation], count: int) -> Split:
    """Rounds of learning from about ``count`` rows, whole workloads at random, and of testing on all others."""
    folds = []
    for round_number in range(_ROUNDS):
        groups = sorted({o.group for o in observed}, key=lambda group: group.text)
        random.Random(round_number).shuffle(groups)
        train: list[int] = []
        for group in groups:
            members = [index for index, o in enumerate(observed) if o.group == group]
            if len(train) + len(members) <= count:
                train += members
        learned = set(train)
        test = tuple(index for index in range(len(observed)) if index not in learned)
        folds.append(Fold(f"round {round_number + 1}", tuple(train), test))
    return Split(f"{count} training rows", tuple(folds))
