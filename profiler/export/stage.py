"""From a bits.json, and a model where that is needed, to a file for another tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from profiler.allocation import bits_file
from profiler.allocation.bits_file import Bits
from profiler.errors import OutputError, ProfilerError
from profiler.export import hawq, table
from profiler.frontend import BUILTINS, load_network
from profiler.output_folder import require_writable, write_whole
from profiler.workload import Network


class Format(str, Enum):
    """What an allocation can be exported to."""

    HAWQ = "hawq"
    CSV = "csv"
    ONNX = "onnx"


@dataclass(frozen=True)
class ExportRequest:
    """``model`` is a file, or a built-in name: needed for ONNX, otherwise checked against the bits where it is given.
    ``calibrate`` is an .npz file of arrays by input name, for ONNX."""

    bits: Path
    to: Format
    out: Path
    model: str | None = None
    calibrate: Path | None = None


@dataclass(frozen=True)
class ExportResult:
    """The files that were written, and what a user should know of them, a line each."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def export(request: ExportRequest) -> ExportResult:
    """Read, convert, write. Raises `ProfilerError` for whatever the user can mend."""
    if request.calibrate is not None and request.to is not Format.ONNX:
        raise ProfilerError("calibration is of activations in an ONNX model: leave --calibrate out, or say --to onnx")
    bits = bits_file.load(request.bits)
    return _EXPORTERS[request.to](request, bits)


def _to_hawq(request: ExportRequest, bits: Bits) -> ExportResult:
    _require_output(request, hawq.is_hawq, "a bit configuration that export wrote")
    if request.model is not None:
        bits.require_network(_network(request.model, bits))
    write_whole(request.out, hawq.source_text(bits, request.out.stem).encode())
    return ExportResult((request.out,), (f"HAWQ: --quant-scheme {request.out.stem}",))


def _to_csv(request: ExportRequest, bits: Bits) -> ExportResult:
    _require_output(request, table.is_table, "a table that export wrote")
    model = request.model or (bits.network if bits.network in BUILTINS else None)
    network = None if model is None else _network(model, bits)
    if network is not None:
        bits.require_network(network)
    write_whole(request.out, table.csv_text(bits, network).encode())
    notes = () if network is not None else ("without --model the column output_precision is empty",)
    return ExportResult((request.out,), notes)


def _to_onnx(request: ExportRequest, bits: Bits) -> ExportResult:
    if request.model is None or Path(request.model).suffix.lower() != ".onnx":
        raise ProfilerError("an ONNX model is made from the float model: say --model FILE.onnx")
    load_network(request.model, bits.batch, skip_unsupported=True)  # what is wrong with the file, it says in a line
    from profiler.export import qdq
    from profiler.export.qdq import model_file
    from profiler.network.images import read_inputs

    _require_output(request, model_file.is_export, "a model that export wrote")
    inputs = None if request.calibrate is None else read_inputs(request.calibrate)
    model = qdq.quantized_model(Path(request.model), bits, inputs)
    files = model_file.write(model.proto, request.out)
    widths = [f"{count} in int{bits}" for bits in (8, 4) if (count := list(model.weight_bits.values()).count(bits))]
    notes = [f"weights of {len(model.weight_bits)} layers: {', '.join(widths)}"]
    if inputs is None:
        notes.append("activations: float, since no ranges are known; give images with --calibrate to quantize them")
    else:
        notes.append(f"activations: {model.activations} quantized, ranges of {model.images} images by {model.runtime}")
    if model.upgraded_from is not None:
        notes.append(f"upgraded from opset {model.upgraded_from} to {model_file.OPSET}")
    return ExportResult(files, tuple(notes))


def _network(model: str, bits: Bits) -> Network:
    return load_network(model, bits.batch, skip_unsupported=True)


def _require_output(request: ExportRequest, is_own: Callable[[Path], bool], what: str) -> None:
    """Raises `OutputError` where a file would be lost, or cannot be written."""
    path = request.out
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    read = [request.bits, *(Path(name) for name in (request.model, request.calibrate) if name is not None)]
    if path.resolve() in [file.resolve() for file in read] or (path.exists() and not is_own(path)):
        raise OutputError(f"{path}: is there and is not {what}, which would replace it; name another file")
    require_writable(path.parent)


_EXPORTERS: dict[Format, Callable[[ExportRequest, Bits], ExportResult]] = {
    Format.HAWQ: _to_hawq,
    Format.CSV: _to_csv,
    Format.ONNX: _to_onnx,
}
