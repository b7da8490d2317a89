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

Index = npt.NDArray[np.intp]

_SUMS = 200
KERNELS_OF_A_SUM = 20
"""Of a sum: a ResNet18 has 21 layers with weights."""
_LEAST = 4


def held_out_sums(
    specs: Sequence[KernelSpec],
    measured_s: Sequence[float],
    predicted_s: Array,
    fold: Index,
    seed: int,
) -> tuple[float, ...]:
    """log(measured / predicted) of 200 sums over at most 20 kernels of one fold each."""
    generator = np.random.default_rng(seed)
    measured = np.array(measured_s)
    pools = _pools(specs, fold)
    sizes = np.array([len(pool) for pool in pools])
    found = []
    for number in generator.choice(len(pools), size=_SUMS, p=sizes / sizes.sum()):
        chosen = generator.permutation(pools[number])[:KERNELS_OF_A_SUM]
        found.append(log(float(measured[chosen].sum() / predicted_s[chosen].sum())))
    return tuple(found)


def _pools(specs: Sequence[KernelSpec], fold: Index) -> list[Index]:
    """Rows that a sum may be drawn from; those of whole folds where none has 4 that are alike."""
    alike: dict[object, list[int]] = {}
    whole: dict[int, list[int]] = {}
    for index, spec in enumerate(specs):
        number = int(fold[index])
        alike.setdefault((number, spec.workload.batch, (spec.weight_dtype or spec.output_dtype).bits), []).append(index)
        whole.setdefault(number, []).append(index)
    found = [np.array(pool, dtype=np.intp) for pool in alike.values() if len(pool) >= _LEAST]
    return found or [np.array(pool, dtype=np.intp) for pool in whole.values()]
