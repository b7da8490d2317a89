"""Random small ONNX models with everything that a network can hold, and what ONNX Runtime makes of every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]


LIMIT = 0.75
"""Upper end of the clipped ReLUs."""


def random_model(seed: int, steps: int = 8, clipped: float = 0.0) -> Any:
    """An ``onnx.ModelProto``: input ``x`` (NCHW), then ``steps`` random operators, and one or two dense heads; that
    share of the ReLUs has an upper end."""
    return _Draft(np.random.default_rng(seed), clipped).model(steps)


def values_by_onnxruntime(model: Any, x: Array) -> Mapping[str, Array]:
    """Every value of the model by name, operator by operator."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [output for node in model.graph.node for output in node.output]
    del watched.graph.output[:]
    for name in names:
        watched.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(names, {model.graph.input[0].name: x})
    return {model.graph.input[0].name: x, **dict(zip(names, map(np.asarray, found), strict=True))}


def save(model: Any, path: Path) -> str:
    pytest.importorskip("onnx").save(model, str(path))
    return str(path)


@dataclass
class _Draft:
    rng: np.random.Generator
    clipped: float = 0.0
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    images: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Shape (C, H, W) of each value that may still be read."""

    def model(self, steps: int) -> Any:
        from onnx import TensorProto, helper

        image = (self.int(1, 5), self.int(6, 12), self.int(6, 12))
        self.images["x"] = image
        for _ in range(steps):
            choice = self.rng.choice(["conv", "max", "average", "add", "concat"], p=[0.4, 0.12, 0.16, 0.16, 0.16])
            {"conv": self.conv, "max": self.max_pool, "average": self.average_pool, "add": self.add,
             "concat": self.concat}[str(choice)]()  # fmt: skip
        outputs = self.heads()
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *image])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in outputs],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)

    def int(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def pick(self) -> str:
        """Mostly the newest value."""
        names = list(self.images)
        return names[-1] if self.rng.random() < 0.6 else str(self.rng.choice(names))

    def constant(self, *shape: int) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        values = self.rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def scalar(self, value: float) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def node(self, op: str, inputs: list[str], relu: float, **attributes: Any) -> str:
        """The node, and behind it, as often as ``relu`` says, a ReLU."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        if self.rng.random() < relu:
            ends = [self.scalar(0.0), self.scalar(LIMIT)] if self.clipped and self.rng.random() < self.clipped else []
            self.nodes.append(
                helper.make_node("Clip" if ends else "Relu", [name, *ends], [f"{name}r"], name=f"{name}r")
            )
            return f"{name}r"
        return name

    def conv(self) -> None:
        source = self.pick()
        channels, *size = self.images[source]
        kernel, stride, dilation = ([self.int(1, high) for _ in range(2)] for high in (3, 2, 2))
        pads = [self.int(0, 2) for _ in range(4)]
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        extents = [(size[i] + pads[i] + pads[i + 2] - spans[i]) // stride[i] + 1 for i in range(2)]
        if min(extents) < 1:
            return
        groups = int(self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        outputs = groups * self.int(1, 3)
        inputs = [source, self.constant(outputs, channels // groups, *kernel)]
        if self.rng.random() < 0.7:
            inputs.append(self.constant(outputs))
        name = self.node("Conv", inputs, 0.6, group=groups, strides=stride, dilations=dilation, pads=pads)
        self.images[name] = (outputs, *extents)

    def max_pool(self) -> None:
        source = self.pick()
        channels, *size = self.images[source]
        kernel, stride, dilation = ([self.int(1, high) for _ in range(2)] for high in (3, 2, 2))
        pads = [self.int(0, kernel[axis % 2] - 1) for axis in range(4)]
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        extents = [(size[i] + pads[i] + pads[i + 2] - spans[i]) // stride[i] + 1 for i in range(2)]
        seen = [
            all(
                any(0 <= first * stride[i] - pads[i] + tap * dilation[i] < size[i] for tap in range(kernel[i]))
                for first in range(extents[i])
            )
            for i in range(2)
        ]
        if min(extents) < 1 or not all(seen):  # a window of nothing but padding has no largest element
            return
        # A ReLU behind it moves ahead of it where what is ahead can take it: not every model can be read with one.
        name = self.node("MaxPool", [source], 0.0, kernel_shape=kernel, strides=stride, dilations=dilation, pads=pads)
        self.images[name] = (channels, *extents)

    def average_pool(self) -> None:
        source = self.pick()
        channels, *size = self.images[source]
        kernel, stride = ([self.int(1, high) for _ in range(2)] for high in (3, 2))
        pads = [self.int(0, kernel[axis % 2] - 1) for axis in range(4)]
        extents = [(size[i] + pads[i] + pads[i + 2] - kernel[i]) // stride[i] + 1 for i in range(2)]
        if min(extents) < 1:
            return
        include = self.int(0, 1)
        name = self.node(
            "AveragePool", [source], 0.3, kernel_shape=kernel, strides=stride, pads=pads, count_include_pad=include
        )
        self.images[name] = (channels, *extents)

    def add(self) -> None:
        source = self.pick()
        fitting = [name for name, shape in self.images.items() if shape == self.images[source]]
        other = str(self.rng.choice(fitting))
        self.images[self.node("Add", [source, other], 0.5)] = self.images[source]

    def concat(self) -> None:
        source = self.pick()
        _, height, width = self.images[source]
        fitting = [name for name, shape in self.images.items() if shape[1:] == (height, width)]
        chosen = [source, *map(str, self.rng.choice(fitting, self.int(1, 2)))]
        channels = sum(self.images[name][0] for name in chosen)
        self.images[self.node("Concat", chosen, 0.3, axis=1)] = (channels, height, width)

    def heads(self) -> list[str]:
        """Dense layers on flattened images, and on two of them side by side."""
        flat = {}
        for name in list(self.images)[-2:]:
            flat[self.node("Flatten", [name], 0.0, axis=1)] = int(np.prod(self.images[name]))
        outputs = [self.dense(name, features) for name, features in flat.items()]
        if self.rng.random() < 0.5:
            outputs.append(self.dense(self.node("Concat", list(flat), 0.0, axis=1), sum(flat.values())))
        return outputs

    def dense(self, source: str, features: int) -> str:
        hidden = self.node("Gemm", [source, self.constant(4, features), self.constant(4)], 0.5, transB=1)
        return self.node("Gemm", [hidden, self.constant(3, 4)], 0.0, transB=1)
