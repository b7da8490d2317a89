"""Run by test_nvml.py in a process of its own: what the real pynvml and `libnvml.c` give, as Python literals."""

from __future__ import annotations

from profiler.devices.clock_lock import locked_clocks
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.nvml import Nvml


def main() -> None:
    (gpu,) = Nvml().gpus()
    with GpuMonitor(Nvml(), gpu.uuid) as monitor:
        print(gpu)
        print(monitor.facts())
        print(monitor.state(own_pids=(1,)))
        with locked_clocks(Nvml(), gpu.uuid):
            print(monitor.state().sm_clock_mhz)
        print(monitor.state().sm_clock_mhz)


if __name__ == "__main__":
    main()
