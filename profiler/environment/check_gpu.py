"""One card, as NVML shows it: what it is, how it is set, what it does now and for whom."""

from __future__ import annotations

from collections.abc import Iterator

from profiler.devices.gpu_facts import GpuFacts
from profiler.devices.gpu_spec import LEAST_CAPABILITY, gpu_slug, too_old
from profiler.devices.gpu_state import ClockReason, GpuState
from profiler.devices.nvml import ListedGpu
from profiler.environment.check_driver import INSTALL_DRIVER, check_driver_version
from profiler.environment.findings import Finding, missing, note, ok
from profiler.errors import DeviceError
from profiler.targets import cuda_for_driver

_WITHOUT_CONSEQUENCE = ClockReason.GPU_IDLE | ClockReason.DISPLAY_CLOCK_SETTING | ClockReason.SYNC_BOOST
_POWER = ClockReason.SW_POWER_CAP | ClockReason.BOARD_LIMIT


def check_model(gpu: ListedGpu) -> Finding:
    """Whether it has what the kernels need."""
    topic = f"GPU {gpu.index}"
    if gpu.capability is not None and gpu.capability < LEAST_CAPABILITY:
        return note(topic, f"cannot be measured: {too_old(gpu.name, gpu.capability)}")
    text = f"{gpu.name} ({gpu_slug(gpu.name)}), {gpu.uuid}"
    if gpu.capability is not None:
        text += ", compute capability {}.{}".format(*gpu.capability)
    if gpu.memory_bytes is not None:
        text += f", {gpu.memory_bytes / 2**30:.1f} GiB"
    return ok(topic, text)


def check_driver(facts: GpuFacts) -> Finding:
    """Whether the driver loads what our compiler makes."""
    if facts.cuda_version is None:
        return check_driver_version(facts.driver) or note("driver", f"{facts.driver or 'unknown'}; NVML hides its CUDA")
    cuda = "{}.{}".format(*facts.cuda_version)
    try:
        compiler = cuda_for_driver(facts.cuda_version)
    except DeviceError:
        text = f"{facts.driver} supports CUDA {cuda}: too old for cubins of CUDA 12"
        return check_driver_version(facts.driver) or missing("driver", text, INSTALL_DRIVER)
    text = f"{facts.driver} supports CUDA {cuda}: kernels are compiled by CUDA {compiler}'s NVRTC"
    return check_driver_version(facts.driver) or ok("driver", text)


def check_settings(facts: GpuFacts, index: int) -> Iterator[Finding]:
    """What an administrator has set."""
    ecc = {True: "on", False: "off", None: "unknown"}[facts.ecc]
    yield ok("settings", f"VBIOS {facts.vbios or 'unknown'}, ECC {ecc}, compute mode {facts.compute_mode or 'unknown'}")
    limit_w, usual_w = facts.power_limit_w, facts.default_power_limit_w
    if limit_w is not None and usual_w is not None and limit_w < usual_w:
        text = f"limited to {limit_w:g} W, below the card's {usual_w:g} W: it is slower than others of its model"
        yield note("power", text, f"sudo nvidia-smi -i {index} -pl {usual_w:g}")
    elif limit_w is not None:
        yield ok("power", f"limited to {limit_w:g} W")
    if facts.persistence is False:
        text = "persistence mode is off: the driver starts anew for each run, and clocks fall in between"
        yield note("persistence", text, f"sudo nvidia-smi -i {index} -pm 1")
    mode_remedy = f"sudo nvidia-smi -i {index} -c DEFAULT"
    if facts.compute_mode == "prohibited":
        yield missing("mode", "compute mode is prohibited: nobody may compute on this card", mode_remedy)
    elif facts.compute_mode.startswith("exclusive"):
        text = f"compute mode is {facts.compute_mode}: a run fails while anybody else computes on the card"
        yield note("mode", text, mode_remedy)
    if facts.mig:
        text = "the card is split (MIG mode), and only whole cards are measured"
        yield missing("MIG", text, f"sudo nvidia-smi -i {index} -mig 0")


def check_state(facts: GpuFacts, state: GpuState) -> Iterator[Finding]:
    """What it does now, and what holds it back."""
    parts = [
        f"SM {_mhz(state.sm_clock_mhz)} of {_mhz(facts.max_sm_clock_mhz)} MHz",
        f"memory {_mhz(state.memory_clock_mhz)} of {_mhz(facts.max_memory_clock_mhz)} MHz",
    ]
    if facts.base_sm_clock_mhz is not None:
        parts.append(f"base clock {_mhz(facts.base_sm_clock_mhz)} MHz")
    if state.temperature_c is not None:
        parts.append(f"{state.temperature_c:g} degrees C")
    if state.power_w is not None:
        parts.append(f"{state.power_w:.0f} W")
    yield ok("clocks", ", ".join(parts))
    yield from _held_back(state.reasons or ClockReason(0))
    for text in facts.unreadable + state.unreadable:
        yield note("NVML", f"does not tell {text}; records will say so")


def check_others(state: GpuState, index: int) -> Iterator[Finding]:
    """Who else is on the card."""
    if state.others:
        who = ", ".join(
            f"{process.name.rpartition('/')[2] or 'hidden'} (pid {process.pid})" for process in state.others
        )
        text = f"other processes on the card: {who}; what they do makes latencies longer and noisy"
        yield note("users", text, f"end them, or wait: nvidia-smi -i {index}")
    elif not any("processes" in text for text in state.unreadable):
        yield ok("users", "nobody else is on the card")


def _held_back(reasons: ClockReason) -> Iterator[Finding]:
    reasons &= ~_WITHOUT_CONSEQUENCE
    if reasons & ClockReason.APPLICATIONS_CLOCKS_SETTING:
        reasons &= ~ClockReason.APPLICATIONS_CLOCKS_SETTING
        yield note("held back", "application clocks are set, and it does not go above them", "sudo nvidia-smi -rac")
    if reasons & _POWER:
        names = ", ".join((reasons & _POWER).names)
        reasons &= ~_POWER
        yield note("held back", f"its power limit holds the clock down now ({names})", "end what else runs on the card")
    if reasons:
        names = ", ".join(reasons.names)
        yield note(
            "held back",
            f"its clock is held down now: {names}",
            "look at cooling and power supply; wait until it is cool",
        )


def _mhz(clock_mhz: float | None) -> str:
    return "?" if clock_mhz is None else f"{clock_mhz:g}"
