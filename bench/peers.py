"""A layer as ONNX Runtime does it: QLinearConv with channels last, or QGemm, one node in a model, bound to its buffers.

A session's call costs some microseconds that are not the layer's. So a model holds several copies of the node where
their weights stay in the cache, and the time of a model that does next to nothing is subtracted.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from profiler.workload import Op, Workload

COPIES_BYTES = 256 << 10
"""Weights of all copies together, at most: well inside the second-level cache."""
MAX_COPIES = 16


@dataclass
class PeerLayer:
    """A session that is bound to its buffers. ``copies`` nodes run in one call."""

    session: ort.InferenceSession
    binding: Any
    copies: int

    def call_s(self, calls: int) -> float:
        """Seconds of one call, the mean over ``calls``."""
        begin = time.perf_counter()
        for _ in range(calls):
            self.session.run_with_iobinding(self.binding)
        return (time.perf_counter() - begin) / calls


def peer_layer(workload: Workload, threads: int, seed: int = 0) -> PeerLayer:
    """The layer with unsigned 8-bit activations, signed 8-bit weights per channel, and a ReLU by saturation."""
    copies = max(1, min(MAX_COPIES, COPIES_BYTES // max(1, workload.weights)))
    return _bound(_model(workload, copies, seed), workload, threads, copies, seed)


def call_overhead_s(threads: int) -> float:
    """Seconds of a call on a layer of sixteen products."""
    tiny = PeerLayer(*_tiny(threads))
    tiny.call_s(200)
    return statistics.median(tiny.call_s(200) for _ in range(15))


def _tiny(threads: int) -> tuple[ort.InferenceSession, Any, int]:
    workload = Workload(Op.CONV2D, 1, 1, 1, 4, 4)
    layer = _bound(_model(workload, 1, 0), workload, threads, 1, 0)
    return layer.session, layer.binding, 1


def session_options(threads: int) -> ort.SessionOptions:
    """One operator after the other, each on all of the threads; everything that the optimizer can do."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return options


def _bound(model: onnx.ModelProto, workload: Workload, threads: int, copies: int, seed: int) -> PeerLayer:
    session = ort.InferenceSession(
        model.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(seed)
    shape = workload.input_shape if workload.op is Op.CONV2D else (workload.batch, workload.in_channels)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(rng.integers(0, 256, shape, np.uint8)))
    out_shape = workload.output_shape if workload.op is Op.CONV2D else (workload.batch, workload.out_channels)
    for i in range(copies):
        binding.bind_ortvalue_output(f"y{i}", ort.OrtValue.ortvalue_from_numpy(np.zeros(out_shape, np.uint8)))
    return PeerLayer(session, binding, copies)


def _model(workload: Workload, copies: int, seed: int) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    o, kh, kw, i = workload.weight_shape
    weight = rng.integers(-127, 128, (o, i, kh, kw), np.int8)
    constants = {
        "x_scale": np.float32(0.02),
        "x_zero": np.uint8(0),
        "w_scale": np.full(o, 0.01, np.float32),
        "w_zero": np.zeros(o, np.int8),
        "y_scale": np.float32(0.5),
        "y_zero": np.uint8(0),
        "bias": rng.integers(-1000, 1000, o, np.int32),
    }
    if workload.op is Op.CONV2D:
        constants["w"] = weight
        nodes = [_convolution(workload, f"y{c}") for c in range(copies)]
        shapes = (workload.input_shape, workload.output_shape)
    else:
        constants["w"] = np.ascontiguousarray(weight.reshape(o, i).T)
        nodes = [_gemm(f"y{c}") for c in range(copies)]
        shapes = ((workload.batch, i), (workload.batch, o))
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shapes[0])],
        [helper.make_tensor_value_info(f"y{c}", TensorProto.UINT8, shapes[1]) for c in range(copies)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _convolution(w: Workload, output: str) -> onnx.NodeProto:
    return helper.make_node(
        "QLinearConv",
        ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "bias"],
        [output],
        domain="com.microsoft",
        channels_last=1,
        kernel_shape=[w.kernel_h, w.kernel_w],
        strides=[w.stride_h, w.stride_w],
        dilations=[w.dilation_h, w.dilation_w],
        pads=[w.pad_top, w.pad_left, w.pad_bottom, w.pad_right],
        group=w.groups,
    )


def _gemm(output: str) -> onnx.NodeProto:
    inputs = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "bias", "y_scale", "y_zero"]
    return helper.make_node("QGemm", inputs, [output], domain="com.microsoft")
