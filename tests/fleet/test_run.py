"""What the run makes of losses: whose fault they are, and who takes over."""

from __future__ import annotations

from profiler.fleet.events import JobLost, PlaceClosed
from profiler.fleet.link import TaskFailed, WorkerLost
from tests.fleet.pretended import PretendedFleet


def test_a_fleet_that_works(pretended: PretendedFleet) -> None:
    pretended.link.add("one", "m1", cpu=1, compile=1)
    result = pretended.profile(3)
    assert (result.profile.measured, result.lost, result.refused) == (3, 0, ())
    assert not pretended.told(PlaceClosed)


def test_lost_compilers_are_not_the_card_s_fault(pretended: PretendedFleet) -> None:
    """Twice three of them are lost in a row; a card that fails twice in a row gets no more work."""
    lost = 0

    def fault(name: str) -> None:
        nonlocal lost
        if name == "build" and lost < 6:
            lost += 1
            raise WorkerLost("it is gone")

    pretended.link.add("card", "m1", cpu=1)
    pretended.link.add("compiler", "m2", compile=1).fault = fault
    result = pretended.profile(2)
    assert (result.profile.measured, result.given_up) == (2, ())
    assert lost == 6
    assert not pretended.told(PlaceClosed)
    reasons = [event.reason for event in pretended.told(JobLost)]
    assert reasons == ["3 times a worker was lost that compiled it, last: it is gone"] * 2


def test_a_card_that_fails_twice_in_a_row_gets_no_more_work(pretended: PretendedFleet) -> None:
    def fault(name: str) -> None:
        if name == "measure":
            raise TaskFailed("a task failed there: no memory")

    pretended.link.add("broken", "m1", cpu=1, compile=1).fault = fault
    pretended.link.add("able", "m2", cpu=1, compile=1)
    result = pretended.profile(6)
    assert result.profile.measured == 6
    (closed,) = pretended.told(PlaceClosed)
    assert closed.place.endswith("worker broken")
    assert len([event for event in pretended.told(JobLost) if event.place.endswith("broken")]) == 2
