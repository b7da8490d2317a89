"""An integer network that is compiled and loaded on the bench's device: verified, run, timed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any

import numpy.typing as npt

from profiler.measure.energy import NoEnergy
from profiler.measure.rule import StoppingRule
from profiler.network.device_network import DeviceNetwork, Verified
from profiler.network.execute.timed import NetworkLatency
from profiler.network.execute.times import NETWORK_RULE
from profiler.network.integer_network import IntegerNetwork
from profiler.network.random_weights import random_pixels
from profiler.network.real_numbers import quantized_inputs
from profiler.network.steady import SteadyRule, SteadyWindow
from profiler.network_stages.bench import Bench
from profiler.network_stages.kernels_of import kernels_of
from profiler.record import Energy
from profiler.space.config import to_text

_SEED = 1


class Prepared:
    """A configuration that is ready to run: a context manager."""

    def __init__(self, bench: Bench, name: str, network: IntegerNetwork) -> None:
        """Raises `ProfilerError` for a kernel without row, and one that does not compile."""
        self.bench, self.name, self.network = bench, name, network
        self._chosen = bench.chosen(network)
        with bench.device.turns.compiling():
            artifacts = kernels_of(self._chosen, bench.builds, bench.compiler)
        self._inputs = quantized_inputs(network, random_pixels(network, _SEED))
        self._device: DeviceNetwork = bench.device.network(network, artifacts)

    def __enter__(self) -> Prepared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._device.close()

    def verify(self, images: Mapping[str, npt.NDArray[Any]] | None = None) -> Verified:
        """Of a batch of real inputs, or of one that is drawn. Raises `NetworkFailure` where a step is not what the
        oracle says."""
        return self._device.verify(self._inputs if images is None else quantized_inputs(self.network, images))

    def outputs(self, images: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """What the compiled kernels make of a batch of real inputs: integers by name of the output."""
        return self._device.run(quantized_inputs(self.network, images))

    def latency(self, rule: StoppingRule = NETWORK_RULE) -> NetworkLatency:
        """While nothing compiles on this machine. Errors as those of `DeviceNetwork.latency`."""
        with self.bench.device.turns.measuring():
            return self._device.latency(self._inputs, rule)

    def energy(self) -> Energy | NoEnergy:
        """Of a run, while nothing compiles on this machine. Errors as those of `DeviceNetwork.energy`."""
        with self.bench.device.turns.measuring():
            return self._device.energy(self._inputs, self.bench.device.counter)

    def steady(self, rule: SteadyRule, energy: bool, own: Collection[int]) -> SteadyWindow:
        """A window of its steady state, while nothing compiles on this machine; with its ``energy``. ``own``: other
        processes of ours that wait meanwhile. Errors as those of `DeviceNetwork.steady`."""
        counter = self.bench.device.counter if energy else None
        with self.bench.device.turns.measuring():
            return self._device.steady(self._inputs, rule, counter, own)

    @property
    def worker_pid(self) -> int | None:
        """Process id of the network, where it runs now."""
        return self._device.worker_pid

    @property
    def arena_bytes(self) -> int:
        return self._device.plan.arena_nbytes

    @property
    def kernels(self) -> tuple[str, ...]:
        """What runs: a text for each distinct kernel, with its config."""
        return tuple(f"{kernel.spec.key} {to_text(kernel.config)}" for kernel in self._chosen)

    @property
    def by_default(self) -> int:
        """How many of its kernels have no row, and run with the config of the analytic model."""
        return sum(kernel.row is None for kernel in self._chosen)

    @property
    def lut_s(self) -> tuple[float | None, ...]:
        """Of each step, by the table; None without a row."""
        rows = {kernel.spec: kernel.row for kernel in self._chosen}
        found = (rows[step.spec] for step in self.network.steps)
        return tuple(None if row is None else row.latency_median_s for row in found)

    @property
    def lut_sum_s(self) -> float | None:
        """None where a step has no row."""
        known = [latency_s for latency_s in self.lut_s if latency_s is not None]
        return sum(known) if len(known) == len(self.network.steps) else None
