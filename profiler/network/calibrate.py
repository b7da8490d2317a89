"""Static ranges of activations, from what a network computes of the user's images.

Extremes take one run of the images. A percentile and the clip of least squared error take a second one, which fills a
histogram of each tensor between its extremes; see `histogram`. Both count images one by one, so that they do not
depend on how many are run at once.

One bit has the levels 0 and s, and the values of at least s / 2 are s. Were s the largest value, hardly any would be:
whatever the method, it is that of least squared error, as for weights of one bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from profiler.errors import InvalidFile, ProfilerError
from profiler.frontend.refusal import quoted
from profiler.frontend.weights import LayerWeights
from profiler.network.float_run import float_run, images_at_once
from profiler.network.histogram import Histogram
from profiler.network.images import Images
from profiler.network.ranges import Ranges, TensorRange
from profiler.workload import DType, Network

Floats = npt.NDArray[np.float32]


class Method(str, Enum):
    """What decides on a range."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "mse"


def calibrate(
    network: Network,
    weights: Mapping[str, LayerWeights],
    images: Images,
    method: Method = Method.MIN_MAX,
    percentile: float = 99.99,
    bits: Sequence[int] = (2, 3, 4, 8),
    at_once: int | None = None,
) -> Ranges:
    """The range of every tensor but those behind max pools, whose values are those of what they read.

    ``low`` and ``high`` are the extremes, whatever the method. `Method.PERCENTILE` clips to the magnitude that
    ``percentile`` per cent of the values do not exceed, `Method.MSE` to the one with the least squared error in a type
    of so many ``bits``; a signed tensor is clipped alike on both sides. Where 1 is among the ``bits``, an unsigned
    tensor has the clip of least squared error for that type, by whatever method. The outcome does not depend on
    ``at_once``, the number of images that are run at a time (None: as memory admits).

    Raises `InvalidFile` where there are no images, or an activation is not finite, naming it; `ProfilerError` for a
    percentile that is none; and what `float_run` raises.
    """
    if not 0 < percentile <= 100:
        raise ProfilerError(f"a percentile lies above 0 and not above 100, which {percentile:g} does not")
    if not images.count:
        raise InvalidFile("calibration: there are no images")
    run = _Run(network, weights, images, at_once or images_at_once(network))
    extremes = run.extremes()
    if method is Method.MIN_MAX:
        bits = [width for width in bits if width == 1]
    if not bits:
        return {name: TensorRange(low, high) for name, (low, high) in extremes.items()}
    histograms = run.histograms(extremes)
    found = {}
    for name, (low, high) in extremes.items():
        signed, histogram = network.tensor(name).signed, histograms[name]
        clipped = []
        for width in sorted({DType.activation(width, signed).bits for width in bits}):
            if method is Method.MIN_MAX and width != 1:
                continue
            if width == 1 or method is not Method.PERCENTILE:
                clip = histogram.least_error(DType.integer(width, signed))
            else:
                clip = histogram.percentile(percentile)
            clipped.append((width, max(-clip, min(low, clip)), max(-clip, min(high, clip))))
        found[name] = TensorRange(low, high, tuple(clipped))
    return found


@dataclass(frozen=True)
class _Run:
    """The images through the network, as often as needed."""

    network: Network
    weights: Mapping[str, LayerWeights]
    images: Images
    at_once: int

    def extremes(self) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        for first, name, values in self._tensors():
            low, high = float(values.min()), float(values.max())
            if not np.isfinite([low, high]).all():
                image = first + int(np.flatnonzero(~np.isfinite(values).all(axis=(1, 2, 3)))[0])
                raise InvalidFile(
                    f"calibration: the activation {quoted(name)} is not finite for image {image} (the first is 0)"
                )
            before = found.get(name, (low, high))
            found[name] = min(before[0], low), max(before[1], high)
        return found

    def histograms(self, extremes: Mapping[str, tuple[float, float]]) -> dict[str, Histogram]:
        found = {name: Histogram(max(high, -low)) for name, (low, high) in extremes.items()}
        for _, name, values in self._tensors():
            for image in values:
                found[name].add(image)
        return found

    def _tensors(self) -> Iterator[tuple[int, str, Floats]]:
        """The first image of each batch, the tensor, and its values."""
        first = 0
        for batch in self.images.batches(self.at_once):
            for name, values in float_run(self.network, self.weights, batch):
                if self.network.type_owner(name) == name:
                    yield first, name, values
            first += self.at_once
