"""The few things that measuring wants of a CUDA driver, as a protocol. `pycuda_driver` has the real one.

Everything is asynchronous on one stream, in order, unless it says that it waits. A real driver's module does not even
import without a GPU's driver, so whatever measures is written against this, and tested against a fake of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

Module = Any
"""Opaque: loaded code."""
Function = Any
"""Opaque: an entry of a module."""
Event = Any
"""Opaque: a point in the stream."""
Graph = Any
"""Opaque: launches in a row, which are put into the stream as one."""


class DriverError(Exception):
    """A call that the driver refused, or that reported an earlier failure. ``code`` is its CUresult."""

    def __init__(self, code: int, call: str, text: str = "") -> None:
        super().__init__(f"{call}: {text or 'error'} ({code})")
        self.code = code
        self.call = call
        self.text = text


@dataclass(frozen=True)
class GpuProperties:
    """What the driver says of the GPU: its attributes, by their names in the driver's interface.

    ``driver_version`` is the CUDA version that the driver supports, e.g. (12, 2). Clocks are in kHz and the bus width
    in bits, as the driver gives them.
    """

    name: str
    pci_bus_id: str
    capability: tuple[int, int]
    driver_version: tuple[int, int]
    memory_bytes: int
    multiprocessor_count: int
    clock_rate_khz: int
    memory_clock_rate_khz: int
    global_memory_bus_width_bits: int
    l2_cache_bytes: int
    max_shared_memory_per_multiprocessor_bytes: int
    max_shared_memory_per_block_optin_bytes: int
    max_registers_per_multiprocessor: int
    max_threads_per_multiprocessor: int
    max_blocks_per_multiprocessor: int

    @property
    def arch(self) -> str:
        """E.g. ``sm_75``."""
        return "sm_{}{}".format(*self.capability)


class Flag(Protocol):
    """A 32-bit word in host memory that the GPU can read while a kernel runs; 0 at first."""

    @property
    def address(self) -> int:
        """As the GPU sees it."""
        ...

    def set(self, value: int) -> None:
        """Seen by kernels that run now."""
        ...


class CudaDriver(Protocol):
    """A context on one GPU. After an error that the context does not survive (an illegal address, a launch that timed
    out) every call repeats it; only a new process helps. All calls raise `DriverError`."""

    @property
    def properties(self) -> GpuProperties: ...

    def load(self, code: bytes) -> Module:
        """Load a cubin, or PTX text, which the driver compiles."""
        ...

    def unload(self, module: Module) -> None: ...

    def function(self, module: Module, name: str, dynamic_shared_bytes: int = 0) -> Function:
        """The kernel of that name, loaded onto the GPU now rather than at its first launch, with its limit of dynamic
        shared memory raised where it needs more than 48 KiB."""
        ...

    def allocate(self, nbytes: int) -> int:
        """Address of new memory on the GPU, aligned to 256 bytes. At least one byte is asked for."""
        ...

    def free(self, address: int) -> None: ...

    def write(self, address: int, data: Bytes) -> None:
        """Copy to the GPU; waits until it is done."""
        ...

    def read(self, address: int, nbytes: int) -> Bytes:
        """Copy from the GPU; waits for all that was launched before."""
        ...

    def fill(self, address: int, value: int, nbytes: int) -> None:
        """Set bytes."""
        ...

    def flag(self) -> Flag: ...

    def launch(
        self, function: Function, grid: tuple[int, int, int], threads: int, shared_bytes: int, arguments: Sequence[int]
    ) -> None:
        """Put a kernel into the stream; every argument takes 8 bytes (an address, or a 64-bit integer)."""
        ...

    def capture(self, put: Callable[[], None]) -> Graph:
        """What ``put`` launches, as a graph; nothing of it runs. ``put`` calls `launch` and nothing else.

        Raises `DeviceError` where the package for graphs is missing.
        """
        ...

    def launch_graph(self, graph: Graph) -> None:
        """Put the graph's launches into the stream, in order, at once."""
        ...

    def drop_graph(self, graph: Graph) -> None:
        """Give a graph back that runs no more."""
        ...

    def event(self) -> Event: ...

    def record(self, event: Event) -> None:
        """Put the event into the stream."""
        ...

    def elapsed_s(self, first: Event, second: Event) -> float:
        """Seconds from one event to the other; both have passed."""
        ...

    def wait(self) -> None:
        """Until the stream is empty."""
        ...

    def close(self) -> None:
        """Give everything back. A second call does nothing."""
        ...

    def __enter__(self) -> CudaDriver: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
