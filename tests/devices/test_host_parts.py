"""The parts under the host device: messages, buffers, and what the system tells of itself."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.devices.buffers import ALIGNMENT, GUARD_BYTES, Arena
from profiler.devices.host_state import HostObserver
from profiler.devices.pipe import Closed, Overdue, Pipe


def pair() -> tuple[Pipe, tuple[int, int]]:
    source, sink = os.pipe()
    return Pipe(source, sink), (source, sink)


@given(
    header=st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9)), payload=st.binary(max_size=999)
)
@settings(max_examples=50)
def test_messages_arrive_as_sent(header: dict[str, object], payload: bytes) -> None:
    pipe, ends = pair()
    pipe.send(header, payload)
    pipe.send({}, b"next")
    assert pipe.receive(1.0) == (header, payload)
    assert pipe.receive() == ({}, b"next")
    for end in ends:
        os.close(end)


def test_silence_and_ends() -> None:
    pipe, (source, sink) = pair()
    with pytest.raises(Overdue):
        pipe.receive(0.01)
    os.write(sink, b"\x05\x00")
    with pytest.raises(Overdue):
        pipe.receive(0.01)
    os.close(sink)
    with pytest.raises(Closed):
        pipe.receive(1.0)
    os.close(source)
    other, (source, sink) = pair()
    os.close(source)
    with pytest.raises(Closed):
        other.send({})
    os.close(sink)


@given(sizes=st.lists(st.integers(0, 3_000_000) | st.integers(0, 130), min_size=1, max_size=5), data=st.data())
@settings(max_examples=25, deadline=None)
def test_buffers_are_aligned_and_guarded(sizes: list[int], data: st.DataObject) -> None:
    arena = Arena(sizes)
    assert [view.size for view in arena.views] == sizes
    assert all(address % ALIGNMENT == 0 for address in arena.addresses)
    ends = [address + size for address, size in zip(arena.addresses, sizes, strict=True)]
    assert all(after - end >= GUARD_BYTES for end, after in zip(ends, arena.addresses[1:], strict=False))
    for view in arena.views:
        assert not view.any()
        view[:] = 0xFF
    assert arena.overwritten() is None

    which = data.draw(st.integers(0, len(sizes) - 1))
    distance = data.draw(st.integers(1, GUARD_BYTES // 2 - ALIGNMENT))
    behind = data.draw(st.booleans())
    address = ends[which] + distance - 1 if behind else arena.addresses[which] - distance
    ctypes.c_uint8.from_address(address).value ^= 1
    assert arena.overwritten() == which


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A pretended /proc, /sys and control group of a machine with as many CPUs as this one."""
    for folder in ("proc/11", "proc/12", "sys/class/hwmon/hwmon0", "sys/class/hwmon/hwmon1", "cgroup"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/loadavg").write_text("0.25 0.10 0.05 1/100 4242\n")
    (tmp_path / "sys/class/hwmon/hwmon0/name").write_text("nvme\n")
    (tmp_path / "sys/class/hwmon/hwmon0/temp1_input").write_text("90000\n")
    (tmp_path / "sys/class/hwmon/hwmon1/name").write_text("k10temp\n")
    (tmp_path / "sys/class/hwmon/hwmon1/temp1_input").write_text("61500\n")
    (tmp_path / "cgroup/cpu.max").write_text("max 100000\n")
    advance(tmp_path, busy=0, idle=0, steal=0, own=(0, 0))
    return tmp_path


def advance(system: Path, busy: int, idle: int, steal: int, own: tuple[int, int]) -> None:
    """Counters in ticks; ``own`` are those of processes 11 and 12."""
    (system / "proc/stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    for pid, ticks in zip((11, 12), own, strict=True):
        (system / f"proc/{pid}/stat").write_text(f"{pid} (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5\n")


def observer(system: Path, virtual: bool = False) -> HostObserver:
    return HostObserver(virtual, system / "proc", system / "sys", system / "cgroup")


def test_an_idle_machine(system: Path) -> None:
    seen = observer(system).observe((11, 12), (2400.0, 2600.0))
    assert (seen.sm_clock_mhz_low, seen.sm_clock_mhz_high) == (2400.0, 2600.0)
    assert (seen.load_average, seen.temperature_c) == (0.25, 61.5)
    assert seen.notes == ()


def test_others_are_noted_and_we_are_not(system: Path) -> None:
    cpus = os.cpu_count() or 1
    watch = observer(system)
    watch.observe((11,), ())
    advance(system, busy=100, idle=100 * cpus - 100, steal=0, own=(60, 40))
    assert watch.observe((11, 12), ()).notes == ()
    advance(system, busy=200, idle=200 * cpus - 200, steal=0, own=(80, 60))
    assert watch.observe((11, 12), ()).notes == ("other processes kept 0.6 CPUs busy",)


def test_steal_virtual_machine_and_quota(system: Path) -> None:
    watch = observer(system, virtual=True)
    (system / "cgroup/cpu.max").write_text("150000 100000\n")
    standing = ("virtual machine", "limited to 1.5 CPUs by its control group")
    assert watch.observe((), ()).notes == standing
    advance(system, busy=0, idle=950, steal=50, own=(0, 0))
    assert watch.observe((), ()).notes == (*standing, "the hypervisor took 5% of the CPU time")


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    watch = observer(tmp_path)
    for _ in range(2):
        seen = watch.observe((1,), ())
        assert (seen.load_average, seen.temperature_c, seen.sm_clock_mhz_low, seen.notes) == (None, None, None, ())
