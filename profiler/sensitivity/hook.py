"""The user's Python file: a model, calibration batches and a loss, as functions.

    def model():                # -> torch.nn.Module
    def batches():              # -> an iterable of batches, of whatever form
    def loss(model, batch):     # -> a scalar tensor
    def layer_names():          # optional -> {name of the torch module: name of the network's layer}

Weights are taken as they are in that model. Where a batch normalization follows a convolution, its factors are not in
the convolution's weights: HAWQ folds them in; ``model`` can return a fused model (torch.nn.utils.fusion), and should,
where the network to be deployed has them folded.

A module is the layer of its own name unless ``layer_names`` says otherwise. The file is run as a script is: open only
those whose origin you trust. Its folder can be imported from while its functions run.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from profiler.errors import ProfilerError
from profiler.workload import Layer, Network

_MODULE = "profiler_user_hook"
_MOST_NAMES = 6
_MUST = {"model": "model()", "batches": "batches()", "loss": "loss(model, batch)"}


@dataclass(frozen=True)
class Hook:
    """A file that was run. Its functions are called by `model`, `batches`, `loss` and `layer_names`: what they raise
    becomes a `ProfilerError` of one line, with the file, the line in it, and the exception's type and text."""

    path: Path
    module: ModuleType

    def model(self) -> Any:
        """A torch.nn.Module. Raises `ProfilerError` for anything else."""
        import torch  # type: ignore[import-not-found,unused-ignore]

        model = self._call("model")
        if not isinstance(model, torch.nn.Module):
            raise ProfilerError(f"{self.path}: model() must return a torch.nn.Module, not {type(model).__name__}")
        return model

    def batches(self) -> tuple[Any, ...]:
        """All batches, held in memory, since each probe goes through them again. At least one."""
        batches = self._call("batches", then=tuple)
        if not batches:
            raise ProfilerError(f"{self.path}: batches() gives no batch")
        return tuple(batches)

    def loss(self, model: Any, batch: Any) -> Any:
        """What the file's function returns."""
        return self._call("loss", model, batch)

    def layer_names(self) -> Mapping[str, str]:
        """From names of modules to names of layers; empty where the file does not say."""
        if not hasattr(self.module, "layer_names"):
            return {}
        names = self._call("layer_names")
        if not isinstance(names, Mapping) or not all(isinstance(n, str) for pair in names.items() for n in pair):
            raise ProfilerError(f"{self.path}: layer_names() must return a dictionary of texts, module to layer")
        return names

    def _call(self, name: str, *arguments: Any, then: Callable[[Any], Any] | None = None) -> Any:
        function = getattr(self.module, name, None)
        if not callable(function):
            raise ProfilerError(f"{self.path}: defines no function {_MUST.get(name, name)}")
        with _users_code(self.path, f" in {name}()"):
            result = function(*arguments)
            return result if then is None else then(result)


def load_hook(path: Path, needed: tuple[str, ...] = tuple(_MUST)) -> Hook:
    """Run the file. Raises `ProfilerError` if it cannot be run, lacks one of the functions that are ``needed``, or
    torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise ProfilerError(f"{path}: a hook needs PyTorch: pip install 'lowbit-profiler[torch]'")
    if not path.is_file():
        raise ProfilerError(f"{path}: {'not a file' if path.exists() else 'no such file'}; --hook takes a Python file")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise ProfilerError(f"{path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(_MODULE)
    sys.modules[_MODULE] = module  # dataclasses and pickles look their module up there
    try:
        with _users_code(path, ""):
            spec.loader.exec_module(module)
        missing = [_MUST[name] for name in needed if not callable(getattr(module, name, None))]
        if missing:
            raise ProfilerError(f"{path}: defines no function {', '.join(missing)}")
    except ProfilerError:
        del sys.modules[_MODULE]
        if before is not None:
            sys.modules[_MODULE] = before
        raise
    return Hook(path, module)


def layer_weights(hook: Hook, model: Any, network: Network) -> Mapping[str, Any]:
    """The weight parameter of each weighted layer of the network, by the layer's name, in the network's order.

    Raises `ProfilerError` that lists the layers without a module and the modules without a layer, names in
    ``layer_names`` that do not exist, and weights of another shape than the layer's.
    """
    modules = {
        name: module
        for name, module in model.named_modules()
        if getattr(module, "weight", None) is not None and module.weight.dim() >= 2
    }
    renamed = hook.layer_names()
    layers = {layer.name: layer for layer in network.weighted_layers}
    for kind, given, known in (("module", renamed.keys(), modules), ("layer", renamed.values(), layers)):
        strangers = [name for name in given if name not in known]
        if strangers:
            raise ProfilerError(f"{hook.path}: layer_names() speaks of {kind} {_names(strangers)}, which is not there")
    found: dict[str, str] = {}
    for name in modules:
        layer = renamed.get(name, name)
        if layer in found:
            raise ProfilerError(
                f"{hook.path}: modules '{found[layer]}' and '{name}' are both layer '{layer}'; see layer_names()"
            )
        found[layer] = name
    unmatched = [name for name in layers if name not in found]
    if unmatched:
        spare = [name for layer, name in found.items() if layer not in layers]
        beside = f"; modules without a layer: {_names(spare)}" if spare else ""
        raise ProfilerError(
            f"{hook.path}: the model has no module named as layer {_names(unmatched)} of network '{network.name}'"
            f"{beside}; say in layer_names() which is which"
        )
    weights = {name: modules[found[name]].weight for name in layers}
    for name, weight in weights.items():
        _check_shape(hook.path, layers[name], found[name], tuple(weight.shape))
    return weights


def _check_shape(path: Path, layer: Layer, module: str, shape: tuple[int, ...]) -> None:
    """torch has OIHW for a convolution and OI for a dense layer, a layer OHWI."""
    out, height, width, channels = layer.workload.weight_shape
    if (*shape, 1, 1)[:4] != (out, channels, height, width):
        wanted = (out, channels, height, width)[: len(shape)] if len(shape) <= 4 else (out, channels, height, width)
        raise ProfilerError(
            f"{path}: the weight of module '{module}' has shape {shape}, layer '{layer.name}' of the network {wanted}"
        )


@contextmanager
def _users_code(path: Path, where: str) -> Iterator[None]:
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ProfilerError(f"{path}{_line(path, error)}{where}: {_text(error)}") from None
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _line(path: Path, error: BaseException) -> str:
    """Of the file, the innermost line that the error came through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _text(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(f"'{name}'" for name in names[:_MOST_NAMES]) + more
