"""CPU code that was loaded from memory: a shared object with the functions of kernels/cpu/runtime.c."""

from __future__ import annotations

import ctypes
import os
import tempfile
from _ctypes import dlclose  # a library is otherwise never closed
from contextlib import suppress
from typing import Any

from profiler.devices.protocol import KernelFailure
from profiler.record import FailureKind

ABI_VERSION = 1
_CHAIN = "lowbit_chain"


class SharedObject:
    """The code of an artifact, loaded. Raises `KernelFailure` (LAUNCH) if it does not load."""

    def __init__(self, code: bytes) -> None:
        self._descriptor, path = _executable_file(code)
        try:
            self._library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
        except OSError as error:
            os.close(self._descriptor)
            raise KernelFailure(FailureKind.LAUNCH, f"the code does not load: {_last_line(str(error))}") from None
        finally:
            if not path.startswith("/proc/"):
                os.unlink(path)
        self._path = path

    def has(self, name: str) -> bool:
        """Whether there is such a function."""
        try:
            self._library[name]
        except AttributeError:
            return False
        return True

    def function(self, name: str, *arguments: Any) -> Any:
        """The function that takes these types and returns an int. Raises `KernelFailure` (LAUNCH) if there is none."""
        try:
            found = self._library[name]
        except AttributeError:
            raise KernelFailure(FailureKind.LAUNCH, f"the code has no function '{name}'") from None
        found.argtypes = arguments
        found.restype = ctypes.c_int
        return found

    def require_abi(self) -> None:
        """Raises `KernelFailure` (LAUNCH) for code with another runtime."""
        version = self.function("lowbit_abi")()
        if version != ABI_VERSION:
            raise KernelFailure(FailureKind.LAUNCH, f"the code has runtime version {version}, not {ABI_VERSION}")

    def clock_hz(self) -> Any:
        """The function that tells how fast the core runs right now, in Hz."""
        found = self.function("lowbit_clock_hz")
        found.restype = ctypes.c_int64
        return found

    @property
    def has_chain(self) -> bool:
        """Whether there is the loop of launches; code that was built before networks were run has none."""
        return self.has(_CHAIN)

    def chain(self) -> Any:
        """The loop of launches. It takes the addresses of the kernels' entries and of their arguments, how many steps
        and runs of all of them there are, and the addresses of nanoseconds: when each step of each run ended (or
        None), and of each run. It returns an errno, or 0."""
        address, count = ctypes.c_void_p, ctypes.c_int64
        return self.function(_CHAIN, address, address, count, count, address, address)

    def close(self) -> None:
        dlclose(self._library._handle)
        try:
            # The loader knows libraries by path. One that it keeps must keep its descriptor, or the next one with the
            # same number would be taken for it.
            ctypes.CDLL(self._path, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
        except OSError:
            os.close(self._descriptor)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _executable_file(code: bytes) -> tuple[int, str]:
    """A file that is on no disk, as (descriptor, path); in the temporary folder where the system has no such files."""
    with suppress(OSError, AttributeError):
        descriptor = os.memfd_create("kernel")
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(code)
        return descriptor, f"/proc/self/fd/{descriptor}"
    descriptor, path = tempfile.mkstemp(suffix=".so")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(code)
    return descriptor, path
