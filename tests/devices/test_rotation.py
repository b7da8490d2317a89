"""Which arguments a kernel at work has copies of, and how many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.artifact import ArgSpec, Role
from profiler.devices.rotation import CACHE_SIZES, MOST_BYTES, MOST_COPIES, Rotation, rotation
from profiler.record import CacheMode

ARGS = (
    ArgSpec("input", Role.INPUT, 1000),
    ArgSpec("weight", Role.PARAMETER, 9000),
    ArgSpec("bias", Role.PARAMETER, 1000),
    ArgSpec("empty", Role.PARAMETER, 0),
    ArgSpec("output", Role.OUTPUT, 500),
    ArgSpec("workspace", Role.WORKSPACE, 1 << 20),
    ArgSpec("counters", Role.COUNTERS, 256),
)


def test_what_each_mode_wants_evicted() -> None:
    assert rotation(ARGS, CacheMode.HOT, 1 << 20) == Rotation((), 1)
    assert rotation(ARGS, CacheMode.NETWORK, 100_000) == Rotation((1, 2), 30)
    assert rotation(ARGS, CacheMode.COLD, 115_000) == Rotation((0, 1, 2, 4), 30)
    only_inputs = [arg for arg in ARGS if arg.role is not Role.PARAMETER]
    assert rotation(only_inputs, CacheMode.NETWORK, 1 << 20) == Rotation((), 1), "a pool has nothing to evict"


def test_what_is_larger_than_the_caches_evicts_itself() -> None:
    assert rotation((ArgSpec("weight", Role.PARAMETER, 3 << 20),), CacheMode.NETWORK, 1 << 20) == Rotation((0,), 1)


@given(st.integers(1, 1 << 30), st.integers(1, 1 << 30))
def test_the_copies_do_not_fit_the_cache_or_a_note_says_that_they_may(own_bytes: int, cache_bytes: int) -> None:
    found = rotation((ArgSpec("weight", Role.PARAMETER, own_bytes),), CacheMode.COLD, cache_bytes)
    assert 1 <= found.copies <= MOST_COPIES
    assert found.copies == 1 or found.copies * own_bytes <= MOST_BYTES
    assert bool(found.note) == (found.copies * own_bytes < CACHE_SIZES * cache_bytes)


def test_the_note_says_how_many_there_were() -> None:
    note = rotation((ArgSpec("bias", Role.PARAMETER, 1200),), CacheMode.NETWORK, 32 << 20).note
    assert "4096 copies of 1,200 bytes" in note
    assert "33.6 MB" in note
    assert "cache mode network" in note


@pytest.mark.parametrize("mode", ["hot", "network", "cold"])
def test_modes_by_name(mode: str) -> None:
    assert rotation(ARGS, CacheMode(mode), 1) == rotation(ARGS, mode, 1)  # type: ignore[arg-type]
