"""Run a compiled kernel on the emulated GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.artifact import ArgSpec, Role
from profiler.kernels.cuda.lower import CudaKernel

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

POISON = 0xA5
_ROLES = {Role.INPUT: 0, Role.PARAMETER: 0, Role.OUTPUT: 1, Role.INOUT: 2, Role.WORKSPACE: 3, Role.COUNTERS: 4}
_WRITTEN = (Role.OUTPUT, Role.INOUT, Role.WORKSPACE, Role.COUNTERS)


class Order(Enum):
    """In which order lanes, warps and blocks run."""

    FORWARD = 0
    REVERSE = 1


@dataclass
class Fault(Exception):
    """What a kernel did that it must not do.

    kind : ``out_of_bounds``, ``misaligned``, ``uninitialised`` (a read of what this launch did not write), ``race``,
    ``divergent_barrier`` (a barrier or warp operation that not all threads reach), ``unwritten`` (output),
    ``write_conflict`` (two threads write one byte), ``read_only`` (a write to what is only read), ``overflow`` (of
    signed integers, which CUDA C++ does not define), ``endless``.
    where : name of the argument, ``shared``, or empty. offset : in bytes. block, thread : who (-1: after the launch).
    """

    kind: str
    where: str
    offset: int
    block: tuple[int, int, int]
    thread: int
    text: str

    def __str__(self) -> str:
        place = f" {self.where}+{self.offset}" if self.where else ""
        who = f"block {self.block} thread {self.thread}" if self.thread >= 0 else "after the launch"
        return f"{self.kind}{place}, {who}: {self.text}"


class _FaultRecord(ctypes.Structure):
    """As in runtime.cpp."""

    _fields_ = (
        ("kind", ctypes.c_char * 24),
        ("buffer", ctypes.c_int),
        ("offset", ctypes.c_long),
        ("block", ctypes.c_int * 3),
        ("thread", ctypes.c_int),
        ("text", ctypes.c_char * 168),
    )

    def fault(self, args: Sequence[ArgSpec]) -> Fault:
        where = args[self.buffer].name if self.buffer >= 0 else "shared" if self.buffer == -1 else ""
        x, y, z = self.block
        return Fault(self.kind.decode(), where, self.offset, (x, y, z), self.thread, self.text.decode())


def run(
    library: ctypes.CDLL, position: int, kernel: CudaKernel, contents: Mapping[str, Bytes], order: Order
) -> dict[str, Bytes]:
    """Launch the kernel at that position of the library; all that it may write, by name. Raises `Fault`.

    contents : initial bytes by name, of the arguments' exact sizes. What is not given is poison, counters are zero.
    A library runs one kernel at a time.
    """
    buffers: dict[str, Bytes] = {}
    for arg in kernel.args:
        given = contents.get(arg.name)
        buffers[arg.name] = (
            np.full(arg.nbytes, 0 if arg.role is Role.COUNTERS else POISON, np.uint8) if given is None else given.copy()
        )
        assert buffers[arg.name].size == arg.nbytes, f"{arg.name}: {buffers[arg.name].size} bytes, not {arg.nbytes}"
    launch = kernel.launch
    count = len(kernel.args)
    record = _FaultRecord()
    failed = library.emulator_launch(
        position,
        (ctypes.c_int * 6)(*launch.grid, launch.threads, launch.shared_bytes, order.value),
        count,
        (ctypes.c_void_p * count)(*[b.ctypes.data for b in buffers.values()]),
        (ctypes.c_long * count)(*[a.nbytes for a in kernel.args]),
        (ctypes.c_int * count)(*[_ROLES[a.role] for a in kernel.args]),
        ctypes.byref(record),
    )
    if failed:
        raise record.fault(kernel.args)
    return {a.name: buffers[a.name] for a in kernel.args if a.role in _WRITTEN}
