"""A kernel of the host at work: what is launched, on which copies, and what a worker does that is lost meanwhile."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from profiler.artifact import ArgSpec, Role
from profiler.devices.buffers import Arena
from profiler.devices.host import HostDevice
from profiler.devices.host_work import BackToBack
from profiler.devices.protocol import KernelFailure
from profiler.devices.rotation import Rotation
from profiler.devices.shared_object import SharedObject
from profiler.errors import DeviceError
from profiler.hardware import host_cpu
from profiler.record import CacheMode, FailureKind

from .c_kernels import artifact, code, needs_compiler

COUNTS = (
    "int64_t* seen = a[2]; int64_t* here = a[0]; ++seen[0]; seen[1] += here[0]; ++here[1]; *(int64_t*)a[1] = seen[0];"
)
"""``a[2]`` has the launches, and the sum of what they found in their first argument; each copy of which counts its own.
The output has the number of the last launch on it."""


class Bench:
    """That kernel with its memory, in this process."""

    def __init__(self, rotated: Rotation, text: str = COUNTS) -> None:
        needs_compiler()
        self.library = SharedObject(code(text))
        self.arena = Arena([64, 8, 16])
        self.input, self.output, self.seen = (view.view(np.int64) for view in self.arena.views)
        self.input[0] = 7
        entry = ctypes.cast(self.library.function("entry"), ctypes.c_void_p).value
        self.work = BackToBack(self.library, entry, self.arena.views, self.arena.addresses, rotated)


@pytest.mark.parametrize("copies", [1, 2, 3, 5, 255, 256, 257, 1000])
@pytest.mark.parametrize("duration_s", [0.0, 0.003])
def test_launches_are_counted_and_spread_over_the_copies(copies: int, duration_s: float) -> None:
    bench = Bench(Rotation((0,), copies))
    runs = bench.work.work(duration_s)
    assert bench.seen[0] == runs >= 1
    assert bench.seen[1] == 7 * runs, "every copy holds what the argument does"
    own = int(bench.input[1])
    assert 1 <= own <= runs // copies + 1, "the argument itself is one of them"
    assert own >= runs // copies
    assert bench.output[0] == runs, "the last launch was on the arguments themselves"
    assert bench.work.work(duration_s) == bench.seen[0] - runs
    assert bench.arena.overwritten() is None


def test_an_output_with_copies_ends_with_the_own_one() -> None:
    bench = Bench(Rotation((0, 1), 9))
    runs = bench.work.work(0.002)
    assert bench.seen[0] == bench.output[0] == runs


def test_it_works_for_as_long_as_it_shall() -> None:
    slow = f"{COUNTS} struct timespec t = {{0, 3000000}}; nanosleep(&t, 0);"
    bench = Bench(Rotation((), 1), slow)
    begin_s = time.monotonic()
    runs = bench.work.work(0.1)
    assert 0.1 <= time.monotonic() - begin_s < 0.3
    assert 10 <= runs <= 40


def test_parameters_are_gone_through_in_the_worker() -> None:
    """The kernel writes into each copy of its parameter, and the check finds it in the one that is the argument."""
    args = (
        ArgSpec("input", Role.INPUT, 16 * 16 * 32),
        ArgSpec("output", Role.OUTPUT, 8 * 8 * 32),
        ArgSpec("workspace", Role.WORKSPACE, 128),
    )
    small = replace(host_cpu(), l2_bytes=1 << 14, l3_bytes=1 << 15)
    with HostDevice(small) as device:
        right = device.load(artifact(args=args))
        device.verify(right)
        assert device.work(right, 0.005, CacheMode.COLD).note == ""
        device.recheck(right)
        tires = device.load(artifact("tires", config="tires"))
        device.verify(tires)
        device.work(tires, 0.005, CacheMode.COLD)
        with pytest.raises(KernelFailure) as caught:
            device.recheck(tires)
        assert caught.value.kind is FailureKind.WRONG_OUTPUT
        clocks = device.circumstances()
        assert clocks.sm_clock_mhz_low is not None, "the clock is looked at behind the work"
    with HostDevice(replace(small, l3_bytes=1 << 40)) as device:
        handle = device.load(artifact())
        assert "cache mode cold wants evicted" in device.work(handle, 0.001, CacheMode.COLD).note


def test_a_worker_that_is_killed_is_not_asked_again() -> None:
    """It had done nobody knows how much: the second half of the work is not the whole."""
    with HostDevice() as device:
        handle = device.load(artifact())
        device.verify(handle)
        pid = device.worker_pid
        assert pid is not None
        killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(KernelFailure, match="killed the measuring process") as caught:
            device.work(handle, 30.0, CacheMode.HOT)
        assert caught.value.kind is FailureKind.UNSTABLE
        assert device.work(handle, 0.0, CacheMode.HOT).runs == 1, "and the next one works again"


@pytest.mark.parametrize(("body", "kind"), [("segfaults", FailureKind.CRASH), ("hangs", FailureKind.TIMEOUT)])
def test_kernels_that_end_while_they_work(body: str, kind: FailureKind) -> None:
    text = {"segfaults": "*(volatile int*)8 = 1;", "hangs": "for (;;) pause();"}[body]
    with HostDevice(time_limit_s=0.3) as device:
        handle = device.load(artifact(f"static int calls; if (++calls > 5) {{ {text} }} pool(a);"))
        device.verify(handle)
        limit = pytest.MonkeyPatch()
        limit.setattr("profiler.devices.host.COPIES_LIMIT_S", 0.0)
        with limit.context(), pytest.raises(KernelFailure) as caught:
            device.work(handle, 0.05, CacheMode.HOT)
        limit.undo()
        assert caught.value.kind is kind


def test_code_without_a_loop() -> None:
    needs_compiler()
    library = SharedObject(code("pool(a);", runtime=False))
    with pytest.raises(KernelFailure, match="build it again"):
        BackToBack(library, None, [], [], Rotation((), 1))


def test_an_emulated_processor_does_not_work() -> None:
    with HostDevice(replace(host_cpu(), emulated_on="x86_64")) as device:
        handle = device.load(artifact())
        with pytest.raises(DeviceError, match="nothing is timed there"):
            device.work(handle, 0.0, CacheMode.HOT)
