"""A planned network on a GPU: its memory between guard zones, its code, its launches one by one and as one graph."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact, Launch, Role
from profiler.devices.arguments import wrong_output
from profiler.devices.buffers import POISON
from profiler.devices.cuda_driver import CudaDriver, GpuProperties
from profiler.devices.cuda_kernel import blamed, check_fits
from profiler.devices.cuda_memory import GpuArena
from profiler.devices.protocol import KernelFailure
from profiler.network.execute.loading import fill_arena
from profiler.network.execute.planned import Memory, Place, Plan, PlannedStep
from profiler.record import FailureKind

Bytes = npt.NDArray[np.uint8]

_ARENA, _PARAMETERS = 0, 1
_READING = "reading back"


class CardNetwork:
    """A plan with its memory and code. parameters : what lies in the parameters' memory. artifacts : one for each of
    the plan's kernels.

    Whatever the driver reports raises what it means: `KernelFailure`, or `DeviceError` where no network would fare
    better. Raises `KernelFailure` (LAUNCH) for what this GPU or its driver cannot run, before anything is launched.
    """

    def __init__(self, driver: CudaDriver, plan: Plan, parameters: bytes, artifacts: Sequence[Artifact]) -> None:
        self.plan = plan
        self._driver = driver
        self._artifacts = artifacts
        launches = [_checked(artifact, driver.properties) for artifact in artifacts]
        wanted = plan.arena_nbytes + plan.parameter_nbytes
        if wanted >= driver.properties.memory_bytes:
            gpu = driver.properties
            text = f"the network takes {wanted} bytes, {gpu.name} has {gpu.memory_bytes}; run a smaller batch"
            raise KernelFailure(FailureKind.LAUNCH, text)
        with blamed("loading the code"):
            modules = [driver.load(artifact.code) for artifact in artifacts]
            functions = [
                driver.function(module, artifact.entry, launch.shared_bytes)
                for module, artifact, launch in zip(modules, artifacts, launches)
            ]
        with blamed(f"no memory for the network's {wanted} bytes"):
            self._memory = GpuArena(driver, [plan.arena_nbytes, plan.parameter_nbytes])
        self._launches = [
            (functions[step.kernel], launches[step.kernel], [self._address(place) for place in step.args])
            for step in plan.steps
        ]
        self._parameters: Bytes = np.frombuffer(parameters, np.uint8)
        self._digest = zlib.crc32(self._parameters.data)
        with blamed("writing the parameters"):
            self._memory.draw_guards()
            self._memory.write(_PARAMETERS, self._parameters)
        with blamed("making a graph of the network"):
            self._graph = driver.capture(self.launch_all)
        self._left: Bytes | None = None  # what the arena holds, where that is known
        self._ran = False

    # -- into the stream -------------------------------------------------------------------------------------------

    def launch(self, index: int) -> None:
        """One step."""
        self._left = None
        function, launch, arguments = self._launches[index]
        self._driver.launch(function, launch.grid, launch.threads, launch.shared_bytes, arguments)

    def launch_all(self) -> None:
        """All steps in a row, one by one."""
        for index in range(len(self._launches)):
            self.launch(index)

    def launch_graph(self) -> None:
        """All steps in a row, as one graph."""
        self._left = None
        self._driver.launch_graph(self._graph)

    # -- and what comes of it --------------------------------------------------------------------------------------

    def set_inputs(self, payload: bytes) -> None:
        arena: Bytes = np.empty(self.plan.arena_nbytes, np.uint8)
        fill_arena(arena, self.plan, payload)
        with blamed("writing the inputs"):
            self._memory.write(_ARENA, arena)
        self._left = arena

    def run(self) -> None:
        """All steps as a graph, to the end."""
        with blamed():
            self.launch_graph()
            self._driver.wait()

    def ready(self) -> None:
        """Run in both ways once: behind a spinning kernel nothing may run for the first time."""
        if not self._ran:
            self.run()
            with blamed():
                self.launch_all()
                self._driver.wait()
            self._ran = True

    def outputs(self) -> bytes:
        """One behind the other, in the plan's order."""
        with blamed(_READING):
            return b"".join(self._read(value.place).tobytes() for value in self.plan.outputs)

    def step(self, index: int) -> bytes:
        """Launch one step; what its output holds then. Raises `KernelFailure` (WRONG_OUTPUT) if anything else was
        written, or a counter is left other than zero."""
        step = self.plan.steps[index]
        scratch = self._places(step, Role.WORKSPACE)
        with blamed("writing the arguments"):
            before = self._memory.read(_ARENA) if self._left is None else self._left
            self._left = None
            for place in (*([step.output] if step.begins else []), *scratch):
                self._fill(place)
                before[place.slice] = POISON
        with blamed():
            self.launch(index)
            self._driver.wait()
        with blamed(_READING):
            found = self._memory.read(_ARENA)
            for place in (step.output, *scratch):
                before[place.slice] = found[place.slice]
            changed = np.flatnonzero(before != found)
            if changed.size:
                wrong_output(f"wrote outside of its output, into byte {int(changed[0])} of the activations' memory")
            self._check_guards()
            self._check_counters(step)
        self._left = found
        return found[step.output.slice].tobytes()

    def check(self) -> None:
        """Raises `KernelFailure` (WRONG_OUTPUT) if a counter is left other than zero, a parameter is not what it was,
        or anything was written beside the memory."""
        with blamed(_READING):
            for step in self.plan.steps:
                self._check_counters(step)
            if zlib.crc32(self._memory.read(_PARAMETERS).data) != self._digest:
                wrong_output("wrote into the parameters")
            self._check_guards()

    def _check_guards(self) -> None:
        overwritten = self._memory.overwritten()
        if overwritten is not None:
            wrong_output(f"wrote outside of the {('activations', 'parameters')[overwritten]}' memory")

    def _check_counters(self, step: PlannedStep) -> None:
        for place in self._places(step, Role.COUNTERS):
            if place.nbytes and self._read(place).any():
                key = self.plan.kernels[step.kernel]
                wrong_output(f"left the counters of {key} other than zero, so that it cannot be launched again")

    def _places(self, step: PlannedStep, role: Role) -> list[Place]:
        return [place for place, arg in zip(step.args, self._artifacts[step.kernel].args) if arg.role is role]

    def _address(self, place: Place) -> int:
        return self._memory.addresses[_ARENA if place.memory is Memory.ARENA else _PARAMETERS] + place.offset

    def _read(self, place: Place) -> Bytes:
        return self._driver.read(self._address(place), place.nbytes)

    def _fill(self, place: Place) -> None:
        if place.nbytes:
            self._driver.fill(self._address(place), POISON, place.nbytes)


def _checked(artifact: Artifact, gpu: GpuProperties) -> Launch:
    """As `check_fits`, saying which kernel."""
    try:
        return check_fits(artifact, gpu)
    except KernelFailure as failure:
        raise KernelFailure(failure.kind, f"kernel {artifact.spec.key}: {failure.message}") from None
