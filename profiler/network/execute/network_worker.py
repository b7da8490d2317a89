"""What the worker processes of both devices answer alike, whatever runs the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from profiler.artifact import Artifact
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import Answer, Operation
from profiler.network.execute.loading import loaded
from profiler.network.execute.planned import Plan


class LoadedNetwork(Protocol):
    """A plan with its memory and code, on a device. All calls raise `KernelFailure`."""

    def set_inputs(self, payload: bytes) -> None:
        """One behind the other, in the plan's order; all else is poisoned."""
        ...

    def step(self, index: int) -> bytes:
        """Launch one step; what its output holds then."""
        ...

    def run(self) -> None:
        """All steps, to the end."""
        ...

    def outputs(self) -> bytes:
        """One behind the other, in the plan's order."""
        ...

    def check(self) -> None:
        """Whether anything was written where nothing belongs."""
        ...


LoadedT = TypeVar("LoadedT", bound=LoadedNetwork)


class NetworkWorker(ABC, Generic[LoadedT]):
    """Requests: load (payload: parameters and artifacts), inputs (payload: what the network reads), step (one launch;
    answers with what it wrote), run, outputs, check; time (many runs), and work, which keeps the device busy for a
    while."""

    _loaded: LoadedT | None = None

    def operations(self) -> Mapping[str, Operation]:
        """What answers which request."""
        return {
            "load": self._load,
            "inputs": self._inputs,
            "step": self._step,
            "run": self._run,
            "outputs": self._outputs,
            "check": self._check,
            "time": self._time,
            "work": self._work,
        }

    @abstractmethod
    def _made(self, plan: Plan, parameters: bytes, artifacts: Sequence[Artifact]) -> LoadedT:
        """The network, on this device."""

    @abstractmethod
    def _time(self, request: Header, _: bytes) -> Answer:
        """The payload has nanoseconds of each run, and of marked ones when each step ended, since its run's start."""

    @abstractmethod
    def _work(self, request: Header, _: bytes) -> Answer:
        """How many ``runs`` there were."""

    @property
    def _network(self) -> LoadedT:
        assert self._loaded is not None, "nothing was loaded"
        return self._loaded

    def _load(self, request: Header, payload: bytes) -> Answer:
        self._loaded = self._made(*loaded(request, payload))
        return {}, b""

    def _inputs(self, _: Header, payload: bytes) -> Answer:
        self._network.set_inputs(payload)
        return {}, b""

    def _step(self, request: Header, _: bytes) -> Answer:
        return {}, self._network.step(request["index"])

    def _run(self, _: Header, __: bytes) -> Answer:
        self._network.run()
        return {}, self._network.outputs()

    def _outputs(self, _: Header, __: bytes) -> Answer:
        return {}, self._network.outputs()

    def _check(self, _: Header, __: bytes) -> Answer:
        self._network.check()
        return {}, b""
