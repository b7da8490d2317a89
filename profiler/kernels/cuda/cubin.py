"""A cubin: what the compiler made, what it says of its needs, and which drivers load it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from profiler.cuda_versions import LEAST_DRIVERS
from profiler.errors import CompilerError

_ELF_ABI_VERSION = 8  # index of EI_ABIVERSION in the header's identification


@dataclass(frozen=True)
class Usage:
    """What ptxas allotted. Of a thread: registers and bytes of local memory; of a block: static shared memory."""

    registers: int
    stack_bytes: int
    spill_bytes: int
    static_shared_bytes: int


@dataclass(frozen=True)
class Cubin:
    """Machine code of one architecture as an ELF file, and what the compilers printed (``--ptxas-options=-v``)."""

    code: bytes
    log: str

    def __post_init__(self) -> None:
        if self.code[:4] != b"\x7fELF" or len(self.code) < 64:
            raise CompilerError("the CUDA compiler gave something that is not a cubin")

    @property
    def abi(self) -> int:
        return self.code[_ELF_ABI_VERSION]

    @property
    def least_driver(self) -> str:
        if self.abi not in LEAST_DRIVERS:
            known = ", ".join(map(str, LEAST_DRIVERS))
            raise CompilerError(f"cubins of ELF ABI {self.abi} are not known here (known: {known}); use CUDA 12 or 13")
        return LEAST_DRIVERS[self.abi].linux

    def usage(self, entry: str) -> Usage:
        """What kernel ``entry`` needs, from the log. Raises `CompilerError` if the log does not say."""
        return parse_usage(self.log, entry)


def parse_usage(log: str, entry: str) -> Usage:
    """From the lines that ptxas prints of a kernel, whatever started it (nvcc, NVRTC of CUDA 12 or 13)."""
    _, found, rest = log.partition(f"Compiling entry function '{entry}'")
    said = rest.partition("Compiling entry function")[0]
    registers = re.search(r"Used (\d+) registers(.*)", said)
    if not found or registers is None:
        raise CompilerError(f"ptxas does not say what kernel '{entry}' needs; its log begins: {log.strip()[:80]!r}")
    # The entry's own line is the first; those of routines that it calls (emulated arithmetic) follow.
    properties = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    shared = re.search(r"(\d+) bytes smem", registers[2])
    return Usage(
        registers=int(registers[1]),
        stack_bytes=sum(int(stack) for stack, _, _ in properties),
        spill_bytes=sum(int(stores) + int(loads) for _, stores, loads in properties),
        static_shared_bytes=int(shared[1]) if shared else 0,
    )
