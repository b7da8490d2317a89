"""An integer network as a file: an .npz (`numpy.load` reads its arrays) with a JSON description in it.

Version 1: ``network.json`` holds the values and the steps; ``<step>/<operand>.npy`` the parameters, step by step. The
same network gives the same bytes.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.network.integer_network import IntegerNetwork, Step, Value
from profiler.output_folder import write_whole
from profiler.quantize.operands import operands
from profiler.workload import DType, KernelSpec

FORMAT, INTEGER_VERSION = "lowbit-profiler integer network", 1
"""1: first version."""
_DESCRIPTION = "network.json"
_LONGEST_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of every entry, so that none says when the file was made."""
_LEVEL = 4
"""Of 4-bit weights it leaves 3% more bytes than the default level, in a fifth of the time."""
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, TokenError, EOFError, NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip
"""What the readers of zip files and of arrays raise for such as nobody wrote: NotImplementedError for a version or an
option that they do not know, RuntimeError for an encrypted entry, MemoryError for the shape that an array claims."""
_MOST_ITEM_BYTES, _HEADER_BYTES = 8, 1 << 16
"""The most that an element and the head of an array take."""
_MOST_ARRAY_BYTES = 1 << 30
"""Ten times the largest layer that we know of: a small file may claim anything."""
_DESCRIPTION_BYTES = 64 << 20
"""The most that a description takes: a few hundred bytes a step, and 20 for each channel of accumulators."""


def save(path: Path, network: IntegerNetwork) -> None:
    """Replace the file in one step. Raises `OutputError`."""
    write_whole(path, to_bytes(network))


def to_bytes(network: IntegerNetwork) -> bytes:
    """The file's content."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        _entry(archive, _DESCRIPTION, json.dumps(_description(network), indent=1).encode())
        for index, step in enumerate(network.steps):
            for name, values in step.parameters.items():
                array = io.BytesIO()
                np.lib.format.write_array(array, np.ascontiguousarray(values), allow_pickle=False)
                _entry(archive, f"{index}/{name}.npy", array.getvalue())
    return data.getvalue()


def is_integer_network(path: Path) -> bool:
    """Whether the file is one that `save` wrote, of whatever version."""
    try:
        with _opened(path) as archive:
            return bool(_described(archive).get("format") == FORMAT)
    except (OSError, ValueError, KeyError, AttributeError, RecursionError):
        return False


def load(path: Path) -> IntegerNetwork:
    """Inverse of `save`. Raises `InvalidFile` naming the file and what is wrong."""
    try:
        with _opened(path) as archive:
            body = _described(archive)
            if not isinstance(body, dict) or body.get("format") != FORMAT:
                raise ValueError("not an integer network")
            if body.get("version") != INTEGER_VERSION:
                raise ValueError(f"version {body.get('version')!r} is unknown (known is {INTEGER_VERSION})")
            return IntegerNetwork(
                name=_text(body["name"]),
                batch=_integer(body["batch"]),
                values=tuple(map(_value, body["values"])),
                steps=tuple(_steps(archive, body["steps"])),
                inputs=tuple(map(_text, body["inputs"])),
                outputs=tuple(map(_text, body["outputs"])),
            )
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror or error}") from None
    except KeyError as error:
        raise InvalidFile(f"{path}: not an integer network: {error} is missing; quantize again") from None
    except (ValueError, TypeError, AttributeError, InvalidWorkload, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidFile(f"{path}: {reason}; quantize again") from None


@contextmanager
def _reading() -> Iterator[None]:
    """Around the readers of zip files and of arrays, and nothing of ours: what only they raise is a `ValueError`."""
    try:
        yield
    except _DAMAGED:
        raise ValueError("not an integer network, or damaged") from None


def _opened(path: Path) -> zipfile.ZipFile:
    with _reading():
        return zipfile.ZipFile(path)


def _description(network: IntegerNetwork) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": INTEGER_VERSION,
        "name": network.name,
        "batch": network.batch,
        "inputs": network.inputs,
        "outputs": network.outputs,
        "values": [
            {"name": v.name, "shape": v.shape, "dtype": v.dtype.value, "scale": v.scale} for v in network.values
        ],
        "steps": [
            {
                "name": step.name,
                "layer": step.layer,
                "spec": step.spec.to_dict(),
                "reads": step.reads,
                "writes": step.writes,
                "first_channel": step.first_channel,
                "parameters": list(step.parameters),
            }
            for step in network.steps
        ],
    }


def _entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _LONGEST_AGO)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data, compresslevel=_LEVEL)


def _value(body: dict[str, Any]) -> Value:
    shape = tuple(map(_integer, body["shape"]))
    if len(shape) != 4:
        raise ValueError(f"value {body['name']!a} has {len(shape)} extents instead of four")
    return Value(_text(body["name"]), shape, DType(body["dtype"]), tuple(map(_number, body["scale"])))


def _steps(archive: zipfile.ZipFile, bodies: list[dict[str, Any]]) -> Iterator[Step]:
    for index, body in enumerate(bodies):
        spec = KernelSpec.from_dict(body["spec"])
        sizes = {operand.name: prod(operand.shape) for operand in operands(spec)}
        yield Step(
            name=_text(body["name"]),
            layer=_text(body["layer"]),
            spec=spec,
            reads=tuple((_text(operand), _text(value)) for operand, value in body["reads"]),
            writes=_text(body["writes"]),
            parameters={
                _text(name): _array(archive, f"{index}/{name}.npy", sizes.get(name, 0)) for name in body["parameters"]
            },
            first_channel=_integer(body["first_channel"]),
        )


def _described(archive: zipfile.ZipFile) -> Any:
    return json.loads(_content(archive, _DESCRIPTION, _DESCRIPTION_BYTES, "a description can be"))


def _array(archive: zipfile.ZipFile, name: str, elements: int) -> Any:
    most = min(elements * _MOST_ITEM_BYTES, _MOST_ARRAY_BYTES) + _HEADER_BYTES
    data = io.BytesIO(_content(archive, name, most, "its kernel's operand"))
    with _reading():
        array = np.lib.format.read_array(data, allow_pickle=False)
    if data.read(1):
        raise ValueError(f"'{name}' has something behind its array")
    return array


def _content(archive: zipfile.ZipFile, name: str, most: int, what: str) -> bytes:
    """Of no more than ``most`` bytes, as large as ``what``. Raises `KeyError` of the name where it is not there."""
    try:
        entry = archive.getinfo(name)
    except KeyError:  # whose text is a sentence
        raise KeyError(name) from None
    if entry.file_size > most:
        raise ValueError(f"'{name}' is larger than {what}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{name}' is compressed in a way that is not used here")
    with _reading():
        return archive.read(entry)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!a} is not a text that can be printed")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!a} is not an integer")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{value!a} is not a number")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError("a number is beyond all floats") from None
