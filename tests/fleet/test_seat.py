"""The measuring process of a worker when others have its card, and when its worker is stopped."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profiler.devices.discover import FoundDevice
from profiler.devices.rapl import RaplCounter
from profiler.fleet import seat as seat_module
from profiler.fleet.bench import CardLost, RemoteCard
from profiler.fleet.limits import FleetLimits
from profiler.fleet.offers import Offer, Place
from profiler.fleet.orders import MeasureOrder, Occupied, SeatKey, SeatOptions, Sight
from profiler.fleet.seat import Seat
from profiler.fleet.worker_side import SeatProcess
from profiler.measure import Run, rules_of
from profiler.measure.turns import MachineTurns, NoTurn
from profiler.record import FINAL_STAGE, Conditions

NOTHING = MeasureOrder(
    (), Conditions(), rules_of(False).final, FINAL_STAGE, Run("run", "1", ""), turn_s=0.5, limit_s=20
)
IMPATIENT = """
import sys
from profiler.fleet import seat
seat.UNUSED_S = 0.2
seat.serve(seat.Seat())
"""


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def opened(monkeypatch: pytest.MonkeyPatch) -> Seat:
    monkeypatch.setattr(
        seat_module,
        "open_device",
        lambda *_, **__: SimpleNamespace(
            properties=None,
            counter=RaplCounter(Path("/nowhere")),
            fingerprint=lambda compiler: None,
            close=lambda: None,
        ),
    )
    found = Seat(machine="here")
    found.open(SeatKey(""))
    return found


def is_free() -> bool:
    try:
        with MachineTurns.of_cpu().measuring(0):
            return True
    except NoTurn:
        return False


def test_a_card_that_others_have_is_no_error_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    seat = opened(monkeypatch)
    with MachineTurns.of_cpu().compiling():
        answer = seat.turn(0.1)
    assert isinstance(answer, Occupied)
    assert f"another run has the device (process {os.getpid()}" in answer.message
    assert not seat.has_turn
    assert seat.turn(0.1) is None
    assert (seat.has_turn, is_free()) == (True, False)
    seat.close()
    assert is_free()


def test_kernels_are_measured_within_a_turn_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seat = opened(monkeypatch)
    answer = seat.measure(NOTHING)
    assert isinstance(answer, Occupied)
    monkeypatch.setattr(seat_module, "measure", lambda *_: () if not is_free() else pytest.fail("not its turn"))
    seat.turn(0.1)
    assert seat.measure(NOTHING) == ()
    assert is_free()


def test_a_turn_that_nobody_uses_is_given_back() -> None:
    """The Dask worker was stopped in between; its seat was not."""
    process = SeatProcess((sys.executable, "-c", IMPATIENT))
    try:
        process.open(SeatKey(""), 60)
        assert process.ask({"request": "turn", "limit_s": 1.0}, None, 20) is None
        with MachineTurns.of_cpu().measuring(20):
            pass
        answer = process.ask({"request": "measure"}, NOTHING, 20)
        assert isinstance(answer, Occupied)
        assert "the turn, which was given back" in answer.message
        assert process.measure(NOTHING).lines == ()  # type: ignore[union-attr]
    finally:
        process.close()


def test_at_home_the_workload_goes_elsewhere() -> None:
    """As that of a lost worker does: the card itself is not at fault."""
    cpu = FoundDevice("cpu", "a CPU")
    place = Place(Offer("tls://h:1", "w"), Sight("host", "m", "x86_64", 4, "1", "abc", (cpu,)), cpu)

    class Busy:
        def ask(self, function: Callable[..., Any], *_: object, workers: Sequence[str], **__: object) -> Occupied:
            assert list(workers) == ["tls://h:1"]
            return Occupied("process 7 (profiler) has the device and is stopped")

    card: Any = RemoteCard(place, None, SeatOptions(), "cpu", (), Busy(), None, FleetLimits())  # type: ignore[arg-type]
    with pytest.raises(CardLost, match="process 7"):
        card.measure((), NOTHING.conditions, NOTHING.rule, FINAL_STAGE, NOTHING.run, lambda: None)
