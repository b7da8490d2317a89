"""A kernel on the GPU with its arguments: what is checked ahead of a launch, the launch, and what must be true behind.

Every `DriverError` becomes what it means (`cuda_errors`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

import numpy as np

from profiler.artifact import Artifact, Launch, Resources, Role
from profiler.cuda_versions import LEAST_DRIVERS, OLDEST
from profiler.devices.arguments import compare_output, output_index, wrong_output
from profiler.devices.buffers import POISON
from profiler.devices.cuda_driver import Bytes, CudaDriver, DriverError, GpuProperties
from profiler.devices.cuda_errors import failure
from profiler.devices.cuda_memory import GpuArena
from profiler.devices.protocol import KernelFailure
from profiler.record import FailureKind


@contextmanager
def blamed(doing: str = "") -> Iterator[None]:
    """What the driver reports is the kernel's failure, or the device's; ``doing``: e.g. ``loading the code``."""
    try:
        yield
    except DriverError as error:
        raise failure(error, doing) from None


class CudaKernel:
    """A loaded artifact with its arguments in the GPU's memory.

    packed : the arguments as they lie in memory, by name. Raises `KernelFailure` (LAUNCH) if the GPU or its driver
    cannot run it, before anything is launched.
    """

    def __init__(self, driver: CudaDriver, artifact: Artifact, packed: Mapping[str, Bytes]) -> None:
        self.artifact = artifact
        self._launch = check_fits(artifact, driver.properties)
        self._output = output_index(artifact, packed)
        self._packed = {arg.name: packed[arg.name] for arg in artifact.args if arg.name in packed}
        self._driver = driver
        with ExitStack() as undo:
            with blamed("loading the code"):
                self._module = driver.load(artifact.code)
                undo.callback(_attempt, driver.unload, self._module)
                self._function = driver.function(self._module, artifact.entry, self._launch.shared_bytes)
            with blamed(f"no memory for {sum(arg.nbytes for arg in artifact.args)} bytes of arguments"):
                self._arena = GpuArena(driver, [arg.nbytes for arg in artifact.args])
                undo.callback(_attempt, self._arena.free)
            with blamed():
                self._begin, self._end = driver.event(), driver.event()
            undo.pop_all()
        self._launched = False
        self.launch_s = 0.0
        """What the last launch by itself took; before there was one nothing is known."""

    @property
    def inputs(self) -> tuple[tuple[int, int], ...]:
        """Address and size of every argument that a previous layer has left: input, second input, residual."""
        pairs = zip(self._arena.addresses, self.artifact.args)
        return tuple((address, arg.nbytes) for address, arg in pairs if arg.role is Role.INPUT and arg.nbytes)

    @property
    def addresses(self) -> tuple[int, ...]:
        """Of all arguments."""
        return self._arena.addresses

    def initial(self, index: int) -> Bytes:
        """What an argument holds ahead of the first launch; zeros where that says nothing."""
        arg = self.artifact.args[index]
        return self._packed.get(arg.name, np.zeros(arg.nbytes, np.uint8))

    def launch(self) -> None:
        """Put it into the stream."""
        self.launch_on(self._arena.addresses)

    def launch_on(self, addresses: Sequence[int]) -> None:
        """The same, on other arguments that are like its own."""
        launch = self._launch
        self._driver.launch(self._function, launch.grid, launch.threads, launch.shared_bytes, addresses)

    def ready(self) -> None:
        """Launch it once if it never was, on its arguments as they are at first."""
        if not self._launched:
            self._once()

    def verify(self) -> float:
        """Launch on poisoned memory and compare every byte; seconds of the launch. Raises `KernelFailure`."""
        elapsed_s = self._once()
        with blamed("reading back"):
            self._compare()
        return elapsed_s

    def recheck(self) -> None:
        """Compare every byte that the last launch left; nothing if there was none. Raises `KernelFailure`."""
        if self._launched:
            with blamed("reading back"):
                self._compare()

    def close(self) -> None:
        """Give the memory back."""
        with blamed("unloading"):
            self._arena.free()
            self._driver.unload(self._module)

    def _once(self) -> float:
        with blamed("writing the arguments"):
            self._initialize()
        with blamed():
            self._driver.record(self._begin)
            self.launch()
            self._driver.record(self._end)
            self._driver.wait()
            self._launched = True
            self.launch_s = self._driver.elapsed_s(self._begin, self._end)
            return self.launch_s

    def _initialize(self) -> None:
        self._arena.draw_guards()
        for index, arg in enumerate(self.artifact.args):
            if arg.name in self._packed:
                self._arena.write(index, self._packed[arg.name])
            else:
                self._arena.fill(index, 0 if arg.role is Role.COUNTERS else POISON)

    def _compare(self) -> None:
        args = self.artifact.args
        overwritten = self._arena.overwritten()
        if overwritten is not None:
            wrong_output(f"wrote outside of its argument '{args[overwritten].name}'")
        for index, arg in enumerate(args):
            if arg.role in (Role.INPUT, Role.PARAMETER) and (self._arena.read(index) != self._packed[arg.name]).any():
                wrong_output(f"wrote into its argument '{arg.name}'")
            if arg.role is Role.COUNTERS and self._arena.read(index).any():
                wrong_output(f"left its argument '{arg.name}' other than zero, so that it cannot be launched again")
        compare_output(self.artifact, self._arena.read(self._output))


def _attempt(undo: Callable[..., None], *arguments: object) -> None:
    """Where something else has failed already, that counts and not what follows from it."""
    with suppress(DriverError):
        undo(*arguments)


def check_fits(artifact: Artifact, gpu: GpuProperties) -> Launch:
    """How it is launched. Raises `KernelFailure` (LAUNCH) for what this GPU or its driver is known not to run."""
    launch, resources = artifact.launch, artifact.resources
    if launch is None or resources is None:
        raise KernelFailure(FailureKind.LAUNCH, f"the kernel is built for {artifact.arch}, which is no GPU")
    found = (_foreign(artifact, gpu), _too_new(resources, gpu), _too_large(resources, gpu), _too_much(artifact, gpu))
    for reason in found:
        if reason:
            raise KernelFailure(FailureKind.LAUNCH, reason)
    return launch


def runs_on(arch: str, capability: tuple[int, int]) -> bool:
    """Whether a cubin for ``arch`` (e.g. ``sm_80``) runs on a GPU of that compute capability: the same major version,
    and at least the minor one. Code for one model only (``sm_90a``) runs on that one, code for a family (``sm_100f``)
    as usual."""
    found = re.fullmatch(r"sm_(\d+)(\d)([af]?)", arch)
    if not found:
        return False
    built = (int(found[1]), int(found[2]))
    return built == capability if found[3] == "a" else built[0] == capability[0] and built[1] <= capability[1]


def _foreign(artifact: Artifact, gpu: GpuProperties) -> str:
    if runs_on(artifact.arch, gpu.capability):
        return ""
    return (
        f"the kernel is built for {artifact.arch}, and {gpu.name} is {gpu.arch}: a cubin runs on GPUs of its own major "
        "version and the same or a higher minor one; build it for this GPU"
    )


def _too_new(resources: Resources, gpu: GpuProperties) -> str:
    """Of ABIs that are not in the table the driver is the judge."""
    least = LEAST_DRIVERS.get(resources.cubin_abi)
    if least is None or gpu.driver_version >= least.cuda:
        return ""
    wanted, given = (".".join(map(str, version)) for version in (least.cuda, gpu.driver_version))
    older = ", or compile with CUDA 12 (CUDA=12)" if gpu.driver_version >= OLDEST.cuda else ""
    return (
        f"the driver is too old for the kernel: it supports CUDA {given}, the cubin needs CUDA {wanted} "
        f"(driver {resources.least_driver} or newer); update the driver{older}"
    )


def _too_large(resources: Resources, gpu: GpuProperties) -> str:
    most = gpu.max_shared_memory_per_block_optin_bytes
    if resources.shared_bytes <= most:
        return ""
    return f"a block of the kernel takes {resources.shared_bytes} bytes of shared memory, {gpu.name} has {most}"


def _too_much(artifact: Artifact, gpu: GpuProperties) -> str:
    wanted = sum(arg.nbytes for arg in artifact.args)
    if wanted < gpu.memory_bytes:
        return ""
    return f"the kernel's arguments take {wanted} bytes, {gpu.name} has {gpu.memory_bytes}; measure a smaller batch"
