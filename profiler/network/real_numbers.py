"""Where an integer network meets real numbers: what goes in, and what whoever asks makes of what comes out.

Neither is part of the network: it computes from integers to integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.network.integer_network import IntegerNetwork
from profiler.quantize.stored import numpy_dtype

Array = npt.NDArray[Any]


def quantized_inputs(network: IntegerNetwork, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Real inputs [N, H, W, C] as the integers that the network reads: divided by their scale, rounded half to even,
    clamped to their type. Raises `KeyError` for an input that is missing."""
    found = {}
    for name in network.inputs:
        value = network.value(name)
        with np.errstate(over="ignore"):  # what is beyond all floats is clamped, too
            scaled = np.rint(inputs[name] / np.float64(value.scale[0]))
        integers = np.clip(scaled, value.dtype.low, value.dtype.high)
        found[name] = integers.astype(numpy_dtype(value.dtype))
    return found


def real_values(network: IntegerNetwork, name: str, integers: Array) -> npt.NDArray[np.float64]:
    """What the integers of a value stand for, [..., C]."""
    return integers * np.asarray(network.value(name).scale, np.float64)
