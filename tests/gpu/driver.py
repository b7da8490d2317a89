"""The few calls of the CUDA driver that a launch takes, through ctypes: no package, no toolkit, only the driver."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact, Role

Bytes = npt.NDArray[np.uint8]

LIBRARY = "libcuda.so.1"
"""Of the driver."""
GUARD_BYTES = 256
"""On either side of every buffer; a kernel that writes there is wrong."""
POISON = 0xA5
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class DriverError(Exception):
    """A call that the driver refused. ``code`` is its CUresult; None where there is no driver to ask."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Buffer:
    """Memory on the GPU with guards around it."""

    base: int
    nbytes: int

    @property
    def address(self) -> int:
        return self.base + GUARD_BYTES


class Driver:
    """One GPU and its primary context. Use as a context manager.

    ``name`` and ``arch`` (e.g. ``sm_75``) are the GPU's. library : path or name of the driver's library. Raises
    `DriverError` where there is none, or no such GPU.
    """

    def __init__(self, ordinal: int = 0, library: str = LIBRARY) -> None:
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as error:
            raise DriverError(f"no NVIDIA driver: {error}") from None
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), ordinal)
        self._device = device
        self.name = self._device_name()
        self.arch = "sm_" + "".join(str(self._attribute(number)) for number in (_MAJOR, _MINOR))
        self._retain()

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cuda.cuDevicePrimaryCtxRelease_v2(self._device)

    @property
    def usable(self) -> bool:
        """False after an error that the context does not survive (an illegal address, say): every call repeats it."""
        return bool(self._cuda.cuCtxSynchronize() == 0)

    def revive(self) -> None:
        """After an error: a new context in place of one that is not `usable`; it may turn out not to be so either."""
        if not self.usable:
            with suppress(DriverError):
                self._call("cuDevicePrimaryCtxReset_v2", self._device)
                self._call("cuDevicePrimaryCtxRelease_v2", self._device)
                self._retain()

    def _retain(self) -> None:
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def _device_name(self) -> str:
        text = ctypes.create_string_buffer(128)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode()

    def launch(self, artifact: Artifact, contents: Mapping[str, Bytes], times: int = 1) -> dict[str, Bytes]:
        """Load the artifact and launch it ``times`` times; what its arguments hold then, by name.

        contents : initial bytes by name; what is not given is poison, counters are zero. Raises `DriverError` for a
        launch that fails, and `AssertionError` for writes around the buffers.
        """
        assert artifact.launch is not None
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(artifact.code))
        buffers: list[Buffer] = []
        try:
            self._call("cuModuleGetFunction", ctypes.byref(function), module, artifact.entry.encode())
            self._call("cuFuncSetAttribute", function, _DYNAMIC_SHARED, artifact.launch.shared_bytes)
            for arg in artifact.args:
                initial = contents.get(arg.name)
                if initial is None:
                    initial = np.full(arg.nbytes, 0 if arg.role is Role.COUNTERS else POISON, np.uint8)
                assert initial.size == arg.nbytes, f"{arg.name}: {initial.size} bytes, not {arg.nbytes}"
                buffers.append(self._allocate(initial))
            for _ in range(times):
                self._launch(function, artifact, buffers)
            self._call("cuCtxSynchronize")
            return {arg.name: self._read(arg.name, b) for arg, b in zip(artifact.args, buffers, strict=True)}
        finally:
            for buffer in buffers:
                self._cuda.cuMemFree_v2(ctypes.c_uint64(buffer.base))
            self._cuda.cuModuleUnload(module)

    def _launch(self, function: ctypes.c_void_p, artifact: Artifact, buffers: Sequence[Buffer]) -> None:
        launch = artifact.launch
        assert launch is not None
        values = [ctypes.c_uint64(buffer.address) for buffer in buffers]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        self._call(
            "cuLaunchKernel", function, *launch.grid, launch.threads, 1, 1, launch.shared_bytes, None, pointers, None
        )

    def _allocate(self, initial: Bytes) -> Buffer:
        guard = np.full(GUARD_BYTES, POISON, np.uint8)
        whole = np.concatenate([guard, initial, guard])
        base = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(base), ctypes.c_size_t(whole.size))
        self._call("cuMemcpyHtoD_v2", base, ctypes.c_void_p(whole.ctypes.data), ctypes.c_size_t(whole.size))
        return Buffer(base.value, initial.size)

    def _read(self, name: str, buffer: Buffer) -> Bytes:
        whole = np.empty(buffer.nbytes + 2 * GUARD_BYTES, np.uint8)
        base = ctypes.c_uint64(buffer.base)
        self._call("cuMemcpyDtoH_v2", ctypes.c_void_p(whole.ctypes.data), base, ctypes.c_size_t(whole.size))
        around = np.concatenate([whole[:GUARD_BYTES], whole[GUARD_BYTES + buffer.nbytes :]])
        assert (around == POISON).all(), f"{name}: the kernel wrote outside of its {buffer.nbytes} bytes"
        return whole[GUARD_BYTES : GUARD_BYTES + buffer.nbytes]

    def _attribute(self, number: int) -> int:
        found = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(found), number, self._device)
        return found.value

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            raise DriverError(f"{name}: {(text.value or b'unknown error').decode()} ({code})", code)
