"""Integer networks drawn by hand or at random, without real weights behind them, and kernels for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.artifact import ArgSpec, Artifact, Check, Role
from profiler.kernels.arguments import spec_arguments
from profiler.network.integer_network import ACTIVATIONS, IntegerNetwork, Step, Value
from profiler.quantize.packing import Packing
from profiler.quantize.samples import sample_arguments
from profiler.quantize.stored import numpy_dtype
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

Array = npt.NDArray[Any]
REQUANT, RELU = Epilogue.REQUANT, Epilogue.REQUANT_RELU


class Draft:
    """A network that grows step by step; every method that adds one gives the name of the value it writes."""

    def __init__(self, seed: int = 0, batch: int = 1) -> None:
        self._seed, self._batch = seed, batch
        self.values: dict[str, Value] = {}
        self._inputs: list[str] = []
        self._steps: list[Step] = []

    def input(self, height: int, width: int, channels: int, dtype: DType) -> str:
        name = self._value((self._batch, height, width, channels), dtype)
        self._inputs.append(name)
        return name

    def conv(
        self,
        x: str,
        channels: int,
        kernel: int = 1,
        output: DType = DType.UINT8,
        weight: DType = DType.INT8,
        epilogue: Epilogue = RELU,
        residual: str | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        pad = kernel // 2
        shape = (Op.CONV2D, *self.values[x].shape, channels)
        work = Workload(*shape, kernel, kernel, stride, stride, pad, pad, pad, pad, groups=groups)
        second = self.values[residual].dtype if residual else None
        spec = KernelSpec(work, self.values[x].dtype, output, weight, second, epilogue)
        return self._step(spec, {"input": x, **({"residual": residual} if residual else {})})

    def dense(self, x: str, channels: int, weight: DType = DType.INT8) -> str:
        work = Workload(Op.DENSE, self._batch, 1, 1, int(np.prod(self.values[x].shape[1:])), channels)
        return self._step(
            KernelSpec(work, self.values[x].dtype, DType.INT32, weight, epilogue=Epilogue.BIAS), {"input": x}
        )

    def add(self, a: str, b: str, output: DType = DType.UINT8) -> str:
        work = Workload(Op.ADD, *self.values[a].shape, self.values[a].shape[-1])
        spec = KernelSpec(work, self.values[a].dtype, output, None, self.values[b].dtype, RELU)
        return self._step(spec, {"input": a, "input2": b})

    def convert(self, x: str, output: DType) -> str:
        work = Workload(Op.CONVERT, *self.values[x].shape, self.values[x].shape[-1])
        return self._step(KernelSpec(work, self.values[x].dtype, output, epilogue=REQUANT), {"input": x})

    def max_pool(self, x: str, kernel: int = 2) -> str:
        work = Workload(Op.MAX_POOL, *self.values[x].shape, self.values[x].shape[-1], kernel, kernel, 2, 2)
        return self._step(KernelSpec(work, self.values[x].dtype, self.values[x].dtype), {"input": x})

    def avg_pool(self, x: str, output: DType = DType.UINT8) -> str:
        _, height, width, channels = self.values[x].shape
        work = Workload(Op.AVG_POOL, *self.values[x].shape, channels, height, width)
        return self._step(KernelSpec(work, self.values[x].dtype, output, epilogue=REQUANT), {"input": x})

    def concat(self, parts: list[str], output: DType = DType.UINT8) -> str:
        total = sum(self.values[part].shape[-1] for part in parts)
        whole = self._value((*self.values[parts[0]].shape[:3], total), output)
        first = 0
        for part in parts:
            work = Workload(Op.CONCAT, *self.values[part].shape, total)
            spec = KernelSpec(work, self.values[part].dtype, output, epilogue=REQUANT)
            self._step(spec, {"input": part}, whole, first)
            first += work.in_channels
        return whole

    def network(self, outputs: list[str], name: str = "draft") -> IntegerNetwork:
        values = tuple(self.values.values())
        return IntegerNetwork(name, self._batch, values, tuple(self._steps), tuple(self._inputs), tuple(outputs))

    def _value(self, shape: tuple[int, int, int, int], dtype: DType) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = Value(name, shape, dtype, (1.0,))
        return name

    def _step(self, spec: KernelSpec, reads: Mapping[str, str], writes: str | None = None, first: int = 0) -> str:
        target = writes or self._value(spec.workload.output_shape, spec.output_dtype)
        index = len(self._steps)
        drawn = sample_arguments(spec, self._seed + index)
        parameters = {key: value for key, value in drawn.items() if key not in ACTIVATIONS}
        name = f"layer{index}"
        self._steps.append(Step(name, name, spec, tuple(reads.items()), target, parameters, first))
        return target


def random_inputs(network: IntegerNetwork, seed: int = 1) -> dict[str, Array]:
    """Over the whole range of each input's type."""
    rng = np.random.default_rng(seed)
    values = {name: network.value(name) for name in network.inputs}
    return {
        name: rng.integers(value.dtype.low, value.dtype.high + 1, value.shape).astype(numpy_dtype(value.dtype))
        for name, value in values.items()
    }


def codeless(network: IntegerNetwork, workspace: int = 0, counters: int = 0) -> dict[KernelSpec, Artifact]:
    """Artifacts of the network's kernels that cannot run: arguments alone, parameters packed plainly. Each has so much
    scratch memory, and as many counters."""
    packing = Packing("plain")
    more = (ArgSpec("workspace", Role.WORKSPACE, workspace), ArgSpec("counters", Role.COUNTERS, counters))
    return {
        step.spec: Artifact(
            spec=step.spec,
            config="none",
            threads=1,
            entry="none",
            arch="none",
            features=(),
            args=(*spec_arguments(step.spec, packing), *more),
            packing=packing,
            check=Check(0, ""),
            compiler="none",
            native=True,
            code=b"",
        )
        for step in network.steps
    }
