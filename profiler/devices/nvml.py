"""The NVIDIA GPUs of this machine, through NVML (module ``pynvml`` of the package nvidia-ml-py, imported lazily)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from profiler.errors import DeviceError


@dataclass(frozen=True)
class ListedGpu:
    """A GPU as NVML numbers and names it."""

    index: int
    name: str
    uuid: str


class GpuList(Protocol):
    """What the rest of this room wants of NVML."""

    def gpus(self) -> tuple[ListedGpu, ...]:
        """All GPUs; raises `DeviceError` with the reason why they cannot be listed."""
        ...


def _import_pynvml() -> Any:
    return importlib.import_module("pynvml")


class Nvml:
    """The real thing. ``load`` imports pynvml."""

    def __init__(self, load: Callable[[], Any] = _import_pynvml) -> None:
        self._load = load

    def gpus(self) -> tuple[ListedGpu, ...]:
        try:
            nvml = self._load()
        except ImportError:
            raise DeviceError("the Python package nvidia-ml-py is not installed") from None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise DeviceError(f"the NVIDIA driver does not answer: {error}") from None
        try:
            return tuple(self._gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        except nvml.NVMLError as error:
            raise DeviceError(f"the NVIDIA driver cannot list its GPUs: {error}") from None
        finally:
            nvml.nvmlShutdown()

    @staticmethod
    def _gpu(nvml: Any, index: int) -> ListedGpu:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        return ListedGpu(index, _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle)))


def _text(value: str | bytes) -> str:
    """Older releases of pynvml return bytes."""
    return value.decode() if isinstance(value, bytes) else value
