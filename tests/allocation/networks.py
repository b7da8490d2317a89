"""Small networks with everything that an allocation has to see, and random prices of all kernels they can need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from profiler.allocation.price import Price
from profiler.lut.demand import conversion, implementations, units
from profiler.lut.schema import Source
from profiler.workload import KernelSpec, Layer, Network, Op, Precision, Tensor, Workload

W4A8 = Precision("w4a8", 4, 8)


@dataclass
class _Draft:
    """A network while it is being written down; each method returns the name of the layer's output."""

    batch: int
    tensors: dict[str, Tensor]
    layers: list[Layer]

    def conv(self, name: str, source: str, channels: int, stride: int = 1, relu: bool = True, kernel: int = 3) -> str:
        t, pad = self.tensors[source], kernel // 2
        work = Workload(
            Op.CONV2D, self.batch, t.height, t.width, t.channels, channels, kernel, kernel, stride, stride,
            pad, pad, pad, pad,
        )  # fmt: skip
        return self._emit(name, work, (source,), signed=not relu, relu=relu)

    def add(self, name: str, first: str, second: str) -> str:
        t = self.tensors[first]
        work = Workload(Op.ADD, self.batch, t.height, t.width, t.channels, t.channels)
        return self._emit(name, work, (first, second), signed=False, relu=True)

    def pool(self, name: str, source: str, op: Op, size: int) -> str:
        t = self.tensors[source]
        work = Workload(op, self.batch, t.height, t.width, t.channels, t.channels, size, size, size, size)
        return self._emit(name, work, (source,), signed=t.signed)

    def concat(self, name: str, sources: Sequence[str]) -> str:
        tensors = [self.tensors[source] for source in sources]
        total = sum(t.channels for t in tensors)
        for index, (source, t) in enumerate(zip(sources, tensors, strict=True)):
            work = Workload(Op.CONCAT, self.batch, t.height, t.width, t.channels, total)
            self._emit(f"{name}.{index}", work, (source,), signed=False, output=name)
        return name

    def dense(self, name: str, source: str, features: int) -> str:
        t = self.tensors[source]
        work = Workload(Op.DENSE, self.batch, 1, 1, t.height * t.width * t.channels, features)
        return self._emit(name, work, (source,), signed=True)

    def _emit(
        self, name: str, work: Workload, inputs: tuple[str, ...], signed: bool, relu: bool = False, output: str = ""
    ) -> str:
        output = output or f"{name}:out"
        self.tensors[output] = Tensor(output, work.out_height, work.out_width, work.out_channels, signed)
        self.layers.append(Layer(name, work, inputs, output, relu))
        return output

    def network(self, name: str) -> Network:
        return Network(name, self.batch, tuple(self.tensors.values()), tuple(self.layers))


def residual(batch: int = 2) -> Network:
    """A shared tensor with a shortcut convolution, a fused addition, a max pool between readers, an average pool."""
    d = _Draft(batch, {"input": Tensor("input", 8, 8, 3, True)}, [])
    stem = d.pool("maxpool", d.conv("stem", "input", 6), Op.MAX_POOL, 2)
    shortcut = d.conv("shortcut", stem, 10, stride=2, relu=False, kernel=1)
    main = d.conv("b", d.conv("a", stem, 7, stride=2), 10, relu=False)
    out = d.add("sum", main, shortcut)
    out = d.add("sum2", d.conv("d", d.conv("c", out, 5), 10, relu=False), out)
    d.dense("fc", d.pool("avgpool", out, Op.AVG_POOL, 2), 4)
    return d.network("residual")


def branches(batch: int = 1) -> Network:
    """Branches of one tensor, ahead of and behind a max pool, that are concatenated; nobody with weights reads the
    result but through a pool."""
    d = _Draft(batch, {"input": Tensor("input", 4, 4, 3, True)}, [])
    stem = d.conv("stem", "input", 6)
    left = d.pool("left_pool", d.conv("left", stem, 4), Op.MAX_POOL, 2)
    right = d.conv("right", d.pool("right_pool", stem, Op.MAX_POOL, 2), 5)
    d.dense("fc", d.pool("avgpool", d.concat("cat", [left, right]), Op.AVG_POOL, 2), 3)
    return d.network("branches")


def own_shortcut(batch: int = 1) -> Network:
    """A convolution whose addition adds what it reads, which another layer reads too."""
    d = _Draft(batch, {"input": Tensor("input", 4, 4, 3, True)}, [])
    x = d.conv("stem", "input", 6)
    out = d.add("sum", d.conv("b", x, 6, relu=False), x)
    other = d.conv("c", x, 6)
    d.dense("fc", d.pool("avgpool", d.concat("cat", [out, other]), Op.AVG_POOL, 4), 3)
    return d.network("own_shortcut")


def slices(batch: int = 1) -> Network:
    """Concatenations whose slices begin on bytes: of channels that fill bytes, read by a convolution and, with a few
    more behind them, concatenated once more."""
    d = _Draft(batch, {"input": Tensor("input", 4, 4, 3, True)}, [])
    stem = d.conv("stem", "input", 8)
    first = d.concat("cat", [stem, d.conv("a", stem, 8), d.conv("b", stem, 24)])
    second = d.concat("cat2", [first, d.conv("c", first, 5)])
    d.dense("fc", d.pool("avgpool", d.conv("d", second, 6), Op.AVG_POOL, 4), 3)
    return d.network("slices")


def random_prices(
    network: Network, precisions: Sequence[Precision], generator: np.random.Generator, conversions: bool = True
) -> dict[KernelSpec, Price]:
    """Of every kernel of every combination of precisions; with energies."""
    specs: dict[KernelSpec, None] = {}
    for unit in units(network):
        for combination in product(precisions, repeat=len(unit.tensors)):
            for way in implementations(network, unit, dict(zip(unit.tensors, combination, strict=True))):
                specs.update(dict.fromkeys(kernel.spec for kernel in way.kernels))
    for tensor in network.tensors if conversions else ():
        for source, target in product(precisions, repeat=2):
            spec = conversion(network, tensor.name, source, target)
            if spec is not None:
                specs[spec] = None
    return {spec: price(float(generator.uniform(1, 20)), float(generator.uniform(1, 20))) for spec in specs}


def price(latency_us: float, energy_uj: float | None = None, source: Source = Source.MEASURED) -> Price:
    """A point."""
    latency_s = latency_us * 1e-6
    energy_j = None if energy_uj is None else energy_uj * 1e-6
    return Price(latency_s, latency_s, source, latency_s, latency_s, energy_j)
