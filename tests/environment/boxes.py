"""Machines for the doctor: folders that look like /proc, /sys and /dev, NVIDIA's libraries played."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from profiler.devices.discover import Vendor
from profiler.devices.nvml import Nvml
from profiler.environment.check_driver import Places
from profiler.environment.cuda_probe import CudaAnswer
from profiler.environment.doctor import examine
from profiler.environment.findings import Finding, Report
from profiler.environment.machine import Machine
from profiler.hardware import CpuSpec, DotIsa
from profiler.kernels.cpu.c_compiler import CCompiler, c_compiler
from tests.devices.fake_nvml import FakeGpu, FakeNvml

CPU = CpuSpec("Some CPU (1/2/3)", DotIsa.AVX2, frozenset({"avx2"}), "0x1", 2, None, None, None)
REQUIREMENTS = ("apache-tvm==0.27", "apache-tvm-ffi==0.1.14", "numpy<3,>=1.26")
PACKAGES = {
    "apache-tvm": "0.27",
    "apache-tvm-ffi": "0.1.14",
    "nvidia-cuda-nvrtc-cu12": "12.9.86",
    "nvidia-cuda-nvdisasm": "13.5.37",
    "pycuda": "2026.1",
}
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Thu Oct 19 18:56:32 UTC 2023\nGCC version:  gcc 11.4\n"
BUS_ID = "0000:00:1E.0"


@dataclass(frozen=True)
class FakeCompiler:
    identity: str = "nvrtc 12.9.86"
    known: tuple[str, ...] = ("sm_50", "sm_75", "sm_90")

    def archs(self) -> tuple[str, ...]:
        return self.known


@dataclass(frozen=True)
class FakeDisassembler:
    version: str = "13.5.37"


def no_library() -> Any:
    raise ImportError("No module named 'pynvml'")


@dataclass
class Box:
    """A healthy machine with a T4, to be spoiled. Where it is bare, there is no trace of a GPU."""

    folder: Path
    bare: bool = False
    nvml: FakeNvml | None = None
    packages: dict[str, str] = field(default_factory=lambda: dict(PACKAGES))
    cuda: CudaAnswer = field(default_factory=lambda: CudaAnswer(loaded=True, pci_bus_ids=(BUS_ID,)))
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.write("proc/version", "Linux version 5.15.0-1084-aws (gcc 11.4.0)\n")
        self.write("proc/loadavg", "0.05 0.02 0.01 1/300 4242\n")
        self.write("python/Python.h", "")
        self.folder.joinpath("tmp").mkdir()
        if self.bare:
            self.cuda = CudaAnswer(trouble="libcuda.so.1: cannot open shared object file")
            return
        self.nvml = self.nvml or FakeNvml(gpus=[FakeGpu()])
        self.write("sys/bus/pci/devices/0000:00:1e.0/vendor", "0x10de\n")
        self.write("sys/bus/pci/devices/0000:00:1e.0/device", "0x1eb8\n")
        self.write("sys/bus/pci/devices/0000:00:1e.0/class", "0x030200\n")
        self.write("sys/bus/pci/devices/0000:00:1e.1/vendor", "0x10de\n")  # its sound
        self.write("sys/bus/pci/devices/0000:00:1e.1/class", "0x040300\n")
        self.write("sys/bus/pci/devices/0000:00:1f.0/vendor", "0x8086\n")
        self.write("sys/bus/pci/devices/0000:00:1f.0/class", "0x030000\n")
        self.write("proc/driver/nvidia/version", MODULE.format("535.129.03"))
        for name in ("nvidiactl", "nvidia0", "nvidia-uvm"):
            self.write(f"dev/{name}", "")

    @property
    def card(self) -> FakeGpu:
        assert self.nvml is not None
        return self.nvml.gpus[0]

    def write(self, path: str, text: str) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).unlink()

    def machine(self) -> Machine:
        places = Places(
            self.folder / "proc",
            self.folder / "sys",
            self.folder / "dev",
            self.folder / ".dockerenv",
            self.folder / "cgroup",
        )
        healthy = Machine(
            places=places,
            system="Linux",
            architecture="x86_64",
            python=".venv/bin/python",
            python_version=(3, 10, 12),
            virtual_environment=True,
            python_headers=self.folder / "python",
            cpu=CPU,
            allowed_cores=2,
            temporary=self.folder / "tmp",
            requirements=REQUIREMENTS,
            environment={},
            free_bytes=lambda folder: 50 << 30,
            version_of=self.packages.get,
            which=lambda name: f"/usr/bin/{name}",
            may_open=lambda path: True,
            group_of=lambda path: "root",
            c_compiler=_this_c_compiler,
            cuda_compiler=lambda cuda: FakeCompiler(),  # type: ignore[arg-type,return-value]
            disassembler=FakeDisassembler,  # type: ignore[arg-type]
            ask_cuda=lambda: self.cuda,
            why_not_importable=lambda module: "",
        )
        return replace(healthy, **self.changes)

    def vendor(self) -> Vendor:
        nvml = self.nvml
        package = "json" if "pycuda" in self.packages else "a_package_that_is_not_here"
        return Vendor(Nvml(load=no_library if nvml is None else lambda: nvml), package=package)

    def examine(self, device: str = "t4") -> Report:
        return examine(device, self.folder / "out" / "of" / "run", self.vendor(), self.machine())

    def finding(self, topic: str, device: str = "t4") -> Finding:
        (found,) = (finding for finding in self.examine(device).findings if finding.topic == topic)
        return found


def _this_c_compiler() -> CCompiler:
    return c_compiler()
