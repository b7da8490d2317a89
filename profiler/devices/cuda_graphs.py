"""CUDA graphs through cuda-bindings (``cuda.bindings.driver``), which is imported when one is captured and not before.

It shares what PyCUDA has opened: contexts, streams and functions are the driver's, and go from one package to the other
as numbers. PyCUDA does not tell the numbers of its functions, so a graph is not built kernel by kernel: a stream is
captured while PyCUDA launches into it.

cuda-bindings asks the driver for each function in the version that it was written for, and a driver keeps the functions
of older ones. So the release of CUDA 12 serves its drivers and all later ones; that of CUDA 13 is made for those of 13.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

from profiler.devices.cuda_driver import DriverError
from profiler.devices.graphs_package import MODULE, PACKAGE
from profiler.errors import DeviceError

_NEEDS_NEWER_DRIVER = 36


class Graphs:
    """Captures launches and launches them again. ``bindings`` is the module. Streams are the driver's handles.

    All calls raise `DriverError`.
    """

    def __init__(self, bindings: Any) -> None:
        self._cuda = bindings

    @staticmethod
    def load() -> Graphs:
        """Raises `DeviceError` where the package is missing, or does not work with this driver."""
        try:
            return Graphs(importlib.import_module(f"{MODULE}.driver"))
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "cuda":
                text = f"cuda-bindings lacks the Python package {error.name}; install it with pip"
                raise DeviceError(text) from None
            text = f"a network runs as a CUDA graph, which takes cuda-bindings: python -m pip install '{PACKAGE}'"
            raise DeviceError(text) from None
        except (ImportError, RuntimeError) as error:
            text = f"cuda-bindings cannot be loaded ({error}); python -m pip install --force-reinstall '{PACKAGE}'"
            raise DeviceError(text) from None

    def begin(self, stream: int) -> None:
        """From now on what goes into the stream is noted and not carried out. Other calls of the driver stay allowed:
        Python may give back memory at any time."""
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self._call("cuStreamBeginCapture", self._cuda.CUstream(stream), mode)

    def end(self, stream: int) -> Any:
        """The graph of what went into the stream since `begin`, ready to be launched."""
        captured = self._call("cuStreamEndCapture", self._cuda.CUstream(stream))
        try:
            return self._call("cuGraphInstantiate", captured, 0)
        finally:
            self._call("cuGraphDestroy", captured)

    def abandon(self, stream: int) -> None:
        """End what `begin` began, of which nothing is wanted."""
        with suppress(DriverError):
            captured = self._call("cuStreamEndCapture", self._cuda.CUstream(stream))
            if int(captured):
                self._call("cuGraphDestroy", captured)

    def launch(self, graph: Any, stream: int) -> None:
        """Put it into the stream."""
        self._call("cuGraphLaunch", graph, self._cuda.CUstream(stream))

    def drop(self, graph: Any) -> None:
        """Give it back."""
        self._call("cuGraphExecDestroy", graph)

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            code, *values = getattr(self._cuda, name)(*arguments)
        except RuntimeError as error:  # a function that this driver does not have
            raise DriverError(_NEEDS_NEWER_DRIVER, name, str(error)) from None
        if int(code):
            raise DriverError(int(code), name, self._words(code))
        return values[0] if values else None

    def _words(self, code: Any) -> str:
        failed, words = self._cuda.cuGetErrorString(code)
        return "" if int(failed) or words is None else bytes(words).decode(errors="replace")
