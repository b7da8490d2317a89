"""Samples of a layer on both sides, and the CPUs that both sides share."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bench.peers import PeerLayer
from profiler.devices.host import HostDevice
from profiler.record import CacheMode

SAMPLE_S = 0.006
"""What a sample takes, about."""

Sample = Callable[[], float]
"""Takes one, and says how many seconds the layer took once."""


@contextmanager
def pinned(cpus: Iterable[int]) -> Iterator[None]:
    """This process on these CPUs: those of the measuring process, which sleeps while the peer runs."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)


def of_kernel(device: HostDevice, handle: int) -> Sample:
    """Hot: the first launch of a sample does not count."""
    launches = max(2, math.ceil(SAMPLE_S / statistics.median(device.time(handle, 5, CacheMode.HOT))))
    return lambda: statistics.fmean(device.time(handle, 1 + launches, CacheMode.HOT)[1:])


def of_peer(peer: PeerLayer, overhead_s: float) -> Sample:
    """Likewise; a call's ``overhead_s`` is taken off."""
    peer.call_s(2)
    calls = max(2, math.ceil(SAMPLE_S / peer.call_s(3)))

    def sample() -> float:
        peer.call_s(1)
        return (peer.call_s(calls) - overhead_s) / peer.copies

    return sample
