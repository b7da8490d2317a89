"""Every error of the CUDA driver that a user can meet: what happened, what to do, and whose fault it is.

Numbers and names are those of CUresult in cuda.h, which never change their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profiler.devices.cuda_driver import DriverError
from profiler.devices.protocol import KernelFailure
from profiler.devices.worker_loop import LastFailure
from profiler.errors import DeviceError, ProfilerError
from profiler.record import FailureKind


@dataclass(frozen=True)
class CudaError:
    """An entry of the table.

    name : without ``CUDA_ERROR_``. kind : how it counts against the kernel at hand; None if no kernel would fare
    better, so that the device is to blame. context_survives : whether the process can go on after it.
    """

    name: str
    happened: str
    advice: str
    kind: FailureKind | None
    context_survives: bool = True


_MEMORY_BUG = "a defect of the kernel or of its template: please report it with its config"
_REBUILD = "compile for this GPU (make profile GPU=...)"
_OLD_DRIVER = "update the driver, or compile with an older CUDA (CUDA=12)"
_WHO = "`nvidia-smi` shows who uses the card"
_RESET = "see `nvidia-smi -q` and dmesg; reset the card (sudo nvidia-smi --gpu-reset) or restart the machine"
_REPORT = "please report it"
_MPS = "see the log of the MPS server, or stop it (echo quit | nvidia-cuda-mps-control)"


# Number: name, what happened, what to do. By who is to blame and whether the context survives.
_REFUSED: Mapping[int, tuple[str, str, str]] = {
    1: (
        "INVALID_VALUE",
        "the driver refuses the launch",
        "its grid, block or shared memory is beyond this GPU's limits",
    ),
    200: ("INVALID_IMAGE", "the driver cannot read the code", _OLD_DRIVER),
    209: ("NO_BINARY_FOR_GPU", "the code is not for this model of GPU", _REBUILD),
    218: ("INVALID_PTX", "the driver's compiler refuses the code", _OLD_DRIVER),
    300: ("INVALID_SOURCE", "the driver refuses the code as damaged", "build it again"),
    301: ("FILE_NOT_FOUND", "the driver misses a file", "install the driver completely"),
    400: ("INVALID_HANDLE", "the driver does not know what it was given", _REPORT),
    500: ("NOT_FOUND", "the code has no kernel of that name", "build it again"),
    600: ("NOT_READY", "the GPU was asked before it was done", _REPORT),
    701: ("LAUNCH_OUT_OF_RESOURCES", "the kernel takes more registers or arguments than a launch may", _REBUILD),
    720: ("COOPERATIVE_LAUNCH_TOO_LARGE", "the blocks do not fit the GPU together", _REBUILD),
    801: ("NOT_SUPPORTED", "this GPU or driver cannot do what the kernel asks", _REBUILD),
    900: ("STREAM_CAPTURE_UNSUPPORTED", "the driver cannot make a graph of the launches", _REPORT),
    901: ("STREAM_CAPTURE_INVALIDATED", "the driver could not make a graph of the launches", _REPORT),
    906: ("STREAM_CAPTURE_IMPLICIT", "the driver could not make a graph of the launches", _REPORT),
}
_THIS_TIME: Mapping[int, tuple[str, str, str]] = {
    2: ("OUT_OF_MEMORY", "the GPU's memory is full", f"{_WHO}; else measure fewer kernels at once or a smaller batch"),
}
_CRASHED: Mapping[int, tuple[str, str, str]] = {
    226: ("CONTAINED", "a hardware error was contained", _RESET),
    700: ("ILLEGAL_ADDRESS", "illegal memory access: the kernel left its own memory", _MEMORY_BUG),
    709: ("CONTEXT_IS_DESTROYED", "the context is gone", "nothing, if an error came before it"),
    710: ("ASSERT", "an assertion in the kernel failed", _MEMORY_BUG),
    714: ("HARDWARE_STACK_ERROR", "the kernel's stack is corrupt or too small", _MEMORY_BUG),
    715: ("ILLEGAL_INSTRUCTION", "the kernel has an instruction that this GPU does not know", _REBUILD),
    716: ("MISALIGNED_ADDRESS", "misaligned memory access in the kernel", _MEMORY_BUG),
    717: ("INVALID_ADDRESS_SPACE", "the kernel took one kind of memory for another", _MEMORY_BUG),
    718: ("INVALID_PC", "the kernel jumped out of its code", _MEMORY_BUG),
    719: ("LAUNCH_FAILED", "the kernel crashed (often an access outside of shared memory)", _MEMORY_BUG),
    721: ("TENSOR_MEMORY_LEAK", "the kernel ended without giving its tensor memory back", _MEMORY_BUG),
    999: ("UNKNOWN", "the driver does not say what happened", f"if it comes again: {_RESET}"),
}
_TIMED_OUT: Mapping[int, tuple[str, str, str]] = {
    702: (
        "LAUNCH_TIMEOUT",
        "the driver ended the kernel, because it ran too long on a GPU that also draws a screen",
        "measure on a GPU without a screen, or end the desktop",
    ),
}
_DEVICE: Mapping[int, tuple[str, str, str]] = {
    3: ("NOT_INITIALIZED", "the driver is not initialized", _REPORT),
    4: ("DEINITIALIZED", "the driver is shutting down", "start again"),
    34: ("STUB_LIBRARY", "libcuda.so is a stub for linking", "take the stubs folder off LD_LIBRARY_PATH"),
    36: ("CALL_REQUIRES_NEWER_DRIVER", "the driver is too old", "update the driver"),
    46: ("DEVICE_UNAVAILABLE", "the GPU is taken, or its compute mode lets nobody in", _WHO),
    100: ("NO_DEVICE", "no GPU is to be seen", "see `nvidia-smi`, CUDA_VISIBLE_DEVICES, and docker run --gpus all"),
    101: ("INVALID_DEVICE", "there is no such GPU", "`nvidia-smi -L` lists those that there are"),
    102: ("DEVICE_NOT_LICENSED", "the virtual GPU has no license", "ask who runs the machine for a vGPU license"),
    201: ("INVALID_CONTEXT", "there is no context on the GPU", _REPORT),
    214: ("ECC_UNCORRECTABLE", "the GPU's memory has an error that ECC cannot correct", _RESET),
    220: ("NVLINK_UNCORRECTABLE", "NVLink has an error that cannot be corrected", _RESET),
    221: ("JIT_COMPILER_NOT_FOUND", "the driver lacks its compiler", "install libnvidia-ptxjitcompiler of the driver"),
    222: ("UNSUPPORTED_PTX_VERSION", "the code was made by a newer CUDA than the driver knows", _OLD_DRIVER),
    223: ("JIT_COMPILATION_DISABLED", "the driver may not compile", "unset CUDA_DISABLE_PTX_JIT"),
    302: ("SHARED_OBJECT_SYMBOL_NOT_FOUND", "the driver's libraries do not fit together", "install the driver again"),
    303: ("SHARED_OBJECT_INIT_FAILED", "one of the driver's libraries does not start", "install the driver again"),
    304: ("OPERATING_SYSTEM", "the system refused a call of the driver", "see dmesg, and the limits of the container"),
    800: ("NOT_PERMITTED", "the driver does not permit it", "see the rights of /dev/nvidia* and of the container"),
    802: ("SYSTEM_NOT_READY", "the machine is not ready for CUDA", "start nvidia-fabricmanager, which NVSwitch needs"),
    803: (
        "SYSTEM_DRIVER_MISMATCH",
        "the driver's module and its libraries are of different versions",
        "restart the machine after an update; in a container, use one with the host's driver",
    ),
    804: (
        "COMPAT_NOT_SUPPORTED_ON_DEVICE",
        "the package cuda-compat does not work with this GPU",
        "take its folder off LD_LIBRARY_PATH",
    ),
    805: ("MPS_CONNECTION_FAILED", "the MPS server does not answer", _MPS),
    806: ("MPS_RPC_FAILURE", "the MPS server does not answer", _MPS),
    807: ("MPS_SERVER_NOT_READY", "the MPS server recovers from a failure", _MPS),
    808: ("MPS_MAX_CLIENTS_REACHED", "the MPS server has too many clients", _MPS),
    809: ("MPS_MAX_CONNECTIONS_REACHED", "the MPS server has too many connections", _MPS),
    810: ("MPS_CLIENT_TERMINATED", "the MPS server ended this process's work", _MPS),
    911: ("EXTERNAL_DEVICE", "a device beside the GPU failed, and the GPU's work with it", _RESET),
}

ERRORS: Mapping[int, CudaError] = {
    code: CudaError(name, happened, advice, kind, survives)
    for entries, kind, survives in (
        (_REFUSED, FailureKind.LAUNCH, True),
        (_THIS_TIME, FailureKind.UNSTABLE, True),
        (_CRASHED, FailureKind.CRASH, False),
        (_TIMED_OUT, FailureKind.TIMEOUT, False),
        (_DEVICE, None, False),
    )
    for code, (name, happened, advice) in entries.items()
}


def describe(error: DriverError) -> str:
    """One line: what happened, which error of which call, what to do."""
    known = ERRORS.get(error.code)
    if known is None:
        return f"{error.text or 'an unknown error'} (error {error.code} of {error.call}); {_REPORT}"
    return f"{known.happened} (CUDA_ERROR_{known.name}, {error.code}, {error.call}): {known.advice}"


def failure(error: DriverError, doing: str = "") -> ProfilerError | KernelFailure:
    """What to raise for an error that came up while a kernel was dealt with; ``doing``: e.g. ``loading the code``.

    A `KernelFailure`, a `LastFailure` if the context is lost, or a `DeviceError`. Nothing is known of the context
    after an unknown error, so that one is the last.
    """
    known = ERRORS.get(error.code)
    text = f"{doing}: {describe(error)}" if doing else describe(error)
    if known is None:
        return LastFailure(FailureKind.CRASH, text)
    if known.kind is None:
        return DeviceError(text)
    return KernelFailure(known.kind, text) if known.context_survives else LastFailure(known.kind, text)
