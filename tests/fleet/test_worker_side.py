"""The processes that a Dask worker keeps between orders."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from profiler.fleet import worker_side
from profiler.fleet.orders import SeatKey

KEY = SeatKey("GPU-1")


class Seats:
    """In the place of `SeatProcess`. ``log`` is what happened to them; closing one takes until ``may_close``."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.closing, self.may_close = threading.Event(), threading.Event()

    def __call__(self, command: object) -> Any:
        seats = self

        class Seat:
            alive = True

            def open(self, key: SeatKey, start_s: float) -> None:
                seats.log.append("open")

            def close(self) -> None:
                seats.closing.set()
                assert seats.may_close.wait(10)
                seats.log.append("closed")

        return Seat()


@pytest.fixture
def seats(monkeypatch: pytest.MonkeyPatch) -> Seats:
    made = Seats()
    monkeypatch.setattr(worker_side, "SeatProcess", made)
    return made


def test_a_card_is_not_opened_while_its_last_seat_is_being_closed(seats: Seats) -> None:
    """It would lock clocks that the other one is about to give back."""
    here = worker_side._Processes()
    with here.seat((), KEY, 1):
        pass
    closer = threading.Thread(target=here.close_idle)
    closer.start()
    assert seats.closing.wait(10)

    def order() -> None:
        with here.seat((), KEY, 1):
            seats.log.append("order")

    other = threading.Thread(target=order)
    other.start()
    other.join(0.2)
    assert seats.log == ["open"]
    seats.may_close.set()
    other.join(10)
    closer.join(10)
    assert seats.log == ["open", "closed", "open", "order"]


def test_a_seat_at_work_is_left_alone(seats: Seats) -> None:
    here = worker_side._Processes()
    with here.seat((), KEY, 1) as seat:
        here.close_idle()
    with here.seat((), KEY, 1) as again:
        assert again is seat
    seats.may_close.set()
    here.close_idle()
    assert (seats.log, here.seats) == (["open", "closed"], {})
