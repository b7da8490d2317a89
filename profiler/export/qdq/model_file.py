"""A model as a file: opened and brought to an opset that has INT4; checked, and written whole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from profiler.errors import OutputError, UnsupportedModel
from profiler.frontend.onnx.file import read
from profiler.frontend.onnx.protobuf import decoded
from profiler.frontend.refusal import first_line
from profiler.output_folder import write_whole

OPSET, IR_VERSION = 21, 10
"""The first opset whose QuantizeLinear and DequantizeLinear have INT4 and UINT4, and the format that goes with it."""

PRODUCER = "lowbit-profiler export"
EXTERNAL_ABOVE = 2_000_000_000
"""Bytes of constants from which they are written beside the model: a protobuf message ends at 2 GiB."""

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")


def opened(path: Path) -> Any:
    """The file's ``onnx.ModelProto``, its external data left where it is. Raises `UnsupportedModel`, for instance for a
    model that is quantized already."""
    proto = read(path)
    for node in proto.graph.node:
        op = decoded(node.op_type)
        if op in _QUANTIZED or op.startswith(("QLinear", "QGemm")):
            raise UnsupportedModel(f"{path}: is quantized already (operator {op}); give the float model")
    from onnx import TensorProto

    for tensor in proto.graph.initializer:
        if len(tensor.dims) > 1 and tensor.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE):
            kind = TensorProto.DataType.Name(tensor.data_type).lower()
            raise UnsupportedModel(f"{path}: its weights are {kind}; export the model in float32")
    return proto


def opset_of(proto: Any) -> int:
    return next(int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))


def upgraded(proto: Any, path: Path) -> Any:
    """The model in opset 21 or a newer one of its own; ``path`` is for messages. Raises `UnsupportedModel`."""
    opset = opset_of(proto)
    if opset < OPSET:
        import onnx.version_converter

        try:
            proto = onnx.version_converter.convert_version(proto, OPSET)
        except Exception as error:  # from C++, of several kinds
            raise UnsupportedModel(
                f"{path}: INT4 needs opset {OPSET}, and onnx cannot upgrade the model from {opset}"
                f" ({first_line(error)}); export it again with opset {OPSET}"
            ) from None
    proto.ir_version = max(proto.ir_version, IR_VERSION)
    return proto


def load_external_data(proto: Any, path: Path) -> None:
    """Bring what lies beside the file at ``path`` into the model. Raises `UnsupportedModel`."""
    import onnx

    try:
        onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # missing files, and what onnx finds wrong with names and sizes
        raise UnsupportedModel(f"{path}: its external data cannot be read ({first_line(error)})") from None


def write(proto: Any, path: Path, *, external_above: int = EXTERNAL_ABOVE) -> tuple[Path, ...]:
    """Check the model, and replace the file, and beside a large one that of its constants. The files written.

    Raises `UnsupportedModel` where onnx's checker refuses the model, `OutputError` where a file cannot be written.
    """
    import onnx

    size = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if size <= external_above:
        _check(proto, path)
        write_whole(path, proto.SerializeToString(deterministic=True))
        return (path,)
    beside = path.with_name(path.name + ".data")
    if beside.exists() and not path.exists():
        raise OutputError(f"{beside}: is there without the model that it would belong to; name another file")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder) / path.name
        onnx.save_model(proto, str(draft), save_as_external_data=True, location=beside.name, size_threshold=1024)
        _check(str(draft), path)
        write_whole(beside, (draft.parent / beside.name).read_bytes())
        write_whole(path, draft.read_bytes())
    return path, beside


def is_export(path: Path) -> bool:
    """Whether the file is a model that `write` wrote."""
    import onnx

    try:
        return bool(onnx.load(str(path), load_external_data=False).producer_name == PRODUCER)
    except Exception:  # whatever it is, it is none of ours
        return False


def _check(model: Any, path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of onnx's checker, or of its shape inference
        raise UnsupportedModel(f"{path}: onnx refuses the exported model ({first_line(error)})") from None
