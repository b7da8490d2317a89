"""The GPU's worker from inside: a driver that fails where nobody expects it is never taken for a defect of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from profiler.devices.cuda_driver import DriverError
from profiler.devices.cuda_timing import Timer
from profiler.devices.cuda_worker import CudaBench
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import answer

from .cuda_kernels import conv
from .fake_cuda import FakeCuda

pytestmark = pytest.mark.compile


@pytest.fixture
def driver() -> FakeCuda:
    driver = FakeCuda()
    driver.learn(conv())
    return driver


@pytest.fixture
def ask(driver: FakeCuda) -> Callable[[str], Header]:
    """Puts requests to a bench; the header of the answer."""
    operations = CudaBench(driver, lambda: driver.host_s).operations()
    request: Header = {"handle": 1, "launches": 2, "mode": "hot"}
    return lambda name: answer(operations, {**request, "request": name}, conv().to_bytes())[0]


REQUESTS = ("load", "verify", "time", "recheck", "unload")
BREAKABLE = {
    "load": ("load", "function", "allocate", "event", "properties"),
    "verify": ("write", "record", "launch", "wait", "elapsed_s", "read", "properties"),
    "time": ("record", "launch", "wait", "elapsed_s", "read"),
    "recheck": ("read",),
    "unload": ("free", "unload"),
}


def breaks(code: int) -> Any:
    def fail(*_: object) -> None:
        raise DriverError(code, "cuTest")

    return fail


@pytest.mark.parametrize(("request_name", "call"), [(name, call) for name in REQUESTS for call in BREAKABLE[name]])
@pytest.mark.parametrize(
    ("code", "kind", "last"), [(700, "crash", True), (2, "unstable", False), (802, "device", True)]
)
def test_whatever_the_driver_says_has_a_meaning(
    driver: FakeCuda,
    ask: Callable[[str], Header],
    monkeypatch: pytest.MonkeyPatch,
    request_name: str,
    call: str,
    code: int,
    kind: str,
    last: bool,
) -> None:
    for name in REQUESTS[: REQUESTS.index(request_name)]:
        assert ask(name)["ok"], name
    broken = breaks(code)
    monkeypatch.setattr(FakeCuda, call, property(broken) if call == "properties" else broken)
    said = ask(request_name)
    assert (said["ok"], said.get("kind"), said.get("last")) == (False, kind, last), said
    assert "cuTest" in said["message"]


def test_the_card_is_woken_when_a_kernel_was_verified(
    driver: FakeCuda, ask: Callable[[str], Header], monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(Timer, "wake", lambda self: woken.append(driver.history[-1].name))
    ask("load")
    assert not woken
    driver.history.clear()
    ask("verify")
    assert woken == ["event"], "behind the launch"
