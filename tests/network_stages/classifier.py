"""A small residual network that tells scikit-learn's digits apart, without any training framework: its convolutions are
drawn, and its dense layer is fitted by least squares to what they say of the training images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier

Array = npt.NDArray[Any]
TRAIN = 700
CHANNELS = 16


@dataclass(frozen=True)
class Classifier:
    """Files, and the test images in the model's layout (NCHW) with their classes."""

    model: Path
    train: Path
    test: Path
    images: Array
    labels: Array


def make(folder: Path, test_images: int) -> Classifier:
    digits = load_digits()
    order = np.random.default_rng(1).permutation(len(digits.target))
    images = ((digits.images - 4.9) / 6).astype(np.float32)[order, None]
    labels = digits.target.astype(np.int64)[order]
    rng = np.random.default_rng(0)
    first = rng.standard_normal((CHANNELS, 1, 3, 3)) * 0.47
    second, third = rng.standard_normal((2, CHANNELS, CHANNELS, 3, 3)) * 0.1
    biases = rng.standard_normal((3, CHANNELS)) * 0.1
    weights = {"w1": first, "b1": biases[0], "w2": second, "b2": biases[1], "w3": third, "b3": biases[2]}
    features = run(_model(weights, None), images[:TRAIN])
    fitted = RidgeClassifier(10.0).fit(features, labels[:TRAIN])
    model = _model({**weights, "w4": fitted.coef_, "b4": fitted.intercept_}, 10)
    onnx.save(model, str(folder / "digits.onnx"))
    test, answers = images[TRAIN : TRAIN + test_images], labels[TRAIN : TRAIN + test_images]
    np.savez(folder / "train.npz", image=images[:TRAIN], labels=labels[:TRAIN])
    np.savez(folder / "test.npz", image=test, labels=answers)
    return Classifier(folder / "digits.onnx", folder / "train.npz", folder / "test.npz", test, answers)


def run(model: onnx.ModelProto, images: Array) -> Array:
    """By ONNX Runtime, image by image."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def _model(weights: dict[str, Array], classes: int | None) -> onnx.ModelProto:
    """Up to the flattened features where no classes are given."""
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], "conv3", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c3", "r1"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["r3"]),
        helper.make_node("Flatten", ["r3"], ["features"]),
    ]
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, CHANNELS * 16])
    if classes is not None:
        nodes.append(helper.make_node("Gemm", ["features", "w4", "b4"], ["logits"], "fc", transB=1))
        output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [output],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
