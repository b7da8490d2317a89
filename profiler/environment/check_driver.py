"""The way to a GPU: the card on its bus, the kernel's module, the device files, the driver's library."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from profiler.cuda_versions import OLDEST
from profiler.devices.cuda_driver import DriverError
from profiler.devices.cuda_errors import describe
from profiler.environment.cuda_probe import LIBRARY, CudaAnswer
from profiler.environment.findings import Finding, missing, note, ok

_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"
_NO_DEVICE = 100
INSTALL_DRIVER = "sudo apt-get install nvidia-driver-535-server, then sudo reboot (Ubuntu; elsewhere NVIDIA's own page)"
INTO_CONTAINER = "docker run --gpus all ... (the host needs the driver and nvidia-container-toolkit)"


@dataclass(frozen=True)
class Places:
    """Where Linux shows hardware and drivers."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    dockerenv: Path = Path("/.dockerenv")
    cgroup: Path = Path("/sys/fs/cgroup")

    @property
    def kernel_module(self) -> Path:
        return self.proc / "driver" / "nvidia" / "version"

    @property
    def control(self) -> Path:
        return self.dev / "nvidiactl"

    @property
    def has_nouveau(self) -> bool:
        """Whether the kernel runs that driver."""
        return (self.sysfs / "module" / "nouveau").exists()

    @property
    def wsl_gpu(self) -> Path:
        """How Windows shows its GPUs to its Linux."""
        return self.dev / "dxg"


@dataclass(frozen=True)
class Trace:
    """What there is of an NVIDIA GPU, however broken the way to it may be.

    cards : on the PCI bus, e.g. ``0000:00:1e.0 (10de:1eb8)``. driver : of the loaded kernel module, e.g.
    ``535.129.03``; empty if none is loaded.
    """

    cards: tuple[str, ...] = ()
    driver: str = ""
    nodes: tuple[Path, ...] = ()
    container: bool = False
    wsl: bool = False
    wsl_gpu: bool = False

    @property
    def any(self) -> bool:
        return bool(self.cards or self.driver or self.nodes or self.wsl_gpu)

    @property
    def installs(self) -> bool:
        """Whether `make profile` takes this for a machine with a GPU and installs PyCUDA (the Makefile's rule)."""
        return bool(self.driver or self.nodes or self.wsl_gpu)


def look_for_gpu(places: Places) -> Trace:
    """Reads a few small files; nothing is loaded."""
    return Trace(
        cards=tuple(_pci_cards(places.sysfs)),
        driver=driver_version(_text(places.kernel_module)),
        nodes=tuple(sorted(path for path in (places.control, *places.dev.glob("nvidia[0-9]*")) if path.exists())),
        container=in_container(places),
        wsl="microsoft" in _text(places.proc / "version").lower(),
        wsl_gpu=places.wsl_gpu.exists(),
    )


def driver_version(text: str) -> str:
    """That of a /proc/driver/nvidia/version; empty if there is none."""
    found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", text.partition("\n")[0])
    return found[0] if found else ""


def in_container(places: Places) -> bool:
    """Docker's and Podman's marks, and the control groups of those and of Kubernetes."""
    group = _text(places.proc / "1" / "cgroup")
    podman = places.dockerenv.with_name("run") / ".containerenv"
    return (
        places.dockerenv.exists()
        or podman.exists()
        or re.search("docker|kubepods|containerd|libpod", group) is not None
    )


def check_card(trace: Trace) -> Finding:
    """Whether a card is there at all."""
    if trace.cards:
        return ok("PCI", f"NVIDIA GPU at {', '.join(trace.cards)}")
    if trace.driver or trace.nodes or trace.wsl_gpu:
        return ok("PCI", "no NVIDIA GPU is shown on the PCI bus, but there is a driver")
    if trace.container:
        return missing("PCI", "no NVIDIA GPU is shown to this container", INTO_CONTAINER)
    return missing("PCI", "no NVIDIA GPU on the PCI bus", "use the machine that has the card, or give this one a GPU")


def check_container(trace: Trace) -> Finding | None:
    """Whether a container was given the GPU; None outside of one."""
    if not trace.container:
        return None
    if trace.nodes or trace.wsl_gpu:
        return ok("container", "this is one, and it was started with the GPU")
    return missing("container", "this container was started without the GPU", INTO_CONTAINER)


def check_windows() -> Finding:
    """Of a Linux under Windows (WSL)."""
    return note("WSL", "Windows shares the card with this Linux and its own desktop: clocks and noise are worse")


def check_module(trace: Trace, nouveau: bool) -> Finding | None:
    """The kernel's module; None under Windows, where it is not Linux that drives the card. ``nouveau``: whether that
    driver is loaded, which cannot compute."""
    if trace.driver:
        return ok("module", f"nvidia {trace.driver} is loaded")
    if trace.wsl_gpu:
        return None
    if trace.container:
        return missing(
            "module", "no NVIDIA driver is loaded on this container's host", f"on the host: {INSTALL_DRIVER}"
        )
    if nouveau:
        text = "nouveau drives the card, which cannot compute"
        return missing("module", text, f"{INSTALL_DRIVER}; it takes nouveau's place")
    return missing("module", "NVIDIA's kernel module is not loaded", "sudo modprobe nvidia", INSTALL_DRIVER)


def check_nodes(
    trace: Trace, control: Path, accessible: Callable[[Path], bool], group_of: Callable[[Path], str]
) -> Finding | None:
    """The device files and the right to open them; None where the module that makes them is not loaded."""
    if not trace.driver:
        return None
    numbered = [path for path in trace.nodes if path != control]
    if control not in trace.nodes or not numbered:
        absent = f"{control.parent}/nvidia0" if control in trace.nodes else str(control)
        remedy = INTO_CONTAINER if trace.container else "sudo nvidia-modprobe -c 0 -u"
        return missing("files", f"{absent} is not there", remedy)
    closed = [path for path in trace.nodes if not accessible(path)]
    if closed:
        text = f"this user may not open {', '.join(map(str, closed))}"
        group = group_of(closed[0])
        if group in ("", "root"):
            return missing("files", text, f"sudo chmod a+rw {control.parent}/nvidia*")
        return missing("files", text, f"sudo usermod -aG {group} $USER, then log in again")
    return ok("files", ", ".join(str(path) for path in trace.nodes))


def check_library(answer: CudaAnswer, container: bool) -> Finding:
    """The CUDA driver proper, libcuda."""
    if not answer.loaded:
        install = "sudo apt-get install libnvidia-compute-535-server (Ubuntu; the number as of the driver)"
        if container:
            install = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
        return missing("libcuda", f"{LIBRARY} cannot be loaded: {answer.trouble}", install)
    if answer.trouble:
        advice = "see dmesg; restart the machine, after an update of the driver above all"
        return missing("libcuda", f"{LIBRARY}: {answer.trouble}", advice)
    if answer.error and answer.error != _NO_DEVICE:
        text = describe(DriverError(answer.error, "cuInit"))
        happened, _, advice = text.rpartition("): ") if "): " in text else text.rpartition("; ")
        return missing("libcuda", f"{happened})" if "): " in text else happened, advice)
    return ok("libcuda", f"{LIBRARY} is there and offers {_count(len(answer.pci_bus_ids))}")


def check_offered(answer: CudaAnswer, bus_id: str, name: str, visible: str | None) -> Finding | None:
    """Whether CUDA offers the card; None if it does, or if nobody can tell. ``visible``: CUDA_VISIBLE_DEVICES."""
    if not answer.loaded or answer.trouble or answer.error not in (0, _NO_DEVICE) or bus_id in answer.pci_bus_ids:
        return None
    if visible is not None:
        return missing("visible", f"CUDA_VISIBLE_DEVICES={visible!r} hides {name}", "unset CUDA_VISIBLE_DEVICES")
    text = f"NVML shows {name} ({bus_id}), but CUDA does not offer it"
    return missing("visible", text, "nvidia-smi -q shows its state (MIG without an instance, a pending reset?)")


def check_driver_version(driver: str) -> Finding | None:
    """None if the driver loads CUDA 12's code, or if its version is unknown."""
    version = tuple(int(part) for part in re.findall(r"\d+", driver))
    oldest = OLDEST.linux
    if not version or version >= tuple(int(part) for part in oldest.split(".")):
        return None
    return missing("driver", f"{driver} is too old: cubins of CUDA 12 need {oldest} or newer", INSTALL_DRIVER)


def _pci_cards(sysfs: Path) -> Iterator[str]:
    for device in sorted((sysfs / "bus" / "pci" / "devices").glob("*")):
        if _text(device / "vendor").strip() == _VENDOR and _text(device / "class").startswith(_DISPLAY_CLASS):
            yield f"{device.name} (10de:{_text(device / 'device').strip()[2:] or '?'})"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _count(gpus: int) -> str:
    return f"{gpus} GPU{'' if gpus == 1 else 's'}" if gpus else "no GPU"
