"""The loop that runs the kernels of a network: `lowbit_chain` of kernels/cpu/runtime.c, called through ctypes."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from profiler.devices.shared_object import SharedObject
from tests.devices.c_kernels import code

_COUNT = ctypes.c_int64
_LOG = """
int64_t log_length;
char log_text[256];
static void note(void** a, char who) { log_text[log_length++] = who; ++*(char*)a[0]; }
void first(void** a) { note(a, 'a'); }
void second(void** a) { note(a, 'b'); struct timespec t = {0, 3000000}; nanosleep(&t, 0); }
void third(void** a) { note(a, 'c'); }
int logged(char* text) { memcpy(text, log_text, sizeof log_text); return (int)log_length; }
"""

Chain = Callable[..., int]


class Logged:
    """Kernels that log their names, and the loop."""

    def __init__(self) -> None:
        self.library = SharedObject(code("", extra=_LOG))
        pointer = ctypes.c_void_p
        self.chain: Chain = self.library.function("lowbit_chain", pointer, pointer, _COUNT, _COUNT, pointer, pointer)
        names = ("first", "second", "third")
        self.entries: Any = (pointer * 3)(*(ctypes.cast(self.library.function(name), pointer) for name in names))
        self.buffers = [(ctypes.c_char * 1)() for _ in names]
        self.arguments = [(pointer * 1)(ctypes.addressof(buffer)) for buffer in self.buffers]
        self.args: Any = (pointer * 3)(*(ctypes.addressof(argument) for argument in self.arguments))

    def log(self) -> bytes:
        text = ctypes.create_string_buffer(256)
        length = self.library.function("logged", ctypes.c_char_p)(text)
        return text.raw[:length]


@pytest.fixture
def logged() -> Iterator[Logged]:
    kernels = Logged()
    yield kernels
    kernels.library.close()


def test_steps_run_in_order_as_often_as_asked(logged: Logged) -> None:
    totals = np.zeros(4, np.int64)
    assert logged.chain(logged.entries, logged.args, 3, 4, None, totals.ctypes.data) == 0
    assert logged.log() == b"abc" * 4
    assert [buffer.raw for buffer in logged.buffers] == [b"\x04"] * 3  # each was called with its own arguments
    assert (totals > 3_000_000).all()


def test_marks_say_when_each_step_ended(logged: Logged) -> None:
    marks, totals = np.full((5, 3), -1, np.int64), np.zeros(5, np.int64)
    assert logged.chain(logged.entries, logged.args, 3, 5, marks.ctypes.data, totals.ctypes.data) == 0
    assert (np.diff(marks, axis=1) >= 0).all()
    assert (marks >= 0).all()
    assert (marks[:, 2] <= totals).all()
    assert (marks[:, 1] - marks[:, 0] > 3_000_000).all()  # the second step sleeps
    assert np.median(marks[:, 0]) < 1_000_000
    assert np.median(marks[:, 2] - marks[:, 1]) < 1_000_000


def test_no_step_and_no_run(logged: Logged) -> None:
    totals = np.full(2, -1, np.int64)
    assert logged.chain(logged.entries, logged.args, 0, 2, None, totals.ctypes.data) == 0
    assert (totals >= 0).all()
    assert logged.chain(logged.entries, logged.args, 3, 0, None, None) == 0
    assert [buffer.raw for buffer in logged.buffers] == [b"\x00"] * 3


@pytest.mark.parametrize(("steps", "runs"), [(-1, 1), (1, -1)])
def test_numbers_that_are_none(logged: Logged, steps: int, runs: int) -> None:
    assert logged.chain(logged.entries, logged.args, steps, runs, None, None) == errno.EINVAL


def test_a_part_of_the_steps(logged: Logged) -> None:
    """What the stepwise comparison does: the arrays from some step on."""
    total, width = np.zeros(1, np.int64), ctypes.sizeof(ctypes.c_void_p)
    places = [ctypes.addressof(array) + width for array in (logged.entries, logged.args)]
    assert logged.chain(*places, 1, 1, None, total.ctypes.data) == 0
    assert [buffer.raw for buffer in logged.buffers] == [b"\x00", b"\x01", b"\x00"]
