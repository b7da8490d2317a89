"""What the doctor says of healthy machines, bare ones, and such with a single defect."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from profiler.cli.doctor_table import print_report, report_json
from profiler.environment.cuda_probe import CudaAnswer
from profiler.environment.doctor import examine
from profiler.environment.findings import Finding, Report, Verdict, missing
from profiler.hardware import CpuSpec, DotIsa
from profiler.kernels.cpu.c_compiler import CCompiler
from profiler.kernels.toolchain import ToolchainError
from tests.devices.fake_nvml import (
    APPLICATIONS_CLOCKS_SETTING,
    DRIVER_NOT_LOADED,
    GPU_IDLE,
    HW_THERMAL_SLOWDOWN,
    LIBRARY_NOT_FOUND,
    NOT_SUPPORTED,
    SW_POWER_CAP,
    VERSION_MISMATCH,
    FakeGpu,
    FakeNvml,
    FakeProcess,
)
from tests.environment.boxes import CPU, MODULE, Box, FakeCompiler

Spoil = Callable[[Box], None]


def shown(report: Report) -> str:
    out = io.StringIO()
    print_report(report, Console(file=out, width=80, highlight=False))
    return out.getvalue()


def test_a_healthy_t4(tmp_path: Path) -> None:
    report = Box(tmp_path).examine("t4")
    assert report.ready
    assert all(finding.verdict is Verdict.OK for finding in report.findings), shown(report)
    text = shown(report)
    for fact in (
        "Tesla T4 (t4), GPU-1a2b3c4d", "compute capability 7.5", "0000:00:1e.0 (10de:1eb8)", "nvidia 535.129.03",
        "CUDA 12.2", "nvrtc 12.9.86", "VBIOS 90.04.96.00.A0, ECC on", "70 W", "SM 1590 of 1590 MHz", "45 degrees C",
        "base clock 585 MHz", "PyCUDA 2026.1", "nvdisasm 13.5.37", "nobody else",
    ):  # fmt: skip
        assert fact in text, fact
    assert "0000:00:1e.1" not in text, "the card's sound"
    assert text.splitlines()[-1] == "ready: make profile GPU=t4 (measures Tesla T4 (t4, index 0))"


@pytest.mark.parametrize("device", ["auto", "0", "GPU-1a2b", "T4"])
def test_a_healthy_t4_by_other_names(tmp_path: Path, device: str) -> None:
    report = Box(tmp_path).examine(device)
    assert report.ready
    assert report.measured == "Tesla T4 (t4, index 0)"


def test_a_bare_laptop(tmp_path: Path) -> None:
    """One line on the GPU, not ten errors."""
    box = Box(tmp_path, bare=True)
    for device in ("auto", "cpu"):
        report = box.examine(device)
        assert report.ready
        assert report.measured == "Some CPU (1/2/3) (cpu)"
        (line,) = (finding.text for finding in report.findings if finding.topic == "GPU")
        assert line.startswith("no NVIDIA GPU: none on the PCI bus, no driver")
        topics = {finding.topic for finding in report.findings}
        assert not topics & {"PCI", "module", "files", "libcuda", "NVML", "NVRTC", "PyCUDA"}


def test_t4_on_a_bare_laptop(tmp_path: Path) -> None:
    """What is not here, what is, and the ways on."""
    report = Box(tmp_path, bare=True).examine("t4")
    assert not report.ready
    (finding,) = report.missing
    assert finding.topic == "GPU=t4"
    assert "there is no t4 on this machine" in finding.text
    assert "Some CPU" in finding.text
    ways = " ".join(finding.remedies)
    for way in (
        "make profile GPU=t4",
        "make bundle GPU=t4",
        "--device t4",
        "make kernels GPU=t4",
        "make profile GPU=cpu",
    ):
        assert way in ways
    assert shown(report).splitlines()[-1] == "not ready for GPU=t4: 1 thing missing"
    assert not any("docker" in remedy for remedy in finding.remedies)


def test_t4_in_a_container_without_it(tmp_path: Path) -> None:
    """The card may be in the host."""
    box = Box(tmp_path, bare=True)
    box.write(".dockerenv", "")
    (finding,) = box.examine("t4").missing
    assert "docker run --gpus all" in finding.remedies[0]


def test_t4_behind_a_driver_that_does_not_answer(tmp_path: Path) -> None:
    """Nobody claims that the card is not here."""
    box = Box(tmp_path)
    silent(DRIVER_NOT_LOADED)(box)
    finding = box.finding("GPU=t4")
    assert finding.verdict is Verdict.MISSING
    assert "there is no t4" not in finding.text
    assert "Driver Not Loaded" in finding.text
    assert "mend what is missing above" in finding.remedies[0]


def test_another_card_is_here(tmp_path: Path) -> None:
    box = Box(tmp_path, nvml=FakeNvml(gpus=[FakeGpu(name="NVIDIA A100-SXM4-40GB", capability=(8, 0))]))
    (finding,) = box.examine("t4").missing
    assert "NVIDIA A100-SXM4-40GB (a100, index 0)" in finding.text
    assert any("make bundle" in remedy for remedy in finding.remedies)


def test_a_selector_that_means_nothing(tmp_path: Path) -> None:
    (finding,) = Box(tmp_path).examine("t44").missing
    assert "unknown device 't44'" in finding.text
    assert "make devices" in finding.remedies[0]


def test_cpu_where_a_gpu_is(tmp_path: Path) -> None:
    """The card is named; how it is does not matter."""
    box = Box(tmp_path)
    box.card.compute_mode = 2
    report = box.examine("cpu")
    assert report.ready
    assert report.measured == "Some CPU (1/2/3) (cpu)"
    assert "Tesla T4 (t4, index 0)" in box.finding("GPU", "cpu").text
    assert "PyCUDA" not in shown(report)


# ---- one defect each: topic of the finding, its verdict, words of its text, words of its remedy


def change(**changes: Any) -> Spoil:
    return lambda box: box.changes.update(changes)


def card(**changes: Any) -> Spoil:
    def spoil(box: Box) -> None:
        for name, value in changes.items():
            assert hasattr(box.card, name)
            setattr(box.card, name, value)

    return spoil


def without(*packages: str) -> Spoil:
    def spoil(box: Box) -> None:
        for package in packages:
            del box.packages[package]

    return spoil


def driver(version: str, cuda: int) -> Spoil:
    def spoil(box: Box) -> None:
        assert box.nvml
        box.nvml.driver, box.nvml.cuda_version = version, cuda
        box.write("proc/driver/nvidia/version", MODULE.format(version))

    return spoil


def cuda(**answer: Any) -> Spoil:
    def spoil(box: Box) -> None:
        box.cuda = CudaAnswer(**answer)

    return spoil


def silent(code: int, *gone: str) -> Spoil:
    """NVML does not answer, and files are not there."""

    def spoil(box: Box) -> None:
        assert box.nvml
        box.nvml.refusals["nvmlInit"] = code
        box.remove(*gone)

    return spoil


def hidden_by_variable(box: Box) -> None:
    box.changes["environment"] = {"CUDA_VISIBLE_DEVICES": "1"}
    box.cuda = CudaAnswer(loaded=True, error=100)


def in_container(spoil: Spoil) -> Spoil:
    def both(box: Box) -> None:
        box.write(".dockerenv", "")
        spoil(box)

    return both


def with_nouveau(box: Box) -> None:
    silent(DRIVER_NOT_LOADED, "proc/driver/nvidia/version", "dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm")(box)
    (box.folder / "sys/module/nouveau").mkdir(parents=True)


def no_nodes(box: Box) -> None:
    silent(LIBRARY_NOT_FOUND, "dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm")(box)


def no_permission(box: Box) -> None:
    silent(4)(box)
    change(may_open=lambda path: False, group_of=lambda path: "video")(box)


def broken_tool(*_: object) -> Any:
    raise ToolchainError("/x/libnvrtc.so.12 is missing; install it again: pip install it")


MODULE_GONE = ("proc/driver/nvidia/version", "dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm")
M, N = Verdict.MISSING, Verdict.NOTE

DEFECTS: dict[str, tuple[Spoil, str, Verdict, str, str]] = {
    "another system": (change(system="Darwin"), "system", M, "Darwin", "Linux on x86-64 or aarch64"),
    "another architecture": (change(architecture="riscv64"), "system", M, "riscv64", "aarch64"),
    "old Python": (change(python_version=(3, 8, 10)), "Python", M, "3.8.10", "PYTHON="),
    "new Python": (change(python_version=(3, 14, 0)), "Python", M, "3.10 to 3.13", "PYTHON="),
    "no environment": (change(virtual_environment=False), "Python", N, "outside", "make doctor"),
    "no C compiler": (change(c_compiler=lambda: None), "C compiler", M, "none", "apt-get install gcc libc6-dev"),
    "broken C compiler": (change(c_compiler=lambda: CCompiler("false")), "C compiler", M, "pthread.h", "apt-get"),
    "full disk": (change(free_bytes=lambda _: 10 << 20), "output", M, "0.0 GiB", "OUT="),
    "little disk": (change(free_bytes=lambda _: 1 << 30), "output", N, "1.0 GiB", "OUT="),
    "no temporary folder": (change(temporary=Path("/nowhere")), "temporary", M, "/nowhere", "TMPDIR"),
    "no TVM": (without("apache-tvm"), "TVM", M, "apache-tvm", "pip install apache-tvm==0.27 apache-tvm-ffi==0.1.14"),
    "another TVM": (lambda b: b.packages.update({"apache-tvm": "0.28"}), "TVM", M, "0.28", "apache-tvm==0.27"),
    "no NVRTC": (without("nvidia-cuda-nvrtc-cu12"), "NVRTC", N, "not installed yet", "make profile GPU=t4"),
    "broken NVRTC": (change(cuda_compiler=broken_tool), "NVRTC", M, "libnvrtc.so.12 is missing", "--force-reinstall"),
    "NVRTC older than the card": (
        change(cuda_compiler=lambda _: FakeCompiler(known=("sm_50", "sm_70"))), "NVRTC", M,
        "does not know sm_75", "--upgrade",
    ),
    "broken nvdisasm": (change(disassembler=broken_tool), "nvdisasm", M, "missing", "nvidia-cuda-nvdisasm"),
    "PyCUDA to be built": (without("pycuda"), "PyCUDA", N, "not installed yet", "make profile GPU=t4"),
    "PyCUDA that is broken": (
        change(why_not_importable=lambda m: f"ImportError of {m}"), "PyCUDA", M, "json.driver", "--force",
    ),
    "card on the bus alone": (silent(LIBRARY_NOT_FOUND, *MODULE_GONE), "module", M, "not loaded", "modprobe nvidia"),
    "nouveau": (with_nouveau, "module", M, "nouveau", "nvidia-driver"),
    "no device files": (no_nodes, "files", M, "nvidiactl", "nvidia-modprobe"),
    "half of the device files": (
        silent(LIBRARY_NOT_FOUND, "dev/nvidia0"), "files", M, "nvidia0 is not there", "nvidia-modprobe",
    ),
    "no permission": (no_permission, "files", M, "may not open", "usermod -aG video $USER"),
    "container without the GPU": (in_container(no_nodes), "container", M, "without the GPU", "docker run --gpus all"),
    "container without CUDA": (
        in_container(cuda(trouble="libcuda.so.1: cannot open")), "libcuda", M, "cannot open", "compute,utility",
    ),
    "no libcuda": (cuda(trouble="libcuda.so.1: cannot open"), "libcuda", M, "cannot open", "libnvidia-compute"),
    "CUDA hangs": (cuda(loaded=True, trouble="it did not answer"), "libcuda", M, "did not answer", "restart"),
    "half an update": (cuda(loaded=True, error=803), "libcuda", M, "different versions", "restart"),
    "unknown error of CUDA": (cuda(loaded=True, error=777), "libcuda", M, "777", "report"),
    "NVML after an update": (silent(VERSION_MISMATCH), "NVML", M, "version mismatch", "restart the machine"),
    "no pynvml": (lambda b: setattr(b, "nvml", None), "NVML", M, "nvidia-ml-py", "pip install nvidia-ml-py"),
    "old driver": (driver("470.82.01", 11040), "driver", M, "470.82.01", "nvidia-driver-535"),
    "driver of an early CUDA 12": (driver("525.53", 12000), "driver", M, "525.60.13", "nvidia-driver-535"),
    "hidden": (hidden_by_variable, "visible", M, "CUDA_VISIBLE_DEVICES='1' hides Tesla T4", "unset CUDA_VISIBLE"),
    "not offered": (cuda(loaded=True), "visible", M, "CUDA does not offer it", "nvidia-smi -q"),
    "power limit": (card(power_limit_w=60.0), "power", N, "60 W, below the card's 70 W", "sudo nvidia-smi -i 0 -pl 70"),
    "no persistence": (card(persistence=False), "persistence", N, "off", "sudo nvidia-smi -i 0 -pm 1"),
    "prohibited": (card(compute_mode=2), "mode", M, "prohibited", "sudo nvidia-smi -i 0 -c DEFAULT"),
    "exclusive": (card(compute_mode=3), "mode", N, "exclusive process", "-c DEFAULT"),
    "MIG": (card(mig=True), "MIG", M, "only whole cards", "-mig 0"),
    "hot": (card(reasons=HW_THERMAL_SLOWDOWN | GPU_IDLE), "held back", N, "now: HwThermalSlowdown", "cooling"),
    "capped": (card(reasons=SW_POWER_CAP), "held back", N, "SwPowerCap", "end what else runs"),
    "application clocks": (card(reasons=APPLICATIONS_CLOCKS_SETTING), "held back", N, "application clocks", "-rac"),
    "shared": (
        card(compute_processes=[FakeProcess(7, "/usr/bin/train"), FakeProcess(8, None)]), "users", N,
        "train (pid 7), hidden (pid 8)", "nvidia-smi -i 0",
    ),
    "no energy counter": (
        card(refusals={"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED}), "NVML", N,
        "energy counter: Not Supported", "",
    ),
    "lost": (card(refusals={"nvmlDeviceGetVbiosVersion": 15}), "NVML", M, "GPU is lost", "restart the machine"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect(name: str, tmp_path: Path) -> None:
    """It is named, with what mends it, and it decides whether a run would work."""
    spoil, topic, verdict, text, remedy = DEFECTS[name]
    box = Box(tmp_path)
    spoil(box)
    report = box.examine("t4")
    found = [finding for finding in report.findings if finding.topic == topic and finding.verdict is verdict]
    assert [finding for finding in found if text in finding.text], shown(report)
    assert remedy in " ".join(r for finding in found for r in finding.remedies)
    assert report.ready == (verdict is not Verdict.MISSING)
    others = [f for f in report.findings if f.topic not in (topic, "GPU=t4") and f.verdict is not Verdict.OK]
    assert others == [], "one cause, one finding"


def test_pycuda_that_cannot_be_built(tmp_path: Path) -> None:
    """Make would try to build it, and fail; also for auto, because it sees a driver."""
    box = Box(tmp_path)
    del box.packages["pycuda"]
    box.changes = {"which": lambda name: None, "python_headers": tmp_path / "nowhere"}
    for device in ("t4", "auto"):
        finding = box.finding("PyCUDA", device)
        assert finding.verdict is Verdict.MISSING
        assert "a C++ compiler and Python.h in" in finding.text
        assert re.fullmatch(r"sudo apt-get install g\+\+ python3\.\d+-dev", finding.remedies[0])
        assert not box.examine(device).ready
    assert box.examine("cpu").ready


def test_auto_falls_back_on_the_cpu(tmp_path: Path) -> None:
    """A card without a driver: that is said, and the run works all the same."""
    box = Box(tmp_path)
    silent(LIBRARY_NOT_FOUND, *MODULE_GONE)(box)
    report = box.examine("auto")
    assert report.ready
    assert report.measured == "Some CPU (1/2/3) (cpu)"
    assert box.finding("module", "auto").verdict is Verdict.NOTE
    assert box.finding("module", "auto").remedies
    assert box.finding("GPU=auto", "auto").verdict is Verdict.NOTE
    assert not box.examine("t4").ready


def test_a_card_that_is_too_old(tmp_path: Path) -> None:
    box = Box(tmp_path, nvml=FakeNvml(gpus=[FakeGpu(name="Tesla V100-SXM2-16GB", capability=(7, 0))]))
    report = box.examine("0")
    assert not report.ready
    (finding,) = report.missing
    assert "compute capability 7.0" in finding.text
    assert "make profile GPU=cpu" in finding.remedies[-1]
    assert box.examine("auto").ready


def test_auto_where_only_an_old_card_is(tmp_path: Path) -> None:
    """It does without the card; but make sees a driver, and builds PyCUDA before anything else."""
    box = Box(tmp_path, nvml=FakeNvml(gpus=[FakeGpu(name="Tesla V100-SXM2-16GB", capability=(7, 0))]))
    del box.packages["pycuda"]
    box.changes = {"which": lambda name: None}
    assert [finding.topic for finding in box.examine("auto").missing] == ["PyCUDA"]
    silent(LIBRARY_NOT_FOUND, *MODULE_GONE)(box)
    assert box.examine("auto").ready


def test_what_nvml_lists_is_there(tmp_path: Path) -> None:
    """However unusual the way to it: a container's /proc may hide the module."""
    box = Box(tmp_path)
    box.remove("proc/driver/nvidia/version")
    assert box.examine("t4").ready
    assert box.finding("module").verdict is Verdict.NOTE


def test_an_old_card_beside_the_t4(tmp_path: Path) -> None:
    other = FakeGpu("Tesla V100-SXM2-16GB", "GPU-9", "00000000:00:05.0", capability=(7, 0))
    box = Box(tmp_path, nvml=FakeNvml(gpus=[other, FakeGpu()]))
    report = box.examine("t4")
    assert report.ready
    assert report.measured == "Tesla T4 (t4, index 1)"
    assert box.finding("GPU 0").verdict is Verdict.NOTE
    assert box.finding("GPU 1").verdict is Verdict.OK


def test_windows(tmp_path: Path) -> None:
    """A Linux under Windows has neither the module nor its files, and works."""
    box = Box(tmp_path)
    box.remove(*MODULE_GONE)
    box.write("proc/version", "Linux version 5.15.167.4-microsoft-standard-WSL2\n")
    box.write("dev/dxg", "")
    report = box.examine("t4")
    assert report.ready, shown(report)
    assert box.finding("WSL").verdict is Verdict.NOTE


def test_the_open_kernel_module(tmp_path: Path) -> None:
    box = Box(tmp_path)
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (dvs-builder@U16)\n"
    box.write("proc/driver/nvidia/version", text)
    assert "nvidia 550.54.14" in box.finding("module").text


def test_the_cpu(tmp_path: Path) -> None:
    box = Box(tmp_path, bare=True)
    box.write("proc/loadavg", "3.50 2.00 1.00 5/300 4242\n")
    box.write("cgroup/cpu.max", "150000 100000\n")
    box.changes["cpu"] = CpuSpec("Old", DotIsa.GENERIC, frozenset({"hypervisor"}), "", 8, None, None, None)
    notes = [f.text for f in box.examine("cpu").findings if f.topic == "CPU" and f.verdict is Verdict.NOTE]
    for words in ("no 8-bit dot product", "virtual machine", "limited to 1.5 CPUs", "load average 3.5"):
        assert sum(words in text for text in notes) == 1
    assert "2 of 8 cores" in notes[0]


def test_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    box = Box(tmp_path, bare=True)
    box.write("out", "a file where the folder should be")
    finding = box.finding("output", "cpu")
    assert finding.verdict is Verdict.MISSING
    assert "OUT=" in finding.remedies[0]


def test_nothing_is_changed(tmp_path: Path) -> None:
    box = Box(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    box.examine("t4")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert box.nvml is not None
    assert not [name for name in box.nvml.calls if "Set" in name or "Reset" in name]
    assert box.nvml.sessions == 0, "every session is closed"


def test_json_has_it_all(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.card.compute_mode = 2
    report = box.examine("t4")
    read = json.loads(json.dumps(report_json(report)))
    assert (read["device"], read["ready"], read["missing"]) == ("t4", False, 1)
    assert read["measured"] == "Tesla T4 (t4, index 0)"
    again = tuple(Finding(f["topic"], Verdict(f["verdict"]), f["text"], tuple(f["remedies"])) for f in read["findings"])
    assert again == report.findings


def test_what_is_printed(tmp_path: Path) -> None:
    """A mark and a word ahead of each line; nothing is cut or read as markup."""
    box = Box(tmp_path)
    box.card.compute_mode = 2
    report = box.examine("t4")
    lines = shown(report).splitlines()
    assert len(lines) == len(report.findings) + sum(len(f.remedies) for f in report.findings) + 1
    assert all(re.match(r"(\+ ok|! note|x missing| +->) ", line) for line in lines[:-1])
    at = next(i for i, line in enumerate(lines) if line.startswith("x missing  mode"))
    assert lines[at + 1].strip() == "-> sudo nvidia-smi -i 0 -c DEFAULT"
    strange = Report("t4", (missing("GPU", "[red]" * 40, "pip install 'x[cuda]'"),))
    assert "[red]" * 40 in shown(strange)
    assert "x[cuda]" in shown(strange)


def test_findings_check_themselves() -> None:
    with pytest.raises(ValueError, match="remedy"):
        missing("GPU", "gone")
    with pytest.raises(ValueError, match="one line"):
        missing("GPU", "two\nlines", "mend")


def test_this_machine() -> None:
    """Whatever is here: a report for every kind of selector, and the CPU can be measured."""
    assert CPU.slug == "cpu"
    for device in ("auto", "cpu", "t4", "0", "GPU-0", "nonsense"):
        report = examine(device)
        assert report.findings[-1].topic == f"GPU={device}"
        assert shown(report)
