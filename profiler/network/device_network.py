"""A whole network on a device, with compiled kernels: compared with the oracle step by step, and timed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact
from profiler.devices.protocol import EnergyCounter, KernelFailure
from profiler.measure.energy import ENERGY_RULE, EnergyRule, NoEnergy, measured_energy
from profiler.measure.rule import StoppingRule
from profiler.network.difference import Difference, difference
from profiler.network.execute.planned import Plan
from profiler.network.execute.process import NetworkFailure, NetworkProcess
from profiler.network.execute.timed import NetworkLatency, Watch, timed_network
from profiler.network.execute.times import NETWORK_RULE
from profiler.network.integer_network import IntegerNetwork, Value
from profiler.network.oracle_run import checked_inputs, oracle_steps, unfilled
from profiler.network.plan import parameter_bytes, plan
from profiler.network.steady import STEADY_RULE, SteadyRule, SteadyWindow, steady_window
from profiler.quantize.stored import pack_activation, unpack_activation
from profiler.record import Energy, FailureKind
from profiler.workload import KernelSpec

Array = npt.NDArray[Any]
Self = TypeVar("Self", bound="DeviceNetwork")


class WrongStep(NetworkFailure):
    """A step whose output is not the oracle's; ``difference`` says where."""

    def __init__(self, text: str, step: int, difference: Difference) -> None:
        super().__init__(FailureKind.WRONG_OUTPUT, text, step)
        self.difference = difference


@dataclass(frozen=True)
class Verified:
    """What was compared bit for bit, and found equal: ``steps`` of them, ``nbytes`` of outputs in all. ``outputs`` are
    the network's, by name, NHWC."""

    steps: int
    nbytes: int
    outputs: Mapping[str, Array]


class DeviceNetwork:
    """A network that is loaded on a device, as a context manager.

    artifacts : for each distinct spec of the network's steps. command : starts the worker. watch : of the same device.
    time_limit_s, run_limit_s : the longest that one kernel, and that a run of all of them may take.

    Whatever goes wrong in the worker raises `NetworkFailure`; it is loaded again for the next request. Inputs that are
    missing, of another shape or out of their type's range are a `ValueError`.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        artifacts: Mapping[KernelSpec, Artifact],
        command: Sequence[str],
        watch: Watch,
        time_limit_s: float = 10.0,
        run_limit_s: float = 60.0,
    ) -> None:
        """Raises `UnsupportedModel` where a kernel cannot read or write a value as it lies."""
        planned = plan(network, artifacts)
        self._network, self._watch = network, watch
        self._values: dict[str, Value] = {value.name: value for value in network.values}
        specs = dict.fromkeys(step.spec for step in network.steps)
        self._process = NetworkProcess(
            network.name,
            planned,
            parameter_bytes(network, artifacts, planned).tobytes(),
            [artifacts[spec] for spec in specs],
            command,
            time_limit_s,
            run_limit_s,
        )

    @property
    def plan(self) -> Plan:
        return self._process.plan

    @property
    def worker_pid(self) -> int | None:
        """Process id of the running worker."""
        return self._process.pid

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, NHWC. ``inputs`` are integers by name, of the values' shapes."""
        self._process.set_inputs(self._packed(inputs))
        return self._unpacked(self._process.run())

    def verify(self, inputs: Mapping[str, Array]) -> Verified:
        """Launch each step on what the steps before it wrote, and compare every byte of what it writes with the
        oracle's; then run all steps in a row and compare the outputs.

        Raises `WrongStep` where a layer differs, and `NetworkFailure` (WRONG_OUTPUT) where all of them in a row do.
        """
        packed = self._packed(inputs)
        self._process.set_inputs(packed)
        values = checked_inputs(self._network, inputs) | unfilled(self._network)
        nbytes = 0
        for index, (step, expected) in enumerate(oracle_steps(self._network, values)):
            values[step.writes] = expected
            raw = self._process.step(index)
            self._compare(index, raw, expected)
            nbytes += len(raw)
        self._process.check()
        self._process.set_inputs(packed)
        outputs = self._unpacked(self._process.run())
        self._process.check()
        for name, found in outputs.items():
            if not np.array_equal(found, values[name]):
                text = f"each step by itself is right, but '{name}' is not when all of them run in a row"
                raise self._process.failure(FailureKind.WRONG_OUTPUT, text)
        return Verified(len(self._network.steps), nbytes, outputs)

    def latency(
        self,
        inputs: Mapping[str, Array],
        rule: StoppingRule = NETWORK_RULE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> NetworkLatency:
        """Time runs on these inputs. `verify` tells whether their outputs are right. clock : as of `timed_network`."""
        return timed_network(self._process, self._watch, self._packed(inputs), self._own_processes, rule, clock)

    def energy(
        self,
        inputs: Mapping[str, Array],
        counter: EnergyCounter,
        rule: EnergyRule = ENERGY_RULE,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Energy | NoEnergy:
        """Joules of a run, end to end, on these inputs. counter : of the same device. clock, sleep : of this process.

        The outputs of the last run are compared with those of the first one; `verify` tells whether they are right.
        Raises `NetworkFailure`, and `DeviceError` if the device is lost.
        """
        self._process.set_inputs(self._packed(inputs))
        first = self._process.run()
        found = measured_energy(counter, self._process.work, rule, clock, sleep)
        self._process.require_outputs(first)
        return found

    def steady(
        self,
        inputs: Mapping[str, Array],
        rule: SteadyRule = STEADY_RULE,
        counter: EnergyCounter | None = None,
        own: Collection[int] = (),
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> SteadyWindow:
        """One window of its steady state, as `steady` draws it, on these inputs. counter : of the same device. own :
        processes that are ours, too, and wait meanwhile. clock, sleep : of this process.

        The outputs of the last run are compared with those of the first one; `verify` tells whether they are right.
        Raises `NetworkFailure`, and `DeviceError` if the device is lost.
        """
        self._process.set_inputs(self._packed(inputs))
        first = self._process.run()
        pids = (*self._own_processes(), *own)
        self._watch.begin(pids)
        try:
            found = self._watch.worked(lambda: steady_window(self._process.work, rule, counter, clock, sleep))
        except KernelFailure as failure:
            raise self._process.failure(failure.kind, failure.message) from None
        notes = self._watch.circumstances(pids).notes
        self._process.require_outputs(first)
        return replace(found, notes=(*notes, *found.notes))

    def close(self) -> None:
        """End the worker; a second call does nothing, and the next request starts a new one."""
        self._process.close()

    def __enter__(self: Self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _own_processes(self) -> tuple[int, ...]:
        return tuple(pid for pid in (os.getpid(), self.worker_pid) if pid is not None)

    def _packed(self, inputs: Mapping[str, Array]) -> bytes:
        values = checked_inputs(self._network, inputs)
        packed = [pack_activation(values[name], self._values[name].dtype) for name in self._network.inputs]
        return b"".join(part.tobytes() for part in packed)

    def _unpacked(self, raw: bytes) -> dict[str, Array]:
        outputs, at = {}, 0
        for planned in self.plan.outputs:
            value = self._values[planned.name]
            nbytes = planned.place.nbytes
            outputs[planned.name] = unpack_activation(raw[at : at + nbytes], value.shape, value.dtype)
            at += nbytes
        return outputs

    def _compare(self, index: int, raw: bytes, expected: Array) -> None:
        step = self._network.steps[index]
        found = difference(step, self._values[step.writes], np.frombuffer(raw, np.uint8), expected)
        if found is not None:
            failure = self._process.failure(FailureKind.WRONG_OUTPUT, found.text, index)
            raise WrongStep(str(failure), index, found)
