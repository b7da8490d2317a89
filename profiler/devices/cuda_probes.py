"""The small kernels that timing takes beside the kernel that is timed; what they do is written in `cuda_probes.ptx`."""

from __future__ import annotations

import pkgutil

import numpy as np

from profiler.devices.cuda_driver import CudaDriver, Flag
from profiler.errors import DeviceError

TOUCH_STEP_BYTES = 16
"""`Probes.touch` reads in pieces of this size."""
_TOUCH_THREADS = 256
_RELEASED = 1  # what the spinning kernel writes if it saw its flag
_SEEN_WITHIN_S = 0.2
_RESULT_BYTES = 16


def probe_code() -> bytes:
    """The PTX text, also where this package lies in a zip file."""
    code = pkgutil.get_data("profiler.devices", "cuda_probes.ptx")
    assert code is not None
    return code


class Probes:
    """The loaded probe kernels and the memory that they write. Every call puts one kernel into the stream.

    Raises `DeviceError` if they do not work there. All of them have run when this is made: a kernel that runs for the
    first time behind a spinning one may have to be loaded, for which the driver may wait until the GPU is idle.
    """

    def __init__(self, driver: CudaDriver) -> None:
        self._driver = driver
        module = driver.load(probe_code())
        self._spin, self._touch, self._clock, self._nothing = (
            driver.function(module, name) for name in ("spin", "touch", "clock", "nothing")
        )
        gpu = driver.properties
        blocks = gpu.multiprocessor_count * (gpu.max_threads_per_multiprocessor // _TOUCH_THREADS)
        self._whole_gpu = (blocks, 1, 1)
        self._flag: Flag = driver.flag()
        self._result = driver.allocate(3 * _RESULT_BYTES)
        self._outcome, self._sink, self._clocks = (self._result + i * _RESULT_BYTES for i in range(3))
        driver.fill(self._result, 0, 3 * _RESULT_BYTES)
        self._warm_up()

    def _warm_up(self) -> None:
        self.touch(self._result, _RESULT_BYTES)
        self.clock(1e-6)
        self.nothing()
        self._flag.set(1)
        self._launch(self._spin, self._flag.address, 0, self._outcome)
        self._driver.wait()
        self.spin(_SEEN_WITHIN_S)
        self.release()
        if not self.was_released():
            name = self._driver.properties.name
            raise DeviceError(f"{name} does not see what is written to host memory while a kernel runs")

    def spin(self, limit_s: float) -> None:
        """Hold the stream until `release`, but no longer than the limit. The kernel before has ended."""
        self._flag.set(0)
        self._launch(self._spin, self._flag.address, round(limit_s * 1e9), self._outcome)

    def release(self) -> None:
        """What waits behind the spinning kernel begins."""
        self._flag.set(1)

    def was_released(self) -> bool:
        """Whether the last spinning kernel ended by `release` and not by its limit; waits for the stream."""
        return int(self._driver.read(self._outcome, 4).view("<u4")[0]) == _RELEASED

    def touch(self, address: int, nbytes: int) -> None:
        """Read memory through L2. Both numbers are multiples of `TOUCH_STEP_BYTES`."""
        self._driver.launch(self._touch, self._whole_gpu, _TOUCH_THREADS, 0, (address, nbytes, self._sink))

    def clock(self, duration_s: float) -> None:
        """Count cycles of an SM for that long; `clock_mhz` has the result."""
        self._launch(self._clock, round(duration_s * 1e9), self._clocks)

    def clock_mhz(self) -> float:
        """The SM clock during the last `clock`; waits for the stream."""
        elapsed_ns, cycles = (int(n) for n in self._driver.read(self._clocks, 16).view(np.dtype("<u8")))
        return 1e3 * cycles / elapsed_ns

    def nothing(self) -> None:
        """An empty kernel."""
        self._launch(self._nothing, 0)

    def _launch(self, function: object, *arguments: int) -> None:
        self._driver.launch(function, (1, 1, 1), 1, 0, arguments)
