"""The replay of searches over sweeps: the bench's own arithmetic, on sweeps that are made up by hand."""

from __future__ import annotations

import csv
import io
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import inf
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.ranking import Search, as_measured, bench_ranking, drawn, halves, main, multiple, outcomes, replay
from bench.ranking_data import (
    MOST_CONFIGS,
    SEARCHES,
    SWEEPS,
    Sweep,
    Timed,
    condense,
    read_searches,
    read_sweeps,
    thinned,
)
from profiler.errors import InvalidFile
from profiler.predictor.configs.prediction import Prediction
from profiler.record import Conditions, Failure, FailureKind, Journal, Measurement
from profiler.space.config import ScheduleConfig, parse_config, to_text
from profiler.space.cpu import config_space
from profiler.workload import KernelSpec, Workload
from tests.tuning.simulation import CONDITIONS, CONV, CPU, DENSE, FINGERPRINT, conv, hash_share, skewed

ROOT = Path(__file__).parents[2]
SPEC = conv()
TEXTS = [f"dot(tile_h=1,tile_w={n},vectors=1,order=images,unroll=1,parallel=none)" for n in range(1, 15)]


def sweep(latencies_s: Sequence[float | None], spec: KernelSpec = SPEC) -> Sweep:
    """Of the first `TEXTS`; None is a failure."""
    found = Sweep(spec)
    for text, latency_s in zip(TEXTS, latencies_s, strict=False):
        if latency_s is None:
            found.failed.add(text)
        else:
            found.latencies_s[text] = latency_s
    return found


def simulated(spec: KernelSpec, count: int) -> Sweep:
    """A part of the space on the simulated machine."""
    space = sorted(config_space(spec, CPU.isa, 1), key=lambda c: hash_share(to_text(c)))[:count]
    return Sweep(spec, {to_text(c): skewed(spec, c) for c in space})


def searched(spec: KernelSpec, count: int, factor: float = 1.0) -> list[Timed]:
    return [Timed(spec, c, factor * s, 0.01, "screen") for c, s in simulated(spec, count).latencies_s.items()]


class InOrder:
    """Predicts 1 s for the first of `TEXTS`, 2 s for the next; not in doubt."""

    def __init__(self) -> None:
        self.fitted: list[dict[str, float]] = []

    def fit(self, measurements: Iterable[Measurement]) -> None:
        self.fitted.append({m.config: m.summary.median_s for m in measurements})

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        median_s = np.array([1.0 + TEXTS.index(to_text(c)) for c in configs])
        return Prediction(median_s, np.zeros(len(configs)))


def test_multiple() -> None:
    swept = sweep([3.0, None, 2.0, 5.0])
    assert multiple(swept, TEXTS[:2]) == 1.5
    assert multiple(swept, TEXTS[:3]) == 1.0
    assert multiple(swept, [TEXTS[1]]) == inf
    assert swept.configs == tuple(sorted(TEXTS[:4]))


def test_replay_tries_what_the_model_says_until_it_stops() -> None:
    """The first batch are the eight that are promised most of; the model then learns what came of them, and stops."""
    latencies_s = [None, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]
    model = InOrder()
    known = as_measured(Timed(conv(workload=DENSE), TEXTS[0], 7.0, 0.0, "final"))
    assert replay(model, [known], sweep(latencies_s)) == tuple(TEXTS[:8])
    assert model.fitted[0] == {TEXTS[0]: 7.0}
    assert model.fitted[1] == {TEXTS[0]: 7.0, **{TEXTS[n]: n + 1.0 for n in range(1, 8)}}


def test_replay_goes_on_while_something_is_promised() -> None:
    """All are slower than the model says, so that what is left always promises a gain."""
    tried = replay(InOrder(), [], sweep([20.0 + n for n in range(12)]))
    assert tried[:8] == tuple(TEXTS[:8])
    assert sorted(tried[8:]) == sorted(TEXTS[8:12])


@pytest.mark.parametrize(
    "latencies_s",
    [
        [1.0, 1.04, 1.06, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        [None, None, 3.0, 2.0, None, 3.1, 2.05, 9.0, None, None, None, None],
        [1.0, 2.0],
    ],
)
def test_drawn_is_what_all_draws_together_say(latencies_s: list[float | None]) -> None:
    swept = sweep(latencies_s)
    best = [multiple(swept, draw) for draw in combinations(swept.configs, min(3, len(latencies_s)))]
    found = drawn(swept, count=3)
    assert found.within == pytest.approx(statistics.fmean(b <= 1.05 for b in best))
    assert found.median == sorted(best)[(len(best) - 1) // 2]


def test_a_stand_in_has_the_median_and_the_interval() -> None:
    summary = as_measured(Timed(SPEC, TEXTS[0], 2e-5, 0.03, "final")).summary
    assert summary.median_s == pytest.approx(2e-5)
    assert summary.relative_halfwidth == pytest.approx(0.03)


def test_nothing_of_the_workload_itself_is_known() -> None:
    """Not its other batches, precisions and epilogues either."""
    other = searched(conv(4, workload=DENSE), 20)
    same = [conv(4), conv(workload=CONV.with_batch(4))]
    wrong = [t for spec in same for t in searched(spec, 20, factor=50.0)]
    swept = [simulated(SPEC, 60)]
    assert outcomes(other + wrong, swept, CPU) == outcomes(other, swept, CPU)


def test_a_model_that_knows_other_workloads_needs_fewer_trials() -> None:
    known = [t for n in (24, 36, 48) for t in searched(conv(workload=wider(n)), 120)]
    (outcome,) = outcomes(known, [simulated(SPEC, 300)], CPU)
    assert outcome.knowing.first <= 1.05
    assert outcome.knowing.trials < outcome.ignorant.trials <= 32


def wider(channels: int) -> Workload:
    return replace(CONV, in_channels=channels)


def test_halves_keep_a_workload_together() -> None:
    specs = [conv(8), conv(4), conv(8, workload=CONV.with_batch(2)), conv(8, workload=DENSE)]
    half = halves([Sweep(spec) for spec in specs])
    assert {half[spec] for spec in specs[:3]} == {"dev"}
    assert half[specs[3]] == "final"


def journaled(folder: Path, latencies_s: dict[str, float], spec: KernelSpec = SPEC, digest: str | None = None) -> None:
    records = [
        Measurement(spec, c, CONDITIONS, digest or FINGERPRINT.digest, "ab" * 32, (s, s, s * 1.02), 1, 0, "screen",
                    "r", 0.0, "0")
        for c, s in latencies_s.items()
    ]  # fmt: skip
    failure = Failure(spec, TEXTS[0], CONDITIONS, FINGERPRINT.digest, FailureKind.CRASH, "", "r", 0.0, "0")
    Journal(folder / f"{spec.workload.text}.jsonl").append([FINGERPRINT, *records, failure])


SWEPT = "kernel,config,latency_s,failed\n"


def swept_file(path: Path, swept: Iterable[Sweep]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kernel", "config", "latency_s", "failed"])
        for s in swept:
            kernel = json.dumps(s.spec.to_dict())
            writer.writerows([kernel, c, s.latencies_s.get(c, ""), int(c in s.failed)] for c in s.configs)
    return path


def test_condensed_and_read_again(tmp_path: Path) -> None:
    few = {TEXTS[2]: 3.0e-5, TEXTS[0]: 1.0e-5, TEXTS[1]: 2.0e-5}
    many = dict(simulated(conv(workload=DENSE), 40).latencies_s)
    journaled(tmp_path / "logs", few)
    journaled(tmp_path / "logs", many, conv(workload=DENSE))
    swept = [sweep([1e-5, None, 2e-5]), simulated(conv(4), 20)]
    file = swept_file(tmp_path / "sweeps.csv", swept)
    for name in ("a", "b"):
        condense(tmp_path / "logs", file, tmp_path / name)
    for name in (SEARCHES, SWEEPS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    timed = read_searches(tmp_path / "a" / SEARCHES)
    assert {t.config: t.latency_s for t in timed if t.spec == SPEC} == few
    assert all(t.relative_halfwidth == pytest.approx(0.01, rel=0.01) for t in timed if t.spec == SPEC)
    kept = [t.latency_s for t in timed if t.spec != SPEC]
    assert len(kept) == len(set(kept)) == MOST_CONFIGS < len(many)
    assert min(kept) == pytest.approx(min(many.values()), rel=1e-5)
    assert max(kept) == pytest.approx(max(many.values()), rel=1e-5)

    again = read_sweeps(tmp_path / "a" / SWEEPS)
    assert [(s.spec, s.failed, s.configs) for s in again] == [(s.spec, s.failed, s.configs) for s in swept]
    for s, expected in zip(again, swept, strict=True):
        assert s.latencies_s == pytest.approx(expected.latencies_s, rel=1e-5)


def test_a_final_measurement_stands_for_its_config() -> None:
    screen = as_measured(Timed(SPEC, TEXTS[0], 2.0, 0.0, "screen"))
    final = as_measured(Timed(SPEC, TEXTS[0], 1.0, 0.0, "final"))
    assert list(thinned([final, screen])) == [Timed(SPEC, TEXTS[0], 1.0, 0.0, "final")]


def test_journals_that_are_no_such(tmp_path: Path) -> None:
    file = swept_file(tmp_path / "sweeps.csv", [sweep([1.0])])
    with pytest.raises(InvalidFile, match="holds no journal with a measurement"):
        condense(tmp_path / "logs", file, tmp_path)
    journaled(tmp_path / "logs", {TEXTS[1]: 1.0})
    journaled(tmp_path / "logs", {TEXTS[1]: 1.0}, conv(workload=DENSE), "cd" * 32)
    with pytest.raises(InvalidFile, match="several instruments"):
        condense(tmp_path / "logs", file, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8bnot really", "cannot be read"),
        (SWEPT.encode(), "holds no latency"),
        (b"kernel,config\n{},c\n", "line 2: not a row"),
        (b'kernel,config,latency_s,failed\n"{""op"":1}",c,1.0,0\n', "line 2: not a row"),
        (b"kernel,config,latency_s,failed\nnone,c,1.0,0\n", "line 2: not a row"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / SWEEPS
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=message) as error:
        read_sweeps(path)
    assert str(path) in str(error.value)


def test_a_sweep_without_a_latency_is_refused(tmp_path: Path) -> None:
    path = swept_file(tmp_path / "sweeps.csv", [sweep([1.0]), sweep([None], conv(4))])
    with pytest.raises(InvalidFile, match=f"no latency of {conv(4).key}"):
        read_sweeps(path)
    with pytest.raises(InvalidFile, match="cannot be read"):
        read_sweeps(tmp_path / "missing.csv")


def test_what_is_printed(tmp_path: Path) -> None:
    journaled(tmp_path / "logs", simulated(conv(workload=DENSE), 20).latencies_s, conv(workload=DENSE))
    swept = [simulated(SPEC, 30), simulated(conv(4, workload=wider(32)), 30)]
    condense(tmp_path / "logs", swept_file(tmp_path / "sweeps.csv", swept), tmp_path)
    text = io.StringIO()
    found = bench_ranking(tmp_path, Console(file=text, width=200, markup=False))
    assert len(found) == 2
    for outcome in found:
        assert isinstance(outcome.knowing, Search)
        line = next(line for line in text.getvalue().splitlines() if outcome.sweep.spec.workload.text in line)
        assert f"{outcome.knowing.first:.3f}" in line
        assert f"{outcome.drawn.median:.3f}" in line
    assert "dev (1 sweeps)" in text.getvalue()
    assert "final (1 sweeps)" in text.getvalue()
    assert "within 5%" in text.getvalue()


def test_the_command_condenses(tmp_path: Path) -> None:
    journaled(tmp_path / "logs", {TEXTS[1]: 1.0})
    file = swept_file(tmp_path / "sweeps.csv", [sweep([1.0, 2.0])])
    main(["--condense", str(tmp_path / "logs"), str(file), "-o", str(tmp_path / "out")])
    assert {p.name for p in (tmp_path / "out").iterdir()} == {SEARCHES, SWEEPS}


def test_a_users_error_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "ranking", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}")
    assert done.stderr.count("\n") == 1


def test_what_is_recorded_can_be_replayed() -> None:
    """The tables of the repository: every config parses, and the sweeps are of workloads in both halves."""
    sweeps = read_sweeps(ROOT / "bench" / "data" / SWEEPS)
    known = read_searches(ROOT / "bench" / "data" / SEARCHES)
    assert set(halves(sweeps).values()) == {"dev", "final"}
    assert all(parse_config(c) for s in sweeps for c in s.configs)
    assert all(as_measured(t).conditions == Conditions() for t in known[:10])
    assert sum(p.stat().st_size for p in (ROOT / "bench" / "data").iterdir()) < 1_500_000
