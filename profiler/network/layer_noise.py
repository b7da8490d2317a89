"""How far each of several integer networks is from the float network that they were made of, where most of them differ
from the first one in a few steps: what is the same is computed once for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import ProfilerError
from profiler.network.changed_run import Computed, changed_run
from profiler.network.float_run import images_at_once
from profiler.network.images import Images, filled
from profiler.network.integer_network import IntegerNetwork
from profiler.network.noise import Doubles, float_outputs, integer_outputs, with_batch
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork
from profiler.network.real_numbers import quantized_inputs

_AT_ONCE = 8
"""Images of a run, at most: all values of the first network are kept meanwhile."""


def relative_squared_errors(
    trained: TrainedNetwork,
    networks: Sequence[IntegerNetwork],
    images: Images,
    heard: Callable[[int, int], None] = lambda done, all_of_them: None,
    at_once: int | None = None,
) -> tuple[float, ...]:
    """Of each network: the sum of squared differences to the float network's output over that of its squared values,
    over all images; of several outputs the mean, but for those that are zero throughout. It is the square of
    `OutputNoise.relative_error`.

    networks : made of ``trained``, at any batch. images : one or more. ``heard`` is told after each run of a network
    how many of all are done. The outcome does not depend on ``at_once``, the number of images of a run (None: as memory
    admits). Raises `ProfilerError` where all outputs are zero, and what `float_run` raises.
    """
    size = _size(images.count, at_once or min(_AT_ONCE, images_at_once(trained.network)))
    sized = [with_batch(network, size) for network in networks]
    runs = len(networks) * -(-images.count // size)
    signals = dict.fromkeys(trained.network.outputs, 0.0)
    errors = [dict.fromkeys(trained.network.outputs, 0.0) for _ in networks]
    done = 0
    for inputs, count in _parts(images, size):
        wanted = float_outputs(trained, inputs)
        _add(signals, wanted, count)
        first: Computed | None = None
        for network, sums in zip(sized, errors, strict=True):
            integers = quantized_inputs(network, inputs)
            values = oracle_run(network, integers) if first is None else changed_run(network, integers, first)
            first = first or Computed(network, values)
            found = integer_outputs(trained, network, values)
            _add(sums, {name: found[name].reshape(wanted[name].shape) - wanted[name] for name in wanted}, count)
            done += 1
            heard(done, runs)
    alive = [name for name, signal in signals.items() if signal > 0]
    if not alive:
        raise ProfilerError(
            f"the outputs of network '{trained.network.name}' are zero for all images, so that no error is relative to "
            "them: give other images"
        )
    return tuple(sum(sums[name] / signals[name] for name in alive) / len(alive) for sums in errors)


def _size(count: int, most: int) -> int:
    """Images of a run, so that all runs have about as many."""
    return -(-count // -(-count // most))


def _parts(images: Images, size: int) -> Iterator[tuple[Mapping[str, npt.NDArray[Any]], int]]:
    """``size`` images at a time, and how many of them count: behind too few stands the last one, over and over."""
    for inputs in images.batches(size):
        yield filled(inputs, size), len(next(iter(inputs.values())))


def _add(sums: dict[str, float], values: Mapping[str, Doubles], count: int) -> None:
    """Squares, image by image, so that the sum is the same however many come at once."""
    for name, of_all in values.items():
        for image in of_all[:count]:
            sums[name] += float(np.square(image).sum())
