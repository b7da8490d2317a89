"""Access to NVML, the driver's management library (module ``pynvml`` of the package nvidia-ml-py, imported lazily).

Two kinds of refusal are kept apart. What ends everything (no driver, a lost GPU) is a `DeviceError` that says what to
do. What this card, this driver, this user or this release of pynvml does not give is `Refused`, and is noted.

The functions of NVML are called by name: they differ between releases of pynvml, and old ones return bytes. What is
read of a card is in `gpu_facts` (what stays) and `gpu_state` (what changes), over time in `gpu_monitor`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from profiler.errors import DeviceError

# Error codes, as NVML's interface fixes them.
_UNINITIALIZED = 1
_NO_PERMISSION = 4
_DRIVER_NOT_LOADED = 9
_LIBRARY_NOT_FOUND = 12
_GPU_IS_LOST = 15
_RESET_REQUIRED = 16
_VERSION_MISMATCH = 18

_NO_DRIVER = "install an NVIDIA driver, and in a container start it with the GPU (docker run --gpus all)"
_START_ADVICE = {
    _NO_PERMISSION: "this user may not open /dev/nvidia*: join the group that owns them",
    _DRIVER_NOT_LOADED: "load the driver (sudo modprobe nvidia), or install one",
    _LIBRARY_NOT_FOUND: _NO_DRIVER,
    _VERSION_MISMATCH: "the driver was updated while it was loaded: restart the machine",
}
_LOST_ADVICE = {
    _UNINITIALIZED: "NVML was shut down by somebody else in this process",
    _GPU_IS_LOST: "it has fallen off the bus: restart the machine; if it comes back, look at cooling and power supply",
    _RESET_REQUIRED: "reset it (sudo nvidia-smi --gpu-reset) or restart the machine",
}


@dataclass(frozen=True)
class ListedGpu:
    """A GPU as NVML numbers and names it. What NVML does not give is empty or None.

    pci_bus_id : as CUDA spells it, ``0000:3B:00.0``. capability : compute capability, (7, 5) for a T4.
    """

    index: int
    name: str
    uuid: str
    pci_bus_id: str = ""
    capability: tuple[int, int] | None = None
    memory_bytes: int | None = None


class GpuList(Protocol):
    """What the rest of this room wants of NVML."""

    def gpus(self) -> tuple[ListedGpu, ...]:
        """All GPUs; raises `DeviceError` with the reason why they cannot be listed."""
        ...


class Refused(Exception):
    """NVML does not give this, for a reason of a few words. ``permission``: another user would get it."""

    def __init__(self, reason: str, permission: bool = False) -> None:
        super().__init__(reason)
        self.permission = permission


def _import_pynvml() -> Any:
    return importlib.import_module("pynvml")


class Nvml:
    """The real thing. ``load`` imports pynvml."""

    def __init__(self, load: Callable[[], Any] = _import_pynvml) -> None:
        self._load = load

    def open(self) -> NvmlSession:
        """NVML, initialized; the caller closes it. Raises `DeviceError`."""
        try:
            module = self._load()
        except ImportError:
            raise DeviceError("the Python package nvidia-ml-py is not installed") from None
        try:
            module.nvmlInit()
        except module.NVMLError as error:
            advice = _START_ADVICE.get(_code(error), "")
            raise DeviceError(f"the NVIDIA driver does not answer: {error}{f' ({advice})' if advice else ''}") from None
        return NvmlSession(module)

    def gpus(self) -> tuple[ListedGpu, ...]:
        """All GPUs that answer; raises `DeviceError` with the reason if the driver has some and none does."""
        session = self.open()
        try:
            found, silent = session.handles()
            if silent and not found:
                raise DeviceError(f"the NVIDIA driver cannot list its GPUs: {'; '.join(silent)}")
            return tuple(_listed(session, index, uuid, handle) for index, uuid, handle in found)
        except Refused as refused:
            raise DeviceError(f"the NVIDIA driver cannot list its GPUs: {refused}") from None
        finally:
            session.close()


class NvmlSession:
    """NVML between its initialization and its shutdown. pynvml counts them, so sessions may overlap."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._open = True

    def call(self, name: str, *arguments: Any) -> Any:
        """The answer of one function, bytes as text.

        Raises `Refused` if it is not to be had, and `DeviceError` if the GPU is lost.
        """
        function = getattr(self._module, name, None)
        if function is None:
            raise Refused("not in this release of nvidia-ml-py")
        try:
            value = function(*arguments)
        except self._module.NVMLError as error:
            code = _code(error)
            if code in _LOST_ADVICE:
                raise DeviceError(f"the GPU does not answer any more: {error} ({_LOST_ADVICE[code]})") from None
            raise Refused(str(error), permission=code == _NO_PERMISSION) from None
        except getattr(self._module, "NVMLLibraryMismatchError", ()):
            raise Refused("not in this driver") from None
        return _text(value)

    def handles(self) -> tuple[list[tuple[int, str, Any]], list[str]]:
        """Index, UUID and handle of each card that answers, and a text for each that does not: it may be lost, or
        belong to somebody else. Raises as `call`."""
        found, silent = [], []
        for index in range(self.call("nvmlDeviceGetCount")):
            try:
                handle = self.call("nvmlDeviceGetHandleByIndex", index)
                found.append((index, self.call("nvmlDeviceGetUUID", handle), handle))
            except (Refused, DeviceError) as error:
                silent.append(f"GPU {index}: {error}")
        return found, silent

    def handle(self, uuid: str) -> Any:
        """The card of that UUID; raises `DeviceError` if it is not (or no longer) here."""
        try:
            found, silent = self.handles()
        except Refused as refused:
            raise DeviceError(f"the NVIDIA driver cannot list its GPUs: {refused}") from None
        for _, known, handle in found:
            if known == uuid:
                return handle
        others = "".join(f"; {text}" for text in silent)
        raise DeviceError(f"the GPU {uuid} is not on this machine (any more), see nvidia-smi -L{others}")

    def close(self) -> None:
        """A second call does nothing."""
        if self._open:
            self._open = False
            with suppress(self._module.NVMLError):
                self._module.nvmlShutdown()


class Reader:
    """One reading of a card; keeps in `unreadable` a short text for each value that it did not get."""

    def __init__(self, session: NvmlSession, handle: Any) -> None:
        self._session = session
        self._refused: dict[str, str] = {}
        self.handle = handle

    def card(self, what: str, *names: str, arguments: tuple[Any, ...] = ()) -> Any:
        """The answer of the first function that gives one, None if none does. ``what`` is for people."""
        return self.system(what, *names, arguments=(self.handle, *arguments))

    def system(self, what: str, *names: str, arguments: tuple[Any, ...] = ()) -> Any:
        """As `card`, of functions that are not asked about a card."""
        reason = ""
        for name in names:
            try:
                return self._session.call(name, *arguments)
            except Refused as refused:
                reason = reason or str(refused)
        self._refused[what] = reason
        return None

    def optional(self, name: str, *arguments: Any) -> Any:
        """The answer of a function whose refusal is nothing to note; None if it refuses."""
        with suppress(Refused):
            return self._session.call(name, *arguments)
        return None

    @property
    def unreadable(self) -> tuple[str, ...]:
        """One text for each refusal, e.g. ``energy counter: Not Supported``."""
        return tuple(f"{what}: {reason}" for what, reason in self._refused.items())


def _text(value: Any) -> Any:
    """Bytes as text (older releases of pynvml), anything else as it is."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def pci_bus_id(info: Any) -> str:
    """As CUDA spells it: NVML writes the domain with eight digits, CUDA with four where they are enough."""
    domain, _, rest = str(_text(info.busId)).upper().partition(":")
    return f"{int(domain, 16):04X}:{rest}"


def _listed(session: NvmlSession, index: int, uuid: str, handle: Any) -> ListedGpu:
    read = Reader(session, handle)
    pci = read.card("PCI bus id", "nvmlDeviceGetPciInfo")
    capability = read.card("compute capability", "nvmlDeviceGetCudaComputeCapability")
    memory = read.card("memory", "nvmlDeviceGetMemoryInfo")
    return ListedGpu(
        index=index,
        name=session.call("nvmlDeviceGetName", handle),
        uuid=uuid,
        pci_bus_id=pci_bus_id(pci) if pci is not None else "",
        capability=(capability[0], capability[1]) if capability is not None else None,
        memory_bytes=memory.total if memory is not None else None,
    )


def _code(error: Exception) -> int:
    return getattr(error, "value", 0)
