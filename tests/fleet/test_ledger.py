"""What becomes of workloads: a few cases told, and random fleets in which anything may fail."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from profiler.fleet.ledger import Holder, Job, Ledger, Status, jobs_of
from profiler.workload import DType, KernelSpec, Op, Workload

A, B, C = Holder("a", "card-a"), Holder("b", "card-b"), Holder("c", "card-c")
TWIN = Holder("a2", "card-a")
"""Another worker of A's fingerprint: a host of the same kind."""


def job(number: int) -> Job:
    workload = Workload(Op.MAX_POOL, 1, 8, 8, 8 * (number + 1), 8 * (number + 1), 2, 2, 2, 2)
    return Job(workload, (KernelSpec(workload, DType.INT8, DType.INT8),))


JOBS = tuple(job(number) for number in range(3))


def nothing_begun(job: Job, instrument: str) -> int:
    return 0


def test_kernels_of_a_workload_are_one_job() -> None:
    first, second = JOBS[0].specs[0], JOBS[1].specs[0]
    narrow = KernelSpec(first.workload, DType.INT4, DType.INT4)
    jobs = jobs_of([first, second, narrow, first])
    assert [job.specs for job in jobs] == [(first, narrow), (second,)]


def test_in_order_each_once() -> None:
    ledger = Ledger(JOBS, nothing_begun)
    assert [ledger.take(h, (A, B)) for h in (A, B, A, B)] == [*JOBS, None]
    for done in JOBS:
        assert ledger.open
        assert not ledger.finished(done, A, True, (A, B))
    assert (ledger.open, ledger.count(Status.DONE), ledger.given_up) == (False, 3, ())


def test_what_was_begun_goes_on_where_it_was() -> None:
    begun = {(JOBS[0], "card-b"): 1, (JOBS[1], "card-a"): 1, (JOBS[1], "card-b"): 2}
    ledger = Ledger(JOBS, lambda job, instrument: begun.get((job, instrument), 0))
    assert ledger.take(A, (A, B)) == JOBS[2], "the others have records of B"
    assert ledger.take(A, (A, B)) is None
    assert ledger.take(A, (A,)) == JOBS[0], "B has left"
    assert ledger.take(TWIN, (A, TWIN)) == JOBS[1]


def test_a_lost_job_goes_elsewhere() -> None:
    ledger = Ledger(JOBS[:1], lambda job, instrument: int(instrument == "card-a"))
    assert ledger.take(A, (A, B)) == JOBS[0]
    assert not ledger.lost(JOBS[0], A, "hung")
    assert ledger.take(A, (A, B)) is None, "B is there"
    assert ledger.take(B, (A, B)) == JOBS[0], "though A's journal has begun it"
    assert not ledger.lost(JOBS[0], B, "gone")
    assert ledger.take(A, (A,)) == JOBS[0], "nobody else is there"
    assert ledger.lost(JOBS[0], A, "hung")
    assert [loss.reason for loss in ledger.losses(JOBS[0])] == ["hung", "gone", "hung"]
    assert (ledger.given_up, ledger.open) == ((JOBS[0],), False)


def test_a_lost_job_goes_on_from_the_journal_where_it_is_of_use() -> None:
    ledger = Ledger(JOBS[:1], lambda job, instrument: int(instrument == "card-a"))
    assert ledger.take(A, (A, B, TWIN)) == JOBS[0]
    ledger.lost(JOBS[0], A, "gone")
    assert ledger.take(B, (B, TWIN)) is None
    assert ledger.take(TWIN, (B, TWIN)) == JOBS[0]


def test_a_kernel_that_fails_is_tried_on_one_other_card() -> None:
    ledger = Ledger(JOBS[:1], nothing_begun)
    ledger.take(A, (A, B, C, TWIN))
    assert ledger.finished(JOBS[0], A, False, (A, B, C, TWIN))
    assert ledger.take(TWIN, (A, B, C, TWIN)) is None, "the same instrument"
    assert ledger.take(B, (A, B, C, TWIN)) == JOBS[0]
    assert not ledger.finished(JOBS[0], B, False, (A, B, C, TWIN)), "not a third time"
    assert not ledger.open


def test_no_other_card() -> None:
    ledger = Ledger(JOBS[:1], nothing_begun)
    ledger.take(A, (A, TWIN))
    assert not ledger.finished(JOBS[0], A, False, (A, TWIN))
    assert not ledger.open


def test_the_other_card_leaves() -> None:
    ledger = Ledger(JOBS[:1], nothing_begun)
    ledger.take(A, (A, B))
    assert ledger.finished(JOBS[0], A, False, (A, B))
    ledger.settle((A, B))
    assert ledger.open
    ledger.settle(())
    assert ledger.open, "with nobody there it waits"
    ledger.settle((A,))
    assert (ledger.open, ledger.count(Status.DONE)) == (False, 1)


def test_what_is_finished_once_is_not_given_up() -> None:
    ledger = Ledger(JOBS[:1], nothing_begun, attempts=1)
    ledger.take(A, (A, B))
    ledger.finished(JOBS[0], A, False, (A, B))
    ledger.take(B, (A, B))
    assert not ledger.lost(JOBS[0], B, "gone")
    assert (ledger.open, ledger.given_up) == (False, ())


@given(st.integers(0, 2**32), st.integers(1, 4), st.floats(0, 0.7))
def test_any_fleet_comes_to_an_end(seed: int, attempts: int, misfortune: float) -> None:
    """Workers come, go, hang and measure kernels that fail. No job is in two hands, and all end within bounds."""
    chance = random.Random(seed)
    everybody = [Holder(f"w{n}", f"card-{n % 3}") for n in range(5)]
    jobs = [job(number) for number in range(6)]
    ledger = Ledger(jobs, lambda job, instrument: hash((seed, job.workload.text, instrument)) % 2, attempts)
    present = set(chance.sample(everybody, 2))
    hands: dict[Holder, Job] = {}
    finishes: Counter[Job] = Counter()
    losses: Counter[Job] = Counter()
    for _ in range(3000):
        if not ledger.open:
            break
        if chance.random() < 0.1:
            stranger = chance.choice(everybody)
            if stranger not in present:
                present.add(stranger)
            elif len(present) > 1:
                present.discard(stranger)
                if stranger in hands:
                    gone = hands.pop(stranger)
                    losses[gone] += 1
                    ledger.lost(gone, stranger, "gone")
        ledger.settle(present)
        holder = chance.choice(sorted(present, key=lambda h: h.place))
        if holder not in hands:
            taken = ledger.take(holder, present)
            if taken is not None:
                assert taken not in hands.values()
                hands[holder] = taken
        elif chance.random() < misfortune:
            losses[hands[holder]] += 1
            ledger.lost(hands.pop(holder), holder, "hung")
        else:
            finishes[hands[holder]] += 1
            ledger.finished(hands.pop(holder), holder, chance.random() > misfortune, present)
    assert not ledger.open
    assert not hands
    assert max(losses.values(), default=0) <= attempts
    assert max(finishes.values(), default=0) <= 2
    for each in jobs:
        assert (each in ledger.given_up) == (finishes[each] == 0)
        assert each not in ledger.given_up or losses[each] == attempts
