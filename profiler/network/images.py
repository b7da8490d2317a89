"""The user's images, for calibration and accuracy: an .npz of arrays by input name, as the model takes them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import InvalidFile
from profiler.frontend.refusal import first_line, quoted
from profiler.network.float_run import input_tensors
from profiler.workload import Network, Tensor

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

LABELS = "labels"
"""The name of the array that holds each image's class."""


@dataclass(frozen=True)
class Images:
    """``inputs`` are by input tensor of a network, float32 [N, H, W, C]; ``labels`` are the classes, integers [N], or
    None where they are not known. Raises `ValueError` for what is no such thing."""

    inputs: Mapping[str, Floats] = field(hash=False, compare=False)
    labels: npt.NDArray[np.int64] | None = field(default=None, hash=False, compare=False)

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("there is no input")
        for name, values in self.inputs.items():
            if values.dtype != np.float32 or values.ndim != 4:
                raise ValueError(f"input '{name}' is {values.dtype} {values.shape}, not float32 images")
        if len({len(values) for values in self.inputs.values()}) > 1:
            raise ValueError("the inputs have different numbers of images")
        if self.labels is not None and (self.labels.dtype != np.int64 or self.labels.shape != (self.count,)):
            raise ValueError(f"labels are {self.labels.dtype} {self.labels.shape}, not int64 of {self.count} images")

    @property
    def count(self) -> int:
        """Number of images."""
        return len(next(iter(self.inputs.values())))

    def first(self, most: int | None) -> Images:
        """The first ``most`` of them, or as many as there are; None: all."""
        labels = None if self.labels is None else self.labels[:most]
        return Images({name: values[:most] for name, values in self.inputs.items()}, labels)

    def batches(self, size: int) -> Iterator[Mapping[str, Floats]]:
        """The inputs of up to ``size`` images at a time, in order."""
        for start in range(0, self.count, size):
            yield {name: values[start : start + size] for name, values in self.inputs.items()}


def filled(inputs: Mapping[str, Floats], size: int) -> dict[str, Floats]:
    """``size`` images of each input: the first ones, or behind too few the last one over and over."""
    count = len(next(iter(inputs.values())))
    at = np.minimum(np.arange(size), count - 1)
    return {name: values[at] for name, values in inputs.items()}


def load_images(path: Path, network: Network) -> Images:
    """The images of an .npz file, in the network's layout.

    The file holds an array of each input of the network by its name: floats, images along the first axis, [N, C, H, W],
    or [N, features] where the model takes those; and, where they are known, `LABELS`, the class of each image as an
    integer. Raises `InvalidFile` for anything else, naming the file and the array.
    """
    arrays = read_inputs(path)
    tensors = {tensor.name: tensor for tensor in input_tensors(network)}
    labels = None if LABELS in tensors else arrays.pop(LABELS, None)
    if set(arrays) != set(tensors):
        raise InvalidFile(
            f"{path}: holds {_listed(arrays)}, but the inputs of network {quoted(network.name)} are"
            f" {_listed(tensors)}; save the arrays by these names"
        )
    counts = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(counts.values())) > 1:
        raise InvalidFile(f"{path}: the inputs have different numbers of images: {counts}")
    images = Images({name: _nhwc(path, tensor, arrays[name]) for name, tensor in tensors.items()})
    return images if labels is None else Images(images.inputs, _classes(path, network, labels, images.count))


def read_inputs(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by name. Raises `InvalidFile`."""
    if path.exists() and not path.is_file():
        raise InvalidFile(f"{path}: is no file; name an .npz of arrays by input name")
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("one array without a name; save it with numpy.savez")
        with file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None
    except MemoryError:
        raise InvalidFile(f"{path}: its arrays do not fit into memory; save fewer images") from None
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        pickled = "pickle" in str(error)  # NumPy's advice would be to trust it
        reason = "" if pickled else f" ({first_line(error)})"
        raise InvalidFile(f"{path}: is not an .npz file of arrays by input name{reason}") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # of any other zip file
            raise InvalidFile(f"{path}: is not an .npz file of arrays by input name ({quoted(name)} is none)")
    return arrays


def _nhwc(path: Path, tensor: Tensor, array: Array) -> Floats:
    where = f"{path}: input {quoted(tensor.name)}"
    image = (tensor.channels, tensor.height, tensor.width)
    features = image[1:] == (1, 1)
    if array.shape[1:] != image and not (features and array.shape[1:] == image[:1]):
        taken = f"(images, {tensor.channels})" if features else f"(images, {', '.join(map(str, image))})"
        raise InvalidFile(f"{where} has shape {array.shape}, but the network takes {taken}")
    if array.dtype.kind != "f":
        raise InvalidFile(f"{where} is {array.dtype}, but the network takes floats, scaled as the model takes them")
    if not len(array):
        raise InvalidFile(f"{where} holds no image")
    with np.errstate(over="ignore"):
        values = array.reshape(len(array), *image).transpose(0, 2, 3, 1).astype(np.float32, order="C")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2, 3)))
    if len(bad):
        raise InvalidFile(f"{where}: image {bad[0]} (the first is 0) is not finite, or beyond float32")
    return values


def _classes(path: Path, network: Network, labels: Array, count: int) -> npt.NDArray[np.int64]:
    where = f"{path}: {quoted(LABELS)}"
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise InvalidFile(
            f"{where} is {labels.dtype} of shape {labels.shape}; it takes an integer for each of the {count} images"
        )
    classes = max((network.tensor(output).channels for output in network.outputs), default=0)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise InvalidFile(f"{where} reach from {low} to {high}, but the network tells {classes} classes apart, from 0")
    return labels.astype(np.int64)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(map(quoted, sorted(names))) or "no array"
