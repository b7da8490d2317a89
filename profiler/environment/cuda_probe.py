"""Which GPUs the CUDA driver offers: ``python -m profiler.environment.cuda_probe`` asks it, in a process of its own.

The driver can hang or crash where it does not fit its module, so nobody loads it into a process that has more to do.
No context is made: a card in use is not disturbed.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import asdict, dataclass

LIBRARY = "libcuda.so.1"
_LIMIT_S = 5.0


@dataclass(frozen=True)
class CudaAnswer:
    """``loaded`` : whether libcuda is there. ``error`` : the CUresult of what failed, 0 if nothing did.
    ``pci_bus_ids`` : of the GPUs that it offers, e.g. ``0000:3B:00.0``. ``trouble`` : what went wrong otherwise."""

    loaded: bool = False
    error: int = 0
    pci_bus_ids: tuple[str, ...] = ()
    trouble: str = ""


def ask_cuda(limit_s: float = _LIMIT_S) -> CudaAnswer:
    """Ask in another process. Changes nothing, and never fails."""
    command = [sys.executable, "-m", "profiler.environment.cuda_probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return CudaAnswer(loaded=True, trouble=f"it did not answer within {limit_s:g} s")
    except OSError as error:
        return CudaAnswer(trouble=f"{sys.executable} cannot be started: {error.strerror}")
    if done.returncode:
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return CudaAnswer(loaded=True, trouble=f"the process that asked it ended with {ended}")
    said = json.loads(done.stdout)
    return CudaAnswer(said["loaded"], said["error"], tuple(said["pci_bus_ids"]), said["trouble"])


def _ask() -> CudaAnswer:
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return CudaAnswer(trouble=str(error))
    count = ctypes.c_int()
    code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return CudaAnswer(loaded=True, error=code)
    ids = []
    for index in range(count.value):
        device, text = ctypes.c_int(), ctypes.create_string_buffer(32)
        code = cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceGetPCIBusId(text, len(text), device)
        if code:
            return CudaAnswer(loaded=True, error=code)
        ids.append(text.value.decode().upper())
    return CudaAnswer(True, 0, tuple(ids))


if __name__ == "__main__":
    print(json.dumps(asdict(_ask())))
