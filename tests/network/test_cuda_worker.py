"""The network's worker on a GPU from inside: a driver that fails anywhere is never taken for a defect of ours."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from profiler.devices.cuda_driver import DriverError
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import answer
from profiler.network.execute.cuda_worker import NetworkBench
from profiler.network.plan import parameter_bytes, plan
from tests.devices.fake_cuda import FakeCuda
from tests.devices.fake_cuda_network_worker import learning
from tests.devices.fake_cuda_scenario import Scenario
from tests.network.cuda_drafts import chain, pretended

NETWORK = chain(2)
ARTIFACTS = pretended(NETWORK)
PLAN = plan(NETWORK, ARTIFACTS)
CODE = [artifact.to_bytes() for artifact in ARTIFACTS.values()]
PAYLOADS = {
    "load": parameter_bytes(NETWORK, ARTIFACTS, PLAN).tobytes() + b"".join(CODE),
    "inputs": bytes(sum(value.place.nbytes for value in PLAN.inputs)),
}
REQUEST: Header = {
    "plan": asdict(PLAN),
    "artifacts": [len(code) for code in CODE],
    "index": 0,
    "runs": 2,
    "marks": False,
    "duration_s": 1e-4,
}
BREAKABLE = {
    "load": ("load", "function", "allocate", "write", "capture", "properties"),
    "inputs": ("write",),
    "step": ("fill", "launch", "wait", "read"),
    "run": ("launch_graph", "wait", "read"),
    "outputs": ("read",),
    "check": ("read",),
    "time": ("launch_graph", "record", "launch", "event", "wait", "elapsed_s", "read"),
    "work": ("launch_graph", "wait"),
}


class Worker:
    """A bench, and what it answers."""

    def __init__(self) -> None:
        self.driver = FakeCuda(Scenario(kernel_s=1e-5), networks=True)
        self._operations = learning(self.driver, NetworkBench(self.driver, lambda: self.driver.host_s))

    def ask(self, name: str, **more: Any) -> tuple[Header, bytes]:
        return answer(self._operations, {**REQUEST, "request": name, **more}, PAYLOADS.get(name, b""))


@pytest.fixture
def worker() -> Worker:
    return Worker()


def breaks(code: int) -> Any:
    def fail(*_: object) -> None:
        raise DriverError(code, "cuTest")

    return fail


@pytest.mark.parametrize(
    ("request_name", "call"), [(name, call) for name, calls in BREAKABLE.items() for call in calls]
)
@pytest.mark.parametrize(
    ("code", "kind", "last"), [(700, "crash", True), (2, "unstable", False), (802, "device", True)]
)
def test_whatever_the_driver_says_has_a_meaning(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    request_name: str,
    call: str,
    code: int,
    kind: str,
    last: bool,
) -> None:
    names = list(BREAKABLE)
    for name in names[: names.index(request_name)]:
        assert worker.ask(name)[0]["ok"], name
    broken = breaks(code)
    monkeypatch.setattr(FakeCuda, call, property(broken) if call == "properties" else broken)
    said, _ = worker.ask(request_name)
    assert (said["ok"], said.get("kind"), said.get("last")) == (False, kind, last), said
    assert "cuTest" in said["message"]


@pytest.mark.parametrize("call", ["launch", "record", "elapsed_s", "read"])
def test_marked_runs_too(worker: Worker, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    for name in ("load", "inputs", "run"):
        assert worker.ask(name)[0]["ok"]
    monkeypatch.setattr(FakeCuda, call, breaks(719))
    said, _ = worker.ask("time", marks=True)
    assert (said["ok"], said["kind"]) == (False, "crash"), said


@pytest.mark.parametrize("marks", [False, True])
def test_times_are_nanoseconds_as_a_cpu_gives_them(worker: Worker, marks: bool) -> None:
    for name in ("load", "inputs"):
        assert worker.ask(name) == ({"ok": True}, b"")
    header, raw = worker.ask("time", marks=marks)
    assert np.frombuffer(raw, np.int64).size == 2 + (2 * len(PLAN.steps) if marks else 0)
    assert len(header["clocks_mhz"]) == len(header["floors_s"]) == 1
    assert (header["stream_launch_s"] is None) == marks


def test_the_greeting_is_of_the_gpu(worker: Worker) -> None:
    assert NetworkBench(worker.driver).greeting()["properties"]["name"] == "Tesla T4"
