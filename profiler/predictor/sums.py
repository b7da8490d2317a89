"""How far sums over kernels are off: errors of kernels cancel in a sum, as far as they are independent.

No one can calibrate on networks, of which a table holds a few. So sums are drawn over kernels that were held out
together, each as many as a network has, of one batch size and one width of weights as a network has them: errors that
such kernels share stay in the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
import numpy.typing as npt

from profiler.predictor.regressors import Array
from profiler.workload import KernelSpec

_SUMS = 200
_KERNELS = 20
"""Of a sum: a ResNet18 has 21 layers with weights."""
_LEAST = 4


def held_out_sums(
    specs: Sequence[KernelSpec],
    measured_s: Sequence[float],
    predicted_s: Array,
    fold: npt.NDArray[np.intp],
    seed: int,
) -> tuple[float, ...]:
    """log(measured / predicted) of 200 sums over at most 20 kernels of one fold; fewer where no fold has 4 alike."""
    generator = np.random.default_rng(seed)
    measured = np.array(measured_s)
    alike: dict[tuple[int, int, int], list[int]] = {}
    for index, spec in enumerate(specs):
        bits = spec.weight_dtype.bits if spec.weight_dtype else spec.output_dtype.bits
        alike.setdefault((int(fold[index]), spec.workload.batch, bits), []).append(index)
    pools = [np.array(pool) for pool in alike.values() if len(pool) >= _LEAST]
    if not pools:
        return ()
    sizes = np.array([len(pool) for pool in pools])
    found = []
    for pool in generator.choice(len(pools), size=_SUMS, p=sizes / sizes.sum()):
        chosen = generator.permutation(pools[pool])[:_KERNELS]
        found.append(log(float(measured[chosen].sum() / predicted_s[chosen].sum())))
    return tuple(found)
