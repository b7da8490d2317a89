"""How launches find evicted what their cache mode wants evicted, though nothing rests between two of them.

What prepares the caches ahead of a timed launch takes longer than many a kernel, and energy of its own. So where a
kernel works for seconds (`protocol.Device.work`) nothing prepares them: it goes through copies of its arguments, in
turn, that do not fit the last cache together. When it comes back to a copy, the others have evicted it.

- ``network``: the parameters are copied. Input and output are the same in all launches, so they stay.
- ``cold``: whatever the kernel reads or writes is copied, but for its scratch memory.
- ``hot``: nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiler.artifact import ArgSpec, Role
from profiler.record import CacheMode

CACHE_SIZES = 3
"""That the copies fill: caches do not evict strictly by age."""
MOST_COPIES = 4096
MOST_BYTES = 1 << 29
COPIES_LIMIT_S = 30.0
"""The longest that making them may take."""
_COPIED = {
    CacheMode.HOT: (),
    CacheMode.NETWORK: (Role.PARAMETER,),
    CacheMode.COLD: (Role.INPUT, Role.PARAMETER, Role.OUTPUT, Role.INOUT),
}


@dataclass(frozen=True)
class Rotation:
    """There are ``copies`` of the arguments with these ``indices``, themselves among them. ``note`` says where that is
    less than it takes; it is empty where it is enough."""

    indices: tuple[int, ...]
    copies: int
    note: str = ""


def rotation(args: Sequence[ArgSpec], mode: CacheMode, cache_bytes: int) -> Rotation:
    """For a kernel with these arguments. cache_bytes : of the last cache."""
    indices = tuple(i for i, arg in enumerate(args) if arg.role in _COPIED[CacheMode(mode)] and arg.nbytes)
    own_bytes = sum(args[index].nbytes for index in indices)
    if not own_bytes:
        return Rotation((), 1)
    wanted = -(-CACHE_SIZES * cache_bytes // own_bytes)
    copies = max(1, min(wanted, MOST_COPIES, MOST_BYTES // own_bytes))
    if copies >= wanted:
        return Rotation(indices, copies)
    return Rotation(
        indices,
        copies,
        f"launches may have found in the caches what cache mode {CacheMode(mode).value} wants evicted: {copies} copies "
        f"of {own_bytes:,} bytes were gone through, and the last cache holds {cache_bytes / 1e6:.3g} MB",
    )
