"""Ranges of activations: what the user's batches reach in the float model, run by ONNX Runtime or onnx itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import InvalidFile, UnsupportedModel
from profiler.export.qdq.model_file import load_external_data
from profiler.frontend.refusal import first_line, quoted

Array = npt.NDArray[Any]
Ranges = Mapping[str, tuple[float, float]]
"""Least and greatest value, by name of the value."""

AT_ONCE = 16
"""Images run at once, where the model leaves the batch open."""

_LARGEST_IN_MEMORY = 1_000_000_000


def ranges_of(proto: Any, path: Path, values: Sequence[str], inputs: Mapping[str, Array]) -> tuple[Ranges, str]:
    """Of each value over all images, and what ran the model. ``path`` is where the model lies.

    Raises `InvalidFile` for inputs that do not fit the model, `UnsupportedModel` where it cannot be run, or an
    activation is not finite.
    """
    import onnx

    batches = list(_batches(proto, path, inputs))
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    load_external_data(watched, path)
    names = _watch(watched, values)
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run, runtime = _runner(watched, path, Path(folder))
        for batch in batches:
            try:
                results = run([name for pair in names.values() for name in pair], batch)
            except Exception as error:  # of another library, on the user's model
                raise UnsupportedModel(f"{path}: {runtime} cannot run it ({first_line(error)})") from None
            numbers = iter(float(np.asarray(result)) for result in results)
            for value in names:
                low, high = next(numbers), next(numbers)
                if not np.isfinite([low, high]).all():
                    raise UnsupportedModel(f"{path}: calibration: the activation {quoted(value)} is not finite")
                before = found.get(value, (low, high))
                found[value] = min(before[0], low), max(before[1], high)
    return found, runtime


def _watch(model: Any, values: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Give the model outputs for the least and the greatest element of each value; their names."""
    from onnx import TensorProto, helper

    del model.graph.output[:]
    names = {}
    for index, value in enumerate(dict.fromkeys(values)):
        names[value] = (f"calibration low {index}", f"calibration high {index}")
        for op, output in zip(("ReduceMin", "ReduceMax"), names[value], strict=True):
            model.graph.node.append(helper.make_node(op, [value], [output], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return names


def _runner(model: Any, path: Path, folder: Path) -> tuple[Callable[[list[str], Mapping[str, Array]], Any], str]:
    """What runs the model, and its name. ``folder`` takes a model that is too large for one message."""
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        try:
            evaluator = ReferenceEvaluator(model)
        except Exception as error:
            raise UnsupportedModel(
                f"{path}: onnx's reference evaluator cannot run it ({first_line(error)}); install onnxruntime"
            ) from None
        return (lambda outputs, batch: evaluator.run(outputs, dict(batch))), "onnx.reference"
    import onnx

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it finds is in the error that it raises
    try:
        if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _LARGEST_IN_MEMORY:
            onnx.save_model(model, str(folder / "model.onnx"), save_as_external_data=True, location="model.data")
            session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])
        else:
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:
        raise UnsupportedModel(f"{path}: ONNX Runtime cannot load it ({first_line(error)})") from None
    return session.run, "ONNX Runtime"


def _batches(proto: Any, path: Path, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Checks the inputs, and cuts them to the model's batch."""
    import onnx

    constants = {tensor.name for tensor in proto.graph.initializer}
    wanted = {entry.name: entry.type.tensor_type for entry in proto.graph.input if entry.name not in constants}
    if set(inputs) != set(wanted):
        raise InvalidFile(
            f"calibration: the inputs are {_listed(inputs)}, but {path} has {_listed(wanted)}; save the arrays by"
            " these names"
        )
    fitting, size = {}, AT_ONCE
    for name, kind in wanted.items():
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        array = inputs[name]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if array.ndim != len(dims) or any(
            want not in (None, have) for want, have in zip(dims[1:], array.shape[1:], strict=True)
        ):
            raise InvalidFile(
                f"calibration: input {quoted(name)} has shape {array.shape}, but {path} takes"
                f" {tuple('?' if d is None else d for d in dims)}"
            )
        if array.dtype != dtype and not (array.dtype.kind == "f" == dtype.kind):
            raise InvalidFile(f"calibration: input {quoted(name)} is {array.dtype}, but {path} takes {dtype}")
        if not len(array) or not np.isfinite(array).all():
            raise InvalidFile(f"calibration: input {quoted(name)} is empty, or not finite")
        if dims[0]:
            size = dims[0]
        fitting[name] = array.astype(dtype)
    images = {name: len(array) for name, array in fitting.items()}
    if len(set(images.values())) > 1:
        raise InvalidFile(f"calibration: the inputs have different numbers of images: {images}")
    (count, *_) = images.values()
    if any(kind.shape.dim[0].dim_value for kind in wanted.values()) and count % size:
        raise InvalidFile(f"calibration: {count} images are no multiple of the batch of {path}, {size}")
    for start in range(0, count, size):
        yield {name: array[start : start + size] for name, array in fitting.items()}


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(map(quoted, sorted(names))) or "none"
