"""Frontends: from a model to a `Network`.

- ``graph``: a model as a frontend read it: the vocabulary that they share
- ``lowering``: from a graph to a network: shapes, folding, fusion of ReLU
- ``refusal``: how a frontend says no
- ``builtin``: ResNet18, ResNet50, InceptionV3
- ``onnx``: ONNX files (needs onnx)
- ``torch``: programs saved by torch.export (needs torch)
- ``network_file``: networks as JSON, what the later stages read
- ``weights``: the weights of a model's layers, folded (needs NumPy); ``layer_values``: before they are folded

Importing this package imports neither onnx nor torch, nor NumPy.
"""

from __future__ import annotations

from pathlib import Path

from profiler.errors import UnsupportedModel
from profiler.frontend import network_file
from profiler.frontend.builtin import BUILTINS
from profiler.workload import Network

__all__ = ["BUILTINS", "SUFFIXES", "is_builtin", "load_network"]

SUFFIXES = (".onnx", ".pt2", ".json")


def is_builtin(model: str) -> bool:
    """Whether that names a network which is built in: it has no weights."""
    return model.strip().lower() in BUILTINS


def load_network(model: str, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network of a built-in name or of a file (told apart by its suffix), at that batch.

    The batch of the file does not matter. With ``skip_unsupported`` the operators that have no kernel are left out and
    named in `Network.skipped`; otherwise they raise `UnsupportedModel`, as do unknown names, missing and damaged files.
    """
    path = Path(model)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        _check_file(path)
        if suffix == ".json":
            return network_file.load(path, batch)
        if suffix == ".onnx":
            from profiler.frontend import onnx

            return onnx.load(path, batch, skip_unsupported=skip_unsupported)
        from profiler.frontend import torch

        return torch.load(path, batch, skip_unsupported=skip_unsupported)
    if is_builtin(model):
        return BUILTINS[model.strip().lower()](batch)
    hint = "; save it with torch.export.save as .pt2 first" if suffix in (".pt", ".pth") else ""
    raise UnsupportedModel(
        f"unknown model '{model}'{hint}: give one of {', '.join(BUILTINS)}, or the path of a file that ends in "
        f"{', '.join(SUFFIXES)}"
    )


def _check_file(path: Path) -> None:
    try:
        if not path.exists():
            raise UnsupportedModel(f"{path}: no such file")
        if not path.is_file():
            raise UnsupportedModel(f"{path}: not a file")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"{path}: cannot be read ({error})") from None
