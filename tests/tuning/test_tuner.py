"""The tuner on a pretended machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.predictor.configs.analytic import AnalyticModel
from profiler.predictor.configs.learned import LearnedModel
from profiler.predictor.configs.prediction import Prediction
from profiler.predictor.model_state import ConfigLatency
from profiler.record import Failure, FailureKind, Fingerprint, Journal, Measurement
from profiler.space.config import DotConfig, ScheduleConfig, parse_config, to_text
from profiler.space.cpu import config_space
from profiler.tuning.cost_model import CostModel
from profiler.tuning.database import TuningDatabase
from profiler.tuning.efficiency import sweep, trials_until
from profiler.tuning.events import (
    BatchBuilt,
    CandidateTried,
    FinalsStarted,
    SpecFinished,
    SpecSearched,
    SpecStarted,
    TuneEvent,
)
from profiler.tuning.search import StopReason
from profiler.tuning.tuner import Budget, SpecResult, Tuner
from profiler.workload import Epilogue, KernelSpec
from tests.tuning.simulation import (
    CONDITIONS,
    CONV,
    CPU,
    DENSE,
    FINGERPRINT,
    POOL,
    World,
    conv,
    hash_share,
    pool,
    simulated_bench,
    skewed,
)


@lru_cache
def space_of(spec: KernelSpec) -> tuple[ScheduleConfig, ...]:
    return config_space(spec, CPU.isa, 1)


def tuner(folder: Path, world: World, budget: Budget | None = None, model: CostModel | None = None) -> Tuner:
    database = TuningDatabase(folder, FINGERPRINT, CONDITIONS)
    return Tuner(simulated_bench(world), space_of, model or LearnedModel(CPU), database, budget or Budget())


def journaled(folder: Path, stage: str | None = None) -> list[Measurement | Failure]:
    records = [r for path in sorted(folder.glob("*.jsonl")) for r in Journal(path).read()]
    kept = [r for r in records if not isinstance(r, Fingerprint)]
    return [r for r in kept if stage is None or (isinstance(r, Measurement) and r.stage == stage)]


def optimum_s(spec: KernelSpec) -> float:
    return min(skewed(spec, config) for config in space_of(spec))


def latency_s(result: SpecResult) -> float:
    assert result.best is not None
    return skewed(result.spec, parse_config(result.best.config))


# The analytic model only scales: what it does not know of schedules it never learns.
@pytest.mark.parametrize(
    ("model", "within"), [(LearnedModel(CPU), 1.05), (AnalyticModel(CPU), 1.15)], ids=["learned", "analytic"]
)
def test_first_kernel_ends_near_the_optimum(tmp_path: Path, model: CostModel, within: float) -> None:
    spec = conv()
    (result,) = tuner(tmp_path, World(), Budget(trials=32), model).tune([spec])
    assert len(space_of(spec)) > 500
    assert result.tried <= 32
    assert latency_s(result) <= within * optimum_s(spec)


def test_second_kernel_profits_from_the_first(tmp_path: Path) -> None:
    """What the analytic model does not know (spills, the slow orders) is learned once for all kernels."""
    tuner(tmp_path, World()).tune([conv()])
    other = conv(workload=CONV.with_batch(4))
    (result,) = tuner(tmp_path, World()).tune([other])
    records = TuningDatabase(tmp_path, FINGERPRINT, CONDITIONS).records(other.workload)
    screened = [r for r in records if isinstance(r, Failure) or r.stage == "screen"]
    until = trials_until(screened, 0.05, optimum_s(other))
    assert until is not None
    assert until <= 8
    assert latency_s(result) <= 1.05 * optimum_s(other)


def test_noise_does_not_mislead(tmp_path: Path) -> None:
    (result,) = tuner(tmp_path, World(noise=0.05)).tune([conv()])
    assert latency_s(result) <= 1.08 * optimum_s(conv())


def test_nothing_is_tried_twice(tmp_path: Path) -> None:
    world = World(noise=0.02, uncompilable=lambda c: "tile_w=7" in c, crashing=lambda c: "vectors=3" in c)
    specs = [conv(8), conv(4), conv(8, Epilogue.BIAS), pool()]
    tuner(tmp_path, world).tune(specs)
    tries = Counter((r.spec, r.config) for r in journaled(tmp_path) if isinstance(r, Failure) or r.stage == "screen")
    assert set(tries.values()) == {1}
    requested = Counter(r for batch in world.steps("build") for r in batch)  # type: ignore[attr-defined]
    assert set(requested.values()) == {1}, "what is built stays at hand for the final measurement"


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    specs = [conv(8), conv(4), pool(8)]
    first = tuner(tmp_path, World()).tune(specs)
    again, events = World(), list[TuneEvent]()
    second = tuner(tmp_path, again)
    second.listener = events.append
    results = second.tune(specs)
    assert not again.steps("build", "load", "time")
    assert [r.best for r in results] == [r.best for r in first]
    assert {r.reason for r in results} == {StopReason.KNOWN}
    assert [type(e) for e in events] == [SpecFinished] * 3


def test_extend_searches_on(tmp_path: Path) -> None:
    spec, bias = conv(), conv(epilogue=Epilogue.BIAS)
    tuner(tmp_path, World(), Budget(trials=16, sibling_trials=2)).tune([spec, bias])
    kept = tuner(tmp_path, World(), Budget(trials=20, sibling_trials=2)).tune([spec, bias])
    assert [r.tried for r in kept] == [16, 2]
    extended = tuner(tmp_path, World(), Budget(trials=20, sibling_trials=2, extend=True)).tune([spec, bias])
    assert 16 < extended[0].tried <= 20
    assert extended[1].tried == 2
    assert latency_s(extended[0]) <= latency_s(kept[0])
    assert set(Counter((r.spec, r.config) for r in journaled(tmp_path, "final")).values()) == {1}


KILLED_BUDGET = Budget(trials=8, sibling_trials=4, batch=3)
KILLED_SPECS = (conv(8), conv(4), conv(8, Epilogue.BIAS))


@pytest.fixture(scope="module")
def quiet_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[KernelSpec, str | None, int]], int]:
    """What an undisturbed run ends with, and its steps."""
    world = World()
    results = tuner(tmp_path_factory.mktemp("quiet"), world, KILLED_BUDGET, AnalyticModel(CPU)).tune(KILLED_SPECS)
    return [(r.spec, r.best and r.best.config, r.tried) for r in results], len(world.log)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_a_killed_run_goes_on(
    tmp_path_factory: pytest.TempPathFactory,
    quiet_run: tuple[list[tuple[KernelSpec, str | None, int]], int],
    kills: list[float],
) -> None:
    """Killed at any step, several times over: no trial is lost or made twice, and the end is that of a quiet run."""
    quiet, steps = quiet_run
    folder = tmp_path_factory.mktemp("killed")
    for kill in kills:
        before = journaled(folder)
        with suppress(KeyboardInterrupt):
            world = World(break_at=int(kill * steps))
            tuner(folder, world, KILLED_BUDGET, AnalyticModel(CPU)).tune(KILLED_SPECS)
        assert journaled(folder)[: len(before)] == before
    results = tuner(folder, World(), KILLED_BUDGET, AnalyticModel(CPU)).tune(KILLED_SPECS)
    for stage in ("screen", "final"):
        assert set(Counter((r.spec, r.config) for r in journaled(folder, stage)).values()) == {1}
    assert all(r.best is not None and r.best.stage == "final" for r in results)
    assert [(r.spec, r.best and r.best.config, r.tried) for r in results] == quiet


def test_same_seed_same_journal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tuner(tmp_path / name, World(noise=0.02)).tune([conv(8), conv(4)])
    a, b = ([(r.spec, r.config, getattr(r, "samples_s", None)) for r in journaled(tmp_path / n)] for n in ("a", "b"))
    assert a == b


def test_failures_are_records(tmp_path: Path) -> None:
    world = World(uncompilable=lambda c: "tile_h=1" in c, crashing=lambda c: "tile_h=2" in c)
    (result,) = tuner(tmp_path, world).tune([conv()])
    assert result.best is not None
    assert {f.kind for f in result.failures} == {FailureKind.COMPILE, FailureKind.CRASH}
    assert {f.message for f in result.failures} == {"refused", "SIGSEGV"}
    assert set(result.failures) == {r for r in journaled(tmp_path) if isinstance(r, Failure)}
    config = parse_config(result.best.config)
    assert isinstance(config, DotConfig)
    assert config.tile_h > 2


def test_a_kernel_of_which_nothing_works(tmp_path: Path) -> None:
    events: list[TuneEvent] = []
    broken = tuner(tmp_path, World(uncompilable=lambda c: c.startswith("dot")), Budget(trials=5))
    broken.listener = events.append
    dot, other = broken.tune([conv(), pool()])
    assert (dot.best, dot.tried, len(dot.failures), dot.reason) == (None, 5, 5, StopReason.TRIALS)
    assert other.best is not None
    assert SpecFinished(conv(), None, 5, 5, StopReason.TRIALS) in events
    again = World()
    assert tuner(tmp_path, again, Budget(trials=5)).tune([conv()])[0].best is None
    assert not again.log or not again.steps("build", "load")


def test_finalists_that_fail_are_replaced(tmp_path: Path) -> None:
    """A kernel that crashes in its final measurement is out, although it was measured before."""
    world = World()
    run = tuner(tmp_path, world, Budget(trials=8, finalists=2))
    screened: list[str] = []

    def start_crashing(event: TuneEvent) -> None:
        if isinstance(event, SpecSearched):
            screened.extend(run.database.tried(CONV)[conv()].ranked)
            world.crashing = lambda config: config in screened[:3]

    run.listener = start_crashing
    (result,) = run.tune([conv()])
    assert result.best is not None
    assert result.best.config == screened[3]
    assert {f.config for f in result.failures} == set(screened[:3])
    assert {r.config for r in journaled(tmp_path, "final")} == {screened[3]}


def test_small_spaces_are_exhausted(tmp_path: Path) -> None:
    (result,) = tuner(tmp_path, World()).tune([pool()])
    assert (result.tried, result.reason) == (len(space_of(pool())), StopReason.EXHAUSTED)
    assert latency_s(result) == optimum_s(pool())


def test_search_ends_when_nothing_is_promised(tmp_path: Path) -> None:
    """A landscape that the model understands needs no 200 trials, and that it ended early is said."""
    events: list[TuneEvent] = []
    run = tuner(tmp_path, World(landscape=lambda s, c: 2 * AnalyticModel(CPU).predict(s, [c]).median_s[0]), Budget(200))
    run.listener = events.append
    (result,) = run.tune([conv()])
    assert result.reason is StopReason.CONVERGED
    assert result.tried < 60
    assert [e.reason for e in events if isinstance(e, SpecSearched)] == [StopReason.CONVERGED]


def test_siblings_start_from_each_other_and_cost_less(tmp_path: Path) -> None:
    world, budget = World(), Budget(trials=20, sibling_trials=6)
    fused, bias, narrow = tuner(tmp_path, world, budget).tune([conv(8), conv(8, Epilogue.BIAS), conv(4)])
    assert (fused.tried, bias.tried) == (20, 6)
    assert narrow.tried > 6
    for other in (bias, narrow):
        first_batch = [r.config for r in journaled(tmp_path, "screen") if r.spec == other.spec][:8]
        known = [r for r in journaled(tmp_path, "screen") if r.spec == fused.spec]
        assert isinstance(known[0], Measurement)
        fastest = min(known, key=lambda r: (r.summary.median_s, r.config))  # type: ignore[union-attr]
        assert fastest.config in first_batch


def test_favourites_are_those_of_the_same_operands_first(tmp_path: Path) -> None:
    budget = Budget(trials=12, sibling_trials=2, batch=2)
    run = tuner(tmp_path, World(), budget)
    fused, narrow, bias = conv(8), conv(4), conv(8, Epilogue.BIAS)
    run.tune([narrow])
    run.tune([fused, bias])
    known = run.database.tried(CONV)
    assert set(known[bias].screened) == set(known[fused].ranked[:2]) != set(known[narrow].ranked[:2])


def test_finals_of_a_workload_are_interleaved(tmp_path: Path) -> None:
    """All precisions and epilogues of a layer, the best two of each, in one measurement; other layers on their own."""
    world, events = World(), list[TuneEvent]()
    run = tuner(tmp_path, world, Budget(trials=8, sibling_trials=4, finalists=2))
    run.listener = events.append
    specs = [conv(8), pool(8), conv(4), conv(8, Epilogue.BIAS), pool(4)]
    results = run.tune(specs)
    assert [r.spec for r in results] == specs
    finals = [e for e in events if isinstance(e, FinalsStarted)]
    assert [(e.specs, e.candidates) for e in finals] == [
        ((conv(8), conv(4), conv(8, Epilogue.BIAS)), 6),
        ((pool(8), pool(4)), 4),
    ]
    for workload in (CONV, POOL):
        records = [r for r in journaled(tmp_path, "final") if r.spec.workload == workload]
        assert Counter(r.spec for r in records) == {s: 2 for s in specs if s.workload == workload}
        times = [key for what, key in world.log if what == "time" and str(key[0]).startswith(workload.text)]  # type: ignore[index]
        rounds = [tuple(times[i : i + len(records)]) for i in range(len(times) - len(records), 0, -len(records))][:5]
        assert all(set(r) == {(x.spec.key, x.config) for x in records} for r in rounds), (
            "each round has one sample of each"
        )


def test_only_what_is_missing_is_measured_finally(tmp_path: Path) -> None:
    """A second precision that is asked for later does not measure the first one again."""
    tuner(tmp_path, World()).tune([conv(8)])
    before = journaled(tmp_path)
    tuner(tmp_path, World()).tune([conv(8), conv(4)])
    assert {r.spec for r in journaled(tmp_path)[len(before) :]} == {conv(4)}


def test_a_new_winner_is_measured_finally_and_the_old_ones_are_not(tmp_path: Path) -> None:
    run = tuner(tmp_path, World(), Budget(trials=8, finalists=2))
    run.tune([conv()])
    known = run.database.tried(CONV)[conv()]
    config = next(to_text(c) for c in space_of(conv()) if to_text(c) not in known)
    fastest = known.screened[known.ranked[0]]
    samples_s = tuple(s / 2 for s in fastest.samples_s)
    run.database.append(CONV, [replace(fastest, config=config, samples_s=samples_s)])
    run.tune([conv()])
    assert [r.config for r in journaled(tmp_path, "final")].count(config) == 1
    assert len(journaled(tmp_path, "final")) == 3


def test_turns_alternate(tmp_path: Path) -> None:
    """Compilation in shared turns, measurement in turns of its own, never one inside the other, no step without one."""
    world = World()
    tuner(tmp_path, world).tune([conv(8), conv(4), pool()])
    turn: object = None
    for what, detail in world.log:
        if what == "begin":
            turn = detail
        elif what == "end":
            turn = None
        else:
            assert turn == ("compiling" if what == "build" else "measuring")


def test_two_runs_at_once_share_their_trials(tmp_path: Path) -> None:
    """The other run works whenever this one does not measure."""
    budget = Budget(trials=16, batch=4)
    other = tuner(tmp_path, World(), budget)
    this = tuner(tmp_path, World(), budget)

    def let_the_other_work(event: TuneEvent) -> None:
        if isinstance(event, BatchBuilt) and len(journaled(tmp_path)) < 8:
            this.listener = lambda event: None
            other.budget = Budget(trials=len(journaled(tmp_path)) + 4, batch=4, finalists=1)
            other.tune([conv()])
            this.listener = let_the_other_work

    this.listener = let_the_other_work
    (result,) = this.tune([conv()])
    tries = Counter((r.spec, r.config) for r in journaled(tmp_path, "screen"))
    assert set(tries.values()) == {1}
    assert result.tried == len(tries)
    assert result.best is not None


def test_two_runs_at_once_share_their_finals(tmp_path: Path) -> None:
    """The other run finishes the kernel after this one has chosen and built its finalists."""
    other, this = tuner(tmp_path, World()), tuner(tmp_path, World())

    def let_the_other_finish(event: TuneEvent) -> None:
        if isinstance(event, FinalsStarted):
            other.tune([conv()])

    this.listener = let_the_other_finish
    (result,) = this.tune([conv()])
    finals = Counter(r.config for r in journaled(tmp_path, "final"))
    assert set(finals.values()) == {1}
    assert len(finals) == this.budget.finalists
    assert result.best is not None


def test_other_instruments_and_conditions_are_passed_over(tmp_path: Path) -> None:
    tuner(tmp_path, World()).tune([conv()])
    world = World()
    run = tuner(tmp_path, world)
    run.database = TuningDatabase(tmp_path, Fingerprint("cpu", "simulated", "none", "1", "none", "newer"), CONDITIONS)
    with pytest.raises(ValueError, match="another instrument"):
        run.tune([conv()])  # the simulated device says that it is the old one
    assert world.steps("time")


def test_events_tell_the_story(tmp_path: Path) -> None:
    events: list[TuneEvent] = []
    run = tuner(tmp_path, World(uncompilable=lambda c: "vectors=1" in c), Budget(trials=10, batch=5))
    run.listener = events.append
    (result,) = run.tune([conv()])
    assert isinstance(events[0], SpecStarted)
    assert (events[0].space, events[0].trials, events[0].tried) == (len(space_of(conv())), 10, 0)
    tried = [e for e in events if isinstance(e, CandidateTried)]
    assert [e.tried for e in tried] == list(range(1, 11))
    assert sum(e.built + e.failed for e in events if isinstance(e, BatchBuilt)) == 10
    assert tried[-1].best_s == min(r.summary.median_s for r in journaled(tmp_path, "screen"))  # type: ignore[union-attr]
    assert isinstance(events[-1], SpecFinished)
    assert events[-1].best == result.best


def test_budget_checks_itself() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Budget(trials=0)


def test_sweep_measures_a_sample_of_the_space(tmp_path: Path) -> None:
    world = World(uncompilable=lambda c: "unroll=4" in c)
    bench = simulated_bench(world)
    spec = conv(workload=DENSE, epilogue=Epilogue.BIAS)
    records = sweep(bench, spec, space_of(spec), limit=20)
    assert len(records) == len({r.config for r in records}) == 20
    assert any(isinstance(r, Failure) for r in records)
    everything = sweep(bench, spec, space_of(spec), limit=10_000)
    assert {r.config for r in everything} == {to_text(c) for c in space_of(spec)}
    assert not list(tmp_path.iterdir())


def test_a_quick_try_is_searched_on_when_more_is_granted(tmp_path: Path) -> None:
    spec = conv()
    (quick,) = tuner(tmp_path, World(), Budget(trials=2)).tune([spec])
    (again,) = tuner(tmp_path, World(), Budget(trials=2)).tune([spec])
    assert (quick.tried, again.tried, again.reason) == (2, 2, StopReason.KNOWN)
    (more,) = tuner(tmp_path, World()).tune([spec])
    assert more.tried >= 16
    (known,) = tuner(tmp_path, World()).tune([spec])
    assert (known.tried, known.reason) == (more.tried, StopReason.KNOWN)


def test_a_small_space_is_known_when_all_of_it_was_tried(tmp_path: Path) -> None:
    (first,) = tuner(tmp_path, World()).tune([pool()])
    world = World()
    (second,) = tuner(tmp_path, world).tune([pool()])
    assert first.tried == len(space_of(pool())) == second.tried
    assert second.reason is StopReason.KNOWN
    assert not world.steps("build", "measure")


def test_a_contaminated_final_is_measured_again_by_the_next_run(tmp_path: Path) -> None:
    spec = conv()
    first = tuner(tmp_path, World())
    (result,) = first.tune([spec])
    assert result.best is not None
    median_s = result.best.summary.median_s
    noisy = tuple(median_s * factor for factor in (0.5, 1.0, 1.0, 1.0, 1.1))
    first.database.append(spec.workload, [replace(result.best, samples_s=noisy, run_id="earlier")])
    (again,) = tuner(tmp_path, World()).tune([spec])
    assert again.best is not None
    assert not again.best.summary.contaminated
    finals = journaled(tmp_path, "final")
    (third,) = tuner(tmp_path, World()).tune([spec])
    assert third.reason is StopReason.KNOWN
    assert journaled(tmp_path, "final") == finals


class Knowing:
    """A cost model that knows the simulated machine to within a percent."""

    def fit(self, measurements: Iterable[Measurement]) -> None:
        pass

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        return Prediction(np.array([skewed(spec, c) for c in configs]), np.full(len(configs), 0.01))


def test_a_model_that_knows_such_kernels_needs_one_batch(tmp_path: Path) -> None:
    """And what it stopped at is known to the next run, and counts as a search for the kernel's siblings."""
    specs = [conv(8), conv(8, Epilogue.BIAS), conv(4)]
    results = tuner(tmp_path, World(), model=Knowing()).tune(specs)
    assert [r.tried for r in results] == [8, 8, 8]
    assert results[0].reason is results[2].reason is StopReason.CONVERGED
    assert all(latency_s(r) == optimum_s(r.spec) for r in results)
    again = World()
    known = tuner(tmp_path, again, model=LearnedModel(CPU)).tune(specs)
    assert {r.reason for r in known} == {StopReason.KNOWN}
    assert not again.steps("build", "load", "time")


def test_a_sibling_of_a_short_search_is_not_searched_longer(tmp_path: Path) -> None:
    """Eight trials each, the first one having converged after them: the second one ends there, the model in doubt."""
    tuner(tmp_path, World(), model=Knowing()).tune([conv(8)])
    (bias,) = tuner(tmp_path, World(), model=AnalyticModel(CPU)).tune([conv(8, Epilogue.BIAS)])
    assert (bias.tried, bias.reason) == (8, StopReason.TRIALS)
    more = Budget(trials=20, extend=True)
    extended = tuner(tmp_path, World(), more, AnalyticModel(CPU)).tune([conv(8, Epilogue.BIAS), conv(8)])
    assert [r.tried for r in extended] == [8, 20]


def test_what_was_measured_elsewhere_shortens_a_search(tmp_path: Path) -> None:
    """On a machine that is a third slower, of kernels of other shapes."""
    shapes = [CONV.with_batch(n) for n in (2, 3, 4)]
    others = [conv(bits, workload=shape) for shape in shapes for bits in (8, 4)]
    known = [
        ConfigLatency(other, to_text(config), 1.33 * skewed(other, config))
        for other in others
        for config in sorted(space_of(other), key=lambda c: hash_share(to_text(c)))[:60]
    ]
    (alone,) = tuner(tmp_path / "alone", World()).tune([conv()])
    (helped,) = tuner(tmp_path / "helped", World(), model=LearnedModel(CPU, known=known)).tune([conv()])
    assert helped.tried < alone.tried
    assert helped.reason is StopReason.CONVERGED
    assert latency_s(helped) <= 1.05 * optimum_s(conv())
