"""What is measured next: pure, so every situation is written down."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from profiler.bundle.box.manifest import Kernel
from profiler.bundle.box.plan import (
    FINALISTS,
    ROUNDS,
    SIDE_BY_SIDE,
    EnergyStep,
    Ledger,
    NetworkStep,
    Pace,
    Phase,
    Progress,
    Step,
    agenda,
    finished,
    groups,
    next_step,
    progress,
    round_s,
)
from tests.bundle.examples import (
    configuration,
    energy_of,
    failure,
    kernel,
    measurement,
    network_fault,
    network_round,
    spec,
)

SMALL8, SMALL4 = kernel(spec(8, 8)), kernel(spec(8, 4))
LARGE = kernel(spec(16, 8), modelled_s=10.0)
ALL = (SMALL8, SMALL4, LARGE)
PACE = Pace(final_s=2.0, screen_s=0.5)


def planned(ledger: Ledger, left_s: float = math.inf, budget_s: float = math.inf) -> Step | None:
    step = next_step(agenda(ALL), ledger, PACE, left_s, budget_s)
    assert not isinstance(step, (NetworkStep, EnergyStep))
    return step


def of_one(one: Kernel, ledger: Ledger) -> Step | None:
    step = next_step(agenda([one]), ledger, PACE, math.inf, math.inf)
    assert not isinstance(step, (NetworkStep, EnergyStep))
    return step


def text(step: Step | NetworkStep | EnergyStep | None) -> list[str]:
    """E.g. ``["first", "8 uint8 c0", ...]``, or ``["network", "uniform int8"]``."""
    if step is None:
        return []
    if isinstance(step, NetworkStep):
        return ["network", step.configuration.name]
    if isinstance(step, EnergyStep):
        spec = step.kernel.spec
        return ["energy", f"{spec.workload.in_channels} {spec.input_dtype.value} {step.candidate.config}"]
    names = [f"{k.spec.workload.in_channels} {k.spec.input_dtype.value} {c.config}" for k, c in step.candidates]
    return [step.phase.value, *names]


def finals(*kernels: Kernel, config: str = "c0", median_s: float = 5.0) -> list[object]:
    return [measurement(k.spec, config, median_s) for k in kernels]


def test_groups_are_of_a_workload_and_the_heaviest_is_first() -> None:
    assert groups(ALL) == ((LARGE,), (SMALL8, SMALL4))
    often = replace(SMALL8, layers=tuple("abcdefghijk"))  # 11 layers of 1 s
    assert groups((often, SMALL4, LARGE))[0] == (often, SMALL4)


def test_what_only_mixed_precision_needs_comes_last() -> None:
    mixed = replace(LARGE, mixed=True)
    assert groups((mixed, SMALL8)) == ((SMALL8,), (mixed,))


def test_many_kernels_of_a_workload_are_cut() -> None:
    many = tuple(replace(SMALL8, spec=replace(SMALL8.spec, output_layout=f"l{i}")) for i in range(SIDE_BY_SIDE + 3))
    cut = groups(many)
    assert [len(group) for group in cut] == [SIDE_BY_SIDE, 3]
    assert tuple(k for group in cut for k in group) == many


def test_the_whole_order() -> None:
    """Three kernels with three candidates, all of which work; c1 is the fastest, c0 the slowest."""
    ledger = Ledger()
    seen = []
    medians_s = {"c0": 9.0, "c1": 7.0, "c2": 8.0}
    while (step := planned(ledger)) is not None:
        seen.append(text(step))
        ledger.add(measurement(k.spec, c.config, medians_s[c.config], step.phase.stage) for k, c in step.candidates)
    small = "8 uint8 {0},8 uint4 {0}"
    assert seen == [
        ["first", "16 uint8 c0"],
        ["first", *small.format("c0").split(",")],
        ["screen", "16 uint8 c1"],
        ["screen", *small.format("c1").split(",")],
        ["screen", "16 uint8 c2"],
        ["screen", *small.format("c2").split(",")],
        ["last", "16 uint8 c0", "16 uint8 c1", "16 uint8 c2"],
        ["last", *(f"8 {bits} {config}" for bits in ("uint8", "uint4") for config in ("c0", "c1", "c2"))],
    ]
    assert finished(agenda(ALL), ledger)


def test_a_first_candidate_that_fails_is_replaced_at_once() -> None:
    ledger = Ledger([failure(LARGE.spec, "c0")])
    assert text(planned(ledger)) == ["first", "16 uint8 c1"]
    ledger.add([failure(LARGE.spec, "c1"), failure(LARGE.spec, "c2")])
    assert text(planned(ledger)) == ["first", "8 uint8 c0", "8 uint4 c0"]


def test_a_kernel_that_never_works_stops_nothing() -> None:
    ledger = Ledger([failure(k.spec, c.config) for k in ALL for c in k.candidates])
    assert planned(ledger) is None
    assert finished(agenda(ALL), ledger)


def test_only_the_fastest_are_measured_once_more() -> None:
    one = kernel(spec(), candidates=5)
    screened = {"c1": 3.0, "c2": 1.0, "c3": 2.0, "c4": 4.0}
    ledger = Ledger([measurement(one.spec, "c0", 5.0)])
    ledger.add(measurement(one.spec, config, s, "screen") for config, s in screened.items())
    step = of_one(one, ledger)
    assert text(step) == ["last", "8 uint8 c0", "8 uint8 c2", "8 uint8 c3", "8 uint8 c1"]


def test_a_best_that_is_among_the_fastest_is_no_reason_to_measure() -> None:
    one = kernel(spec(), candidates=1)
    assert finished(agenda([one]), Ledger([measurement(one.spec, "c0")]))


def test_a_second_final_calls_for_no_third_round() -> None:
    """The best so far, slower the second time, stays among the fastest: else the fourth would have to be compared."""
    one = kernel(spec(), candidates=4)
    screened = {"c1": 2.0, "c2": 3.0, "c3": 4.0}
    ledger = Ledger([measurement(one.spec, "c0", 1.0)])
    ledger.add(measurement(one.spec, config, s, "screen") for config, s in screened.items())
    assert text(of_one(one, ledger))[1:] == [
        "8 uint8 c0",
        "8 uint8 c1",
        "8 uint8 c2",
    ]
    ledger.add(measurement(one.spec, config, 5.0) for config in ("c0", "c1", "c2"))
    assert finished(agenda([one]), ledger)


def test_what_failed_late_is_no_finalist() -> None:
    one = kernel(spec(), candidates=2)
    ledger = Ledger([measurement(one.spec, "c0", 5.0), measurement(one.spec, "c1", 1.0, "screen")])
    ledger.add([failure(one.spec, "c1")])
    assert finished(agenda([one]), ledger)


def test_a_short_budget_is_spent_on_the_heaviest() -> None:
    assert text(planned(Ledger(), left_s=2.5, budget_s=2.5)) == ["first", "16 uint8 c0"]
    assert planned(Ledger(), left_s=1.9, budget_s=10) is None
    ledger = Ledger(finals(LARGE))
    assert text(planned(ledger, left_s=3.9, budget_s=10)) == ["first", "8 uint8 c0"]


def test_a_quarter_is_kept_for_the_last_phase() -> None:
    """Finals of three kernels with three candidates take 18 s at most."""
    first = Ledger(finals(*ALL))
    assert text(planned(first, left_s=10.5, budget_s=40)) == ["screen", "16 uint8 c1"]
    assert planned(first, left_s=10.4, budget_s=40) is None
    assert text(planned(first, left_s=18.5, budget_s=400)) == ["screen", "16 uint8 c1"]
    assert planned(first, left_s=18.4, budget_s=400) is None


def test_the_last_phase_gets_what_was_kept() -> None:
    ledger = Ledger([*finals(*ALL), measurement(LARGE.spec, "c1", 1.0, "screen")])
    assert text(planned(ledger, left_s=9, budget_s=40)) == ["last", "16 uint8 c0", "16 uint8 c1"]
    assert planned(ledger, left_s=3.9, budget_s=40) is None


def test_a_heavy_kernel_that_does_not_fit_gives_way() -> None:
    screened = [measurement(LARGE.spec, c, 1.0, "screen") for c in ("c1", "c2")]
    ledger = Ledger([*finals(*ALL), *screened, measurement(SMALL4.spec, "c1", 1.0, "screen")])
    assert text(planned(ledger, left_s=5, budget_s=40)) == ["last", "8 uint4 c0", "8 uint4 c1"]


def test_progress() -> None:
    assert progress(agenda(ALL), Ledger()) == Progress((0, 3), (0, 9), (3, 3))
    ledger = Ledger([*finals(LARGE, SMALL8), measurement(LARGE.spec, "c1", 9.0, "screen")])
    ledger.add([failure(LARGE.spec, "c2")])
    assert progress(agenda(ALL), ledger) == Progress((2, 3), (4, 9), (2, 3), metered=(0, 2))
    ledger.add([measurement(LARGE.spec, "c1", 9.0)])
    assert progress(agenda(ALL), ledger).settled == (3, 3)


# -- energies ---------------------------------------------------------------------------------------------------------


def metering(ledger: Ledger, left_s: float = math.inf) -> list[str]:
    return text(next_step(agenda(ALL, energy=True), ledger, PACE, left_s, left_s))


def test_energies_come_behind_all_else_and_are_of_the_best() -> None:
    ledger = Ledger()
    medians_s = {"c0": 9.0, "c1": 7.0, "c2": 8.0}
    while isinstance(step := next_step(agenda(ALL, energy=True), ledger, PACE, math.inf, math.inf), Step):
        ledger.add(measurement(k.spec, c.config, medians_s[c.config], step.phase.stage) for k, c in step.candidates)
    assert finished(agenda(ALL), ledger)
    assert not finished(agenda(ALL, energy=True), ledger)
    seen = []
    while (step := next_step(agenda(ALL, energy=True), ledger, PACE, math.inf, math.inf)) is not None:
        assert isinstance(step, EnergyStep)
        seen.append(text(step))
        ledger.add([energy_of(step.kernel.spec, step.candidate.config)])
    assert seen == [["energy", "16 uint8 c1"], ["energy", "8 uint8 c1"], ["energy", "8 uint4 c1"]]
    assert finished(agenda(ALL, energy=True), ledger)
    assert progress(agenda(ALL), ledger).metered == (3, 3)
    assert next_step(agenda(ALL), Ledger(), PACE, math.inf, math.inf) is not None


def settled() -> Ledger:
    return Ledger(measurement(k.spec, c.config, 5.0) for k in ALL for c in k.candidates)


def test_an_energy_takes_its_time_or_is_left() -> None:
    assert metering(settled(), left_s=31.0) == ["energy", "16 uint8 c0"]
    assert metering(settled(), left_s=30.9) == []


def test_a_config_that_fails_at_work_leaves_its_place() -> None:
    ledger = settled()
    ledger.add([energy_of(LARGE.spec, "c0"), failure(LARGE.spec, "c0")])
    assert metering(ledger) == ["energy", "16 uint8 c1"]
    ledger.add([failure(LARGE.spec, c.config) for c in LARGE.candidates])
    assert metering(ledger) == ["energy", "8 uint8 c0"], "nothing works, so there is nothing to measure"


def test_energies_that_are_not_asked_for() -> None:
    assert next_step(agenda(ALL), settled(), PACE, math.inf, math.inf) is None
    assert finished(agenda(ALL), settled())


# -- with networks ----------------------------------------------------------------------------------------------------

RARE = replace(kernel(spec(32, 8)), mixed=True)
"""Needed by networks of mixed precision alone."""
FIRST, SECOND = configuration("first", SMALL8, SMALL8, RARE), configuration("second", SMALL8)
WITH_NETWORKS = agenda((*ALL, RARE), (FIRST, SECOND))


def test_what_networks_run_comes_first_with_the_other_precisions_of_it() -> None:
    ahead = [[k.spec for k in group] for group in WITH_NETWORKS.ahead]
    assert ahead == [[SMALL8.spec, SMALL4.spec], [RARE.spec]]
    assert [[k.spec for k in group] for group in WITH_NETWORKS.others] == [[LARGE.spec]]


def test_the_whole_order_with_networks() -> None:
    """Their kernels, each network once, all other kernels, and the networks again in alternating order."""
    ledger, seen = Ledger(), []
    while (step := next_step(WITH_NETWORKS, ledger, PACE, math.inf, math.inf)) is not None:
        seen.append(text(step))
        if isinstance(step, NetworkStep):
            ledger.add_network(network_round(step.configuration))
        else:
            ledger.add(measurement(k.spec, c.config, 5.0, step.phase.stage) for k, c in step.candidates)
    both = [["network", "first"], ["network", "second"]]
    assert seen[:6] == [
        ["first", "8 uint8 c0", "8 uint4 c0"],
        ["first", "32 uint8 c0"],
        *both,
        ["first", "16 uint8 c0"],
        both[1],
    ]
    rounds = [entry for entry in seen if entry[0] == "network"]
    assert rounds == [*both, *reversed(both), *both, *reversed(both), *both]
    assert ROUNDS == 5
    assert {entry[0] for entry in seen[seen.index(rounds[-1], 12) + 1 :]} == {"screen", "last"}
    assert finished(WITH_NETWORKS, ledger)


def test_a_network_that_failed_is_not_tried_again() -> None:
    ledger = Ledger(finals(*ALL, RARE), [network_fault(FIRST), network_round(SECOND)])
    step = next_step(WITH_NETWORKS, ledger, PACE, math.inf, math.inf)
    assert text(step) == ["network", "second"]
    kernels = (*ALL, RARE)
    assert progress(WITH_NETWORKS, ledger).rounds == (ROUNDS + 1, 2 * ROUNDS)
    ledger.add(measurement(k.spec, c.config, 9.0, "screen") for k in kernels for c in k.candidates)
    ledger.add(measurement(k.spec, c.config, 9.0) for k in kernels for c in k.candidates)
    assert not finished(WITH_NETWORKS, ledger)
    for _ in range(ROUNDS - 1):
        ledger.add_network(network_round(SECOND))
    assert finished(WITH_NETWORKS, ledger)


def test_a_network_that_takes_too_long_gives_way_to_kernels() -> None:
    """What it takes is reckoned with what its kernels were measured with."""
    ledger = Ledger(finals(SMALL8, SMALL4, RARE, median_s=1.0))
    needed_s = round_s(FIRST, (SMALL8, RARE), ledger)
    assert needed_s > 3 * 1.0  # three launches a run
    assert text(next_step(WITH_NETWORKS, ledger, PACE, needed_s, needed_s)) == ["network", "first"]
    slow = replace(PACE, network=2.0)
    for pace, left_s in ((PACE, needed_s - 0.1), (slow, needed_s)):
        assert text(next_step(WITH_NETWORKS, ledger, pace, left_s, left_s)) == ["first", "16 uint8 c0"]


@given(st.data(), st.integers(1, 6), st.floats(0, 200))
def test_any_run_ends_in_time_and_with_all_that_it_began(draw: st.DataObject, candidates: int, budget_s: float) -> None:
    """Whatever works and fails: phases begin in their order, no step overruns, and enough time is enough."""
    kernels = [kernel(spec(8, 8), candidates), kernel(spec(8, 4), candidates), kernel(spec(16), candidates)]
    ledger, left_s, stages = Ledger(), budget_s, []
    todo = agenda(kernels)
    while (step := next_step(todo, ledger, PACE, left_s, budget_s)) is not None:
        assert not isinstance(step, NetworkStep)
        left_s -= len(step.candidates) * PACE.of(step.phase)
        assert left_s >= 0
        for k, c in step.candidates:
            if draw.draw(st.booleans()):
                ledger.add([failure(k.spec, c.config)])
            else:
                ledger.add([measurement(k.spec, c.config, draw.draw(st.floats(1, 2)), step.phase.stage)])
        stages.append(step.phase)
        assert len(stages) < 100
    assert [p for p in Phase if p in stages] == list(dict.fromkeys(stages))
    if budget_s > 3 * PACE.final_s * (candidates + 2 * (FINALISTS + candidates)):
        assert finished(todo, ledger)
