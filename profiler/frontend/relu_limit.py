"""What an operator that clips between two numbers is to a network: a ReLU, with an upper end or without one."""

from __future__ import annotations

import struct

from profiler.frontend.refusal import RefusedError

_LARGEST = 3.4028234663852886e38
"""Of float32: what clips there clips nothing."""


def relu_limit(low: float | None, high: float | None) -> float | None:
    """The upper end of the ReLU that clips between ``low`` and ``high``, as a float32 has it; None where it has none.

    Raises `RefusedError` where the lower end is not zero, or the upper one not above it.
    """
    if low is None or low != 0:
        raise RefusedError("it clips from another value than 0")
    if high is None or high >= _LARGEST:
        return None
    limit: float = struct.unpack("f", struct.pack("f", max(high, 0.0)))[0]
    if not limit > 0:
        raise RefusedError(f"it clips from 0 to {high:g}, which leaves nothing")
    return limit
