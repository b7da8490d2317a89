"""NVRTC, CUDA's compiler as a library, from its wheel: no toolkit is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from profiler.errors import CompilerError
from profiler.kernels.cuda.cubin import Cubin
from profiler.kernels.cuda.wheel import Wheel
from profiler.kernels.toolchain import ToolchainError

_COMPILATION_FAILED = 6  # NVRTC_ERROR_COMPILATION


WHEELS: Mapping[str, Wheel] = {
    "12": Wheel("nvidia-cuda-nvrtc-cu12", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"),
    "13": Wheel("nvidia-cuda-nvrtc", "nvidia/cu13/lib/libnvrtc.so.13"),
}
"""By CUDA's major version."""


@dataclass(frozen=True)
class Nvrtc:
    """NVRTC in a shared library; ``version`` is the wheel's, ``repair`` what to do if the library does not work."""

    library: Path
    version: str
    repair: str

    @staticmethod
    def find(major: str) -> Nvrtc:
        """That of CUDA ``major``. Raises `ToolchainError` if the wheel is missing or is not what it should be."""
        library, version = WHEELS[major].locate()
        nvrtc = Nvrtc(library, version, WHEELS[major].repair)
        numbers = ctypes.c_int(), ctypes.c_int()
        nvrtc._ask("nvrtcVersion", ctypes.byref(numbers[0]), ctypes.byref(numbers[1]))
        if [str(number.value) for number in numbers] != version.split(".")[:2]:
            says = f"{numbers[0].value}.{numbers[1].value}"
            raise ToolchainError(f"{library} is NVRTC {says}, not {version} as its package; {nvrtc.repair}")
        return nvrtc

    @property
    def identity(self) -> str:
        return f"nvrtc {self.version}"

    def archs(self) -> tuple[str, ...]:
        count = ctypes.c_int()
        self._ask("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        self._ask("nvrtcGetSupportedArchs", numbers)
        return tuple(f"sm_{number}" for number in numbers)

    def compile(self, source: str, arch: str) -> Cubin:
        options = (f"--gpu-architecture={arch}".encode(), b"--ptxas-options=-v")
        with self._program(source) as program:
            status = self._call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * 2)(*options))
            log = self._output(program, "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace")
            if status == _COMPILATION_FAILED:
                raise CompilerError(f"{self.identity} refused the kernel: {_first_error(log)}")
            if status:
                raise self._broken("nvrtcCompileProgram", status)
            return Cubin(self._output(program, "nvrtcGetCUBIN"), log)

    @contextmanager
    def _program(self, source: str) -> Iterator[ctypes.c_void_p]:
        program = ctypes.c_void_p()
        self._ask("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
        try:
            yield program
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _output(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._ask(f"{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._ask(what, program, buffer)
        return buffer.raw

    def _ask(self, function: str, *arguments: Any) -> None:
        status = self._call(function, *arguments)
        if status:
            raise self._broken(function, status)

    def _call(self, function: str, *arguments: Any) -> int:
        try:
            return int(getattr(_load(self.library), function)(*arguments))
        except (OSError, AttributeError) as error:
            raise ToolchainError(f"NVRTC cannot be used: {error}; {self.repair}") from None

    def _broken(self, function: str, status: int) -> ToolchainError:
        return ToolchainError(f"NVRTC does not work: {function} of {self.library} gives error {status}; {self.repair}")


@lru_cache(maxsize=4)
def _load(library: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(library))


def _first_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next(
        (line for line in lines if "error" in line or "fatal" in line), lines[0] if lines else "no reason given"
    )
