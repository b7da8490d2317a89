"""What is there for `make profile GPU=...`, what is missing, and what mends it.

Nothing is changed, nothing needs root, and the whole takes a few seconds. Each point is a small function of what it
looks at (the files check_*); here they are put together, and what is of no consequence for the device is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from profiler.devices.discover import FoundDevice, Inventory, Vendor, discover, find_device
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.environment.check_compilers import check_nvdisasm, check_nvrtc, check_tvm
from profiler.environment.check_driver import (
    INTO_CONTAINER,
    Trace,
    check_card,
    check_container,
    check_library,
    check_module,
    check_nodes,
    check_offered,
    check_windows,
    look_for_gpu,
)
from profiler.environment.check_gpu import check_driver, check_model, check_others, check_settings, check_state
from profiler.environment.check_pycuda import check_pycuda
from profiler.environment.check_system import (
    check_c_compiler,
    check_cpu,
    check_output,
    check_python,
    check_system,
    check_temporary,
)
from profiler.environment.findings import Finding, Report, Verdict, missing, note, ok
from profiler.environment.machine import Machine
from profiler.errors import DeviceError
from profiler.hardware import GPUS
from profiler.targets import GpuTarget, cuda_for_driver


def examine(
    device: str = "auto", out: Path = Path(), vendor: Vendor | None = None, machine: Machine | None = None
) -> Report:
    """All findings for ``make profile GPU=<device> OUT=<out>``. Never fails for what is missing.

    Raises `DeviceError` if ``device`` is no text of one line.
    """
    if not device.isprintable():
        raise DeviceError(f"unknown device {device!a}")
    vendor, machine = vendor or Vendor(), machine or Machine()
    machine = replace(machine, ask_cuda=cache(machine.ask_cuda))
    with ExitStack() as stack:
        # Held open: without persistence mode, the driver would start anew for each question.
        with suppress(DeviceError):
            stack.enter_context(closing(vendor.nvml.open()))
        return _examine(device.strip(), out, vendor, machine)


def _examine(device: str, out: Path, vendor: Vendor, machine: Machine) -> Report:
    trace = look_for_gpu(machine.places)
    inventory = _as_if_installed(discover(vendor, machine.cpu), vendor)
    chosen, selection = _selection(device, inventory, trace)
    findings = [*_host(machine, out)]
    if device.lower() == "cpu" or not (trace.any or inventory.gpus):
        findings.append(_gpu_in_one_line(inventory, wanted=chosen is None))
    else:
        gpu = [*_way_to_gpu(machine, vendor, trace, inventory, chosen), *_card(machine, vendor, chosen)]
        cuda, archs = _cuda(vendor, chosen), _archs(vendor, device, chosen)
        tools = [*_cuda_tools(machine, cuda, archs, device)]
        pycuda = _pycuda(machine, vendor, trace, device)
        if chosen is not None and not chosen.is_gpu:  # auto does without a GPU that does not work
            gpu, tools = ([finding.as_note() for finding in part] for part in (gpu, tools))
            pycuda = pycuda if trace.installs else pycuda.as_note()  # which make insists on where it sees a driver
        findings += [*gpu, *tools, pycuda]
    return Report(device, (*findings, selection), chosen.text if chosen else "")


def _host(machine: Machine, out: Path) -> Iterator[Finding]:
    yield check_system(machine.system, machine.architecture)
    yield check_python(machine.python_version, machine.virtual_environment)
    temporary = check_temporary(machine.temporary)
    yield temporary
    if temporary.verdict is Verdict.OK:
        yield check_c_compiler(machine.c_compiler(), machine.temporary)
    yield check_output(out, machine.free_bytes)
    yield check_tvm(machine.version_of, machine.requirements, machine.python)
    yield from check_cpu(machine.cpu, machine.allowed_cores, machine.places.proc, machine.places.cgroup)


def _gpu_in_one_line(inventory: Inventory, wanted: bool) -> Finding:
    if inventory.gpus:
        return ok("GPU", f"not asked for, but here: {', '.join(gpu.text for gpu in inventory.gpus)}")
    text = f"no NVIDIA GPU: none on the PCI bus, no driver ({inventory.no_gpus.partition(' (')[0]})"
    return note("GPU", text) if wanted else ok("GPU", text)


def _way_to_gpu(
    machine: Machine, vendor: Vendor, trace: Trace, inventory: Inventory, chosen: FoundDevice | None
) -> Iterator[Finding]:
    """From the card's slot to NVML; what lies behind a broken link is not looked at."""
    if trace.wsl:
        yield check_windows()
    for link in _links(machine, trace, bool(inventory.gpus), chosen):
        if link is not None:
            yield link
            if link.verdict is Verdict.MISSING:
                return
    try:
        yield from (check_model(gpu) for gpu in vendor.nvml.gpus())
    except DeviceError as error:
        yield _silent(error, machine.python)


def _links(machine: Machine, trace: Trace, listed: bool, chosen: FoundDevice | None) -> Iterator[Finding | None]:
    """``listed``: NVML lists a GPU, so that whatever is unusual on the way to it does no harm."""
    places = machine.places
    for link in (
        check_card(trace),
        check_container(trace),
        check_module(trace, places.has_nouveau),
        check_nodes(trace, places.control, machine.may_open, machine.group_of),
    ):
        yield link.as_note() if link is not None and listed else link
    answer = machine.ask_cuda()
    yield check_library(answer, trace.container)
    if chosen is not None and chosen.is_gpu:
        yield check_offered(answer, chosen.pci_bus_id, chosen.text, machine.environment.get("CUDA_VISIBLE_DEVICES"))


def _card(machine: Machine, vendor: Vendor, chosen: FoundDevice | None) -> Iterator[Finding]:
    """The card that would be measured, if one would."""
    if chosen is None or chosen.index is None:
        return
    try:
        with GpuMonitor(vendor.nvml, chosen.uuid) as monitor:
            facts, state = monitor.facts(), monitor.state()
    except DeviceError as error:
        yield _silent(error, machine.python)
        return
    yield check_driver(facts)
    yield from check_settings(facts, chosen.index)
    yield from check_state(facts, state)
    yield from check_others(state, chosen.index)


def _cuda_tools(machine: Machine, cuda: str, archs: Sequence[str], device: str) -> Iterator[Finding]:
    yield check_nvrtc(cuda, archs, machine.version_of, machine.cuda_compiler, machine.python, _install(device))
    yield check_nvdisasm(machine.version_of, machine.disassembler, machine.python, _install(device))


def _pycuda(machine: Machine, vendor: Vendor, trace: Trace, device: str) -> Finding:
    with_driver = trace.installs and machine.ask_cuda().loaded
    return check_pycuda(
        machine.version_of,
        partial(machine.why_not_importable, f"{vendor.package}.driver") if with_driver else None,
        machine.which,
        machine.python_headers,
        machine.python,
        _install(device),
    )


def _cuda(vendor: Vendor, chosen: FoundDevice | None) -> str:
    """The compiler that a run takes for the card's driver, or the usual one where there is none to ask."""
    with suppress(DeviceError):
        if chosen is not None and chosen.is_gpu:
            with GpuMonitor(vendor.nvml, chosen.uuid) as monitor:
                version = monitor.facts().cuda_version
            if version is not None:
                return cuda_for_driver(version)
    return GpuTarget.cuda


def _archs(vendor: Vendor, device: str, chosen: FoundDevice | None) -> tuple[str, ...]:
    """What the compiler must know: the chosen card, or the model that was asked for."""
    with suppress(DeviceError):
        for gpu in vendor.nvml.gpus():
            if chosen is not None and gpu.uuid == chosen.uuid and gpu.capability is not None:
                return ("sm_{}{}".format(*gpu.capability),)
    known = GPUS.get(device.lower())
    return (known.arch,) if known else ()


def _selection(device: str, inventory: Inventory, trace: Trace) -> tuple[FoundDevice | None, Finding]:
    """The device that would be measured, None if none would, and what there is to say of that."""
    topic = f"GPU={device}"
    try:
        choice = find_device(device, inventory)
    except DeviceError as error:
        text = str(error).partition("; run with")[0]
        if trace.any and not inventory.gpus:
            text = f"nobody can tell which GPUs are here: {inventory.no_gpus.partition(' (')[0]}"
        return None, missing(topic, text, *_ways_on(device, inventory, trace))
    if choice.note:
        return choice.device, note(topic, choice.note)
    if trace.any and device.lower() != "cpu" and not choice.device.is_gpu:
        text = f"measures {choice.device.text}, because the GPU does not answer"
        return choice.device, note(topic, text, "mend what is said above of the GPU")
    return choice.device, ok(topic, f"measures {choice.device.text}")


def _ways_on(device: str, inventory: Inventory, trace: Trace) -> Iterator[str]:
    if trace.any and not inventory.gpus:
        yield f"mend what is missing above; then look again: make doctor GPU={device}"
    elif trace.container and not inventory.gpus:
        yield f"if this container's host has the card: {INTO_CONTAINER}"
    slug = device.lower()
    if slug in GPUS and slug not in [gpu.slug for gpu in inventory.gpus]:
        yield f"on the machine that has the card: make profile GPU={device}"
        yield f"compile here, measure there: make bundle GPU={device} (python -m profiler bundle --device {device})"
        yield f"only compile its kernels, here: make kernels GPU={device}"
    else:
        yield "see what is here: make devices"
    yield "measure this CPU: make profile GPU=cpu"


def _as_if_installed(inventory: Inventory, vendor: Vendor) -> Inventory:
    """Without the obstacle that PyCUDA is not installed: make installs it, and it has a finding of its own."""
    gpus = (replace(gpu, obstacle="") if gpu.obstacle == vendor.obstacle else gpu for gpu in inventory.gpus)
    return replace(inventory, gpus=tuple(gpus))


def _silent(error: DeviceError, python: str) -> Finding:
    """NVML does not answer; its advice stands in parentheses at the end."""
    text, _, advice = str(error).partition(" (")
    if "nvidia-ml-py" in text:
        return missing("NVML", text, f"{python} -m pip install nvidia-ml-py")
    return missing("NVML", text, advice[:-1] if advice.endswith(")") else "see nvidia-smi and dmesg")


def _install(device: str) -> str:
    return f"make profile GPU={device} installs it"
