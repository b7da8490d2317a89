"""Where what a kernel left in memory differs from what the oracle says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.network.integer_network import Step, Value
from profiler.quantize.spare_bits import spare_bits
from profiler.quantize.stored import pack_activation, unpack_activation

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Difference:
    """The first of ``different`` bytes, out of ``nbytes``, in which a step's output is not the oracle's.

    ``at`` is image, row, column and channel of the first element that differs, ``found`` and ``expected`` are integers;
    all None where only bits differ that belong to no element (the end of a pixel).
    """

    step: str
    layer: str
    value: str
    byte: int
    different: int
    nbytes: int
    at: tuple[int, int, int, int] | None = None
    found: int | None = None
    expected: int | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        where = f"{self.different} of {self.nbytes} bytes of '{self.value}' differ; the first is byte {self.byte}"
        if self.at is None:
            return f"{where}, in bits that belong to no channel"
        image, row, column, channel = self.at
        return (
            f"{where}, image {image}, row {row}, column {column}, channel {channel}: {self.found} instead of "
            f"{self.expected}"
        )


def difference(step: Step, value: Value, raw: Bytes, expected: Array) -> Difference | None:
    """None where the stored bytes are those of the expected integers, NHWC.

    Bits that the slices of a concatenation leave to nobody do not count (`spare_bits`); every other kernel has to clear
    them.
    """
    stored = pack_activation(expected, value.dtype)
    raw = spare_bits(value.shape[-1], value.dtype, step.filled).cleared(raw)
    different = np.flatnonzero(raw != stored)
    if not different.size:
        return None
    found = unpack_activation(raw.tobytes(), value.shape, value.dtype)
    elements = np.argwhere(found != expected.reshape(value.shape))
    summary = (step.name, step.layer, value.name, int(different[0]), int(different.size), int(raw.size))
    if not elements.size:
        return Difference(*summary)
    at = tuple(int(index) for index in elements[0])
    assert len(at) == 4
    return Difference(*summary, at, int(found[at]), int(expected.reshape(value.shape)[at]))
