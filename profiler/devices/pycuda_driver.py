"""The CUDA driver through PyCUDA (`pycuda.driver`), which is imported when a GPU is opened and not before.

Translation only. PyCUDA knows no graphs: its launches are captured through another package (`cuda_graphs`) in a stream
of their own, and the graph is launched in the same stream as all else, the default one, which cannot be captured.

PyCUDA's errors are words, without the driver's number for them: the number is the one whose words
they are, as the driver itself spells them. Its objects give their memory back when the last reference goes, so what
is handed out here can be emptied: giving back does not depend on who still holds it.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from profiler.devices.cuda_driver import Bytes, CudaDriver, DriverError, GpuProperties
from profiler.devices.cuda_graphs import Graphs
from profiler.errors import DeviceError

_LIBRARY = "libcuda.so.1"
_CODES = range(1, 1000)  # of CUresult
_NO_DEVICE, _INVALID_DEVICE, _UNKNOWN = 100, 101, 999
_DEFAULT_SHARED_BYTES = 48 * 1024  # what a block may have without asking
_DEFAULT_STREAM = 0
_INSTALL = "python -m profiler.environment.pycuda_wheel"


def open_pycuda(pci_bus_id: str) -> CudaDriver:
    """The GPU at that place of the PCI bus, e.g. ``0000:3b:00.0``; NVML's longer spelling is understood.

    Raises `DeviceError` without PyCUDA, without a driver, or if the driver hides the GPU, and `DriverError` for what
    else goes wrong.
    """
    cuda = _import_pycuda()
    errors = _Errors(cuda.Error)
    try:
        with errors:
            cuda.init()
            device = cuda.Device(_short_bus_id(pci_bus_id))
    except DriverError as error:
        if error.code in (_NO_DEVICE, _INVALID_DEVICE):
            raise DeviceError(_why_hidden(pci_bus_id)) from None
        raise
    return PycudaDriver(cuda, errors, device)


def _import_pycuda() -> Any:
    try:
        with warnings.catch_warnings():  # it warns of what it then raises
            warnings.simplefilter("ignore")
            return importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "pycuda":
            raise DeviceError(f"PyCUDA lacks the Python package {error.name}; install it with pip") from None
        raise DeviceError(f"PyCUDA is not installed; `{_INSTALL}` builds and installs it") from None
    except ImportError as error:
        if _LIBRARY in str(error):
            raise DeviceError(f"no NVIDIA driver on this machine: {_LIBRARY} is not found") from None
        if "undefined symbol: cu" in str(error):
            raise DeviceError(
                f"PyCUDA was built for a newer driver than this one ({error}); `{_INSTALL} --force` builds it anew"
            ) from None
        raise DeviceError(f"PyCUDA cannot be loaded ({error}); `{_INSTALL} --force` builds it anew") from None


def _short_bus_id(pci_bus_id: str) -> str:
    """NVML writes the domain in eight digits, the driver in four."""
    return pci_bus_id[4:] if len(pci_bus_id) == len("00000000:00:00.0") and pci_bus_id[:4] == "0000" else pci_bus_id


def _why_hidden(pci_bus_id: str) -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return f"the CUDA driver does not offer the GPU {pci_bus_id}; `nvidia-smi` says what state it is in"
    return f"CUDA_VISIBLE_DEVICES={visible!r} hides the GPU {pci_bus_id}; unset it, or name that GPU in it"


class _Errors:
    """Context manager that turns PyCUDA's errors into ours."""

    def __init__(self, error: type) -> None:
        self._error = error
        self._words: dict[str, int] | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, self._error):
            if self._words is None:
                self._words = _words_of_codes()
            raise driver_error(str(error), self._words) from None


def driver_error(message: str, words: Mapping[str, int]) -> DriverError:
    """The error of which PyCUDA says ``CALL failed: WORDS`` or ``CALL failed: WORDS - REMARK``.

    words : the driver's, and the number that they stand for.
    """
    call, _, text = message.partition(" failed: ")
    text = text.strip(" -\n\0")
    fitting = [known for known in words if text == known or text.startswith(f"{known} - ")]
    code = words[max(fitting, key=len)] if fitting else _UNKNOWN
    return DriverError(code, call, text)


def _words_of_codes() -> dict[str, int]:
    library = ctypes.CDLL(_LIBRARY)
    found: dict[str, int] = {}
    for code in _CODES:
        words = ctypes.c_char_p()
        if library.cuGetErrorString(code, ctypes.byref(words)) == 0 and words.value:
            found.setdefault(words.value.decode(errors="replace"), code)
    return found


class _Module:
    """Loaded code, until it is dropped."""

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.functions: list[_Function] = []

    def drop(self) -> None:
        """PyCUDA unloads a module when neither it nor one of its functions is referred to."""
        for function in self.functions:
            function.entry = None
        self.functions.clear()
        self.loaded = None


class _Function:
    """An entry of a module, of no use once the module is unloaded."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry
        self._arguments = -1

    def launch(
        self, grid: tuple[int, int, int], threads: int, shared_bytes: int, arguments: Sequence[int], stream: Any
    ) -> None:
        """``stream`` None is the default one."""
        if len(arguments) != self._arguments:
            self._arguments = len(arguments)
            self.entry.prepare(["Q"] * len(arguments))
        block = (threads, 1, 1)
        self.entry.prepared_async_call(tuple(grid), block, stream, *arguments, shared_size=shared_bytes)


class _Flag:
    """A word of page-locked host memory that is mapped for the GPU."""

    def __init__(self, cuda: Any) -> None:
        self._word = cuda.pagelocked_empty(1, np.uint32, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
        self._word[0] = 0
        self._address = int(self._word.base.get_device_pointer())

    @property
    def address(self) -> int:
        return self._address

    def set(self, value: int) -> None:
        self._word[0] = value


class PycudaDriver:
    """The GPU's primary context, current in this thread; all calls come from it. ``cuda`` is the module pycuda.driver.

    What PyCUDA cannot give back it complains of on the standard error output, and goes on. So `free` and `unload` wait
    first, which raises what a broken context says.
    """

    def __init__(self, cuda: Any, errors: _Errors, device: Any) -> None:
        self._cuda = cuda
        self._errors = errors
        self._modules: set[_Module] = set()
        self._allocations: dict[int, Any] = {}
        self._flags: list[_Flag] = []  # kept while kernels may read them
        self._graphs: Graphs | None = None
        self._capturing: Any = None  # the stream into which launches go, None for the default one
        with errors:
            self._properties = _properties(cuda, device)
            self._context = device.retain_primary_context()
            self._context.push()
        atexit.register(self.close)  # PyCUDA aborts a process that ends with a context

    @property
    def properties(self) -> GpuProperties:
        return self._properties

    def load(self, code: bytes) -> _Module:
        with self._errors:
            module = _Module(self._cuda.module_from_buffer(code))
        self._modules.add(module)
        return module

    def unload(self, module: _Module) -> None:
        self.wait()
        self._modules.discard(module)
        module.drop()

    def function(self, module: _Module, name: str, dynamic_shared_bytes: int = 0) -> _Function:
        with self._errors:
            entry = module.loaded.get_function(name)  # since CUDA 11.7 this is where it is loaded onto the GPU
            if dynamic_shared_bytes > _DEFAULT_SHARED_BYTES:
                limit = self._cuda.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
                entry.set_attribute(limit, dynamic_shared_bytes)
        function = _Function(entry)
        module.functions.append(function)
        return function

    def allocate(self, nbytes: int) -> int:
        with self._errors:
            allocation = self._cuda.mem_alloc(nbytes)
        address = int(allocation)
        self._allocations[address] = allocation
        return address

    def free(self, address: int) -> None:
        self.wait()
        with self._errors:
            self._allocations.pop(address).free()

    def write(self, address: int, data: Bytes) -> None:
        with self._errors:
            self._cuda.memcpy_htod(address, np.ascontiguousarray(data))

    def read(self, address: int, nbytes: int) -> Bytes:
        data = np.empty(nbytes, np.uint8)
        with self._errors:
            self._cuda.memcpy_dtoh(data, address)
        return data

    def fill(self, address: int, value: int, nbytes: int) -> None:
        with self._errors:
            self._cuda.memset_d8(address, value, nbytes)

    def flag(self) -> _Flag:
        with self._errors:
            self._flags.append(_Flag(self._cuda))
        return self._flags[-1]

    def launch(
        self,
        function: _Function,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        arguments: Sequence[int],
    ) -> None:
        with self._errors:
            function.launch(grid, threads, shared_bytes, arguments, self._capturing)

    def capture(self, put: Callable[[], None]) -> Any:
        if self._graphs is None:
            self._graphs = Graphs.load()
        with self._errors:
            stream = self._cuda.Stream()
        self._graphs.begin(stream.handle)
        self._capturing = stream
        try:
            put()
        except BaseException:
            self._graphs.abandon(stream.handle)
            raise
        finally:
            self._capturing = None
        return self._graphs.end(stream.handle)

    def launch_graph(self, graph: Any) -> None:
        assert self._graphs is not None, "nothing was captured"
        self._graphs.launch(graph, _DEFAULT_STREAM)

    def drop_graph(self, graph: Any) -> None:
        assert self._graphs is not None, "nothing was captured"
        self.wait()
        self._graphs.drop(graph)

    def event(self) -> Any:
        with self._errors:
            return self._cuda.Event()

    def record(self, event: Any) -> None:
        with self._errors:
            event.record()

    def elapsed_s(self, first: Any, second: Any) -> float:
        with self._errors:
            return float(second.time_since(first)) * 1e-3  # the driver counts in milliseconds

    def wait(self) -> None:
        with self._errors:
            self._cuda.Context.synchronize()

    def close(self) -> None:
        if self._context is None:
            return
        # The context goes first: PyCUDA then lets go of what was in it without a call for each, which would complain
        # where the context is broken.
        context, self._context = self._context, None
        atexit.unregister(self.close)
        with self._errors:
            context.detach()
        self._modules.clear()
        self._allocations.clear()
        self._flags.clear()

    def __enter__(self) -> PycudaDriver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _properties(cuda: Any, device: Any) -> GpuProperties:
    def attribute(name: str) -> int:
        return int(device.get_attribute(getattr(cuda.device_attribute, name)))

    version = cuda.get_driver_version()  # e.g. 12020 for 12.2
    return GpuProperties(
        name=device.name(),
        pci_bus_id=device.pci_bus_id(),
        capability=(attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")),
        driver_version=(version // 1000, version % 1000 // 10),
        memory_bytes=int(device.total_memory()),
        multiprocessor_count=attribute("MULTIPROCESSOR_COUNT"),
        clock_rate_khz=attribute("CLOCK_RATE"),
        memory_clock_rate_khz=attribute("MEMORY_CLOCK_RATE"),
        global_memory_bus_width_bits=attribute("GLOBAL_MEMORY_BUS_WIDTH"),
        l2_cache_bytes=attribute("L2_CACHE_SIZE"),
        max_shared_memory_per_multiprocessor_bytes=attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
        max_shared_memory_per_block_optin_bytes=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        max_registers_per_multiprocessor=attribute("MAX_REGISTERS_PER_MULTIPROCESSOR"),
        max_threads_per_multiprocessor=attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
        max_blocks_per_multiprocessor=attribute("MAX_BLOCKS_PER_MULTIPROCESSOR"),
    )
