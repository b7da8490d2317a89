"""Kernels that hang, crash or compute something else, and compilers that fail: records, and the run goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from profiler import campaign, targets
from profiler.artifact import Artifact, Role
from profiler.devices.discover import FoundDevice
from profiler.devices.host import HostDevice
from profiler.kernels.pool_build import BuildFailure, BuildPool
from profiler.record import FailureKind
from profiler.space.config import ScheduleConfig
from profiler.workload import Epilogue, KernelSpec, Op
from tests.devices import c_kernels
from tests.e2e.command import KERNELS, LINES, Outcome, Place

Command = Callable[[list[str]], Outcome]
Evil = Callable[[KernelSpec, int], str]
"""What the n-th config of a kernel (from 0) does instead of its work: C text, "refused", or nothing."""


def _pool(evil: Evil) -> type[BuildPool]:
    class EvilPool(BuildPool):
        """Compiles properly, and then exchanges the code of some."""

        seen: dict[KernelSpec, list[str]] = {}  # noqa: RUF012 - of the one run

        def build(self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]) -> list[Artifact | BuildFailure]:
            return [self._exchanged(result) for result in super().build(requests)]

        def _exchanged(self, result: Artifact | BuildFailure) -> Artifact | BuildFailure:
            assert isinstance(result, Artifact)
            configs = self.seen.setdefault(result.spec, [])
            if result.config not in configs:
                configs.append(result.config)
            body = evil(result.spec, configs.index(result.config))
            if not body:
                return result
            if body == "refused":
                return BuildFailure(result.spec, result.config, FailureKind.COMPILE, "the compiler does not like it")
            output = next(i for i, arg in enumerate(result.args) if arg.role is Role.OUTPUT)
            return replace(result, entry="entry", code=c_kernels.code(body.replace("OUTPUT", f"((char*)a[{output}])")))

    return EvilPool


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(device: FoundDevice, *_: object, **__: object) -> HostDevice:
        return HostDevice(time_limit_s=1.0)

    monkeypatch.setattr(campaign, "open_device", opened)


def test_broken_kernels(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """All configs of the max pool hang; of the others one each is broken in some way."""

    def evil(spec: KernelSpec, number: int) -> str:
        op = spec.workload.op
        if op is Op.MAX_POOL:
            return c_kernels.BODIES["hangs"]
        if number:
            return ""
        if op is Op.AVG_POOL:
            return c_kernels.BODIES["segfaults"]
        if op is Op.DENSE:
            return "OUTPUT[3] = 1;"
        if op is Op.ADD:
            return "refused"
        return c_kernels.BODIES["exits"] if spec.epilogue is Epilogue.BIAS else ""

    monkeypatch.setattr(targets, "BuildPool", _pool(evil))
    answer = command(place.profile())
    assert answer.code == 0, answer.err
    failed = {(f.spec.workload.op, f.kind) for f in place.failures()}
    assert failed == {
        (Op.MAX_POOL, FailureKind.TIMEOUT),
        (Op.AVG_POOL, FailureKind.CRASH),
        (Op.DENSE, FailureKind.WRONG_OUTPUT),
        (Op.ADD, FailureKind.COMPILE),
        (Op.CONV2D, FailureKind.CRASH),
    }
    assert len(place.failures()) == 6, "two of the pool, one of each other"
    (line,) = [line for line in answer.out.splitlines() if line.startswith("pool")]
    assert line.split()[-1] == "-"
    assert f"over {LINES - 1} of {LINES} lines" in answer.out
    assert "no latency for 1 of 7 kernels" in answer.out
    assert "2 timeout" in answer.out
    assert "6 failed candidates" in answer.out
    assert "failed (wrong_output): dot(" in answer.err
    assert command(["lut", "check", str(place.lut)]).code == 0
    assert len(place.lut.read_text().splitlines()) == KERNELS  # a header, and all kernels but one
    assert place.strays() == []

    before = place.journals()
    monkeypatch.setattr(targets, "BuildPool", BuildPool)
    monkeypatch.setenv("PATH", str(place.tmp))  # nothing can be built any more, and nothing need be
    again = command(place.profile("--json"))
    assert again.code == 0, again.err
    told = json.loads(again.out)
    assert (told["measured"], told["failures"]) == (0, 6)
    assert told["totals"]["int8"]["priced"] == LINES - 1
    assert place.journals() == before


def test_no_kernel_works(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "BuildPool", _pool(lambda spec, number: c_kernels.BODIES["aborts"]))
    answer = command(place.profile(model=place.dense))
    assert (answer.code, answer.out) == (2, "")
    last = answer.err.splitlines()[-1]
    assert last.startswith("error: no kernel of dense could be measured: ")
    assert last.endswith("2 crash (SIGABRT)")
    assert {f.kind for f in place.failures()} == {FailureKind.CRASH}
    assert not place.lut.exists()


def _fake_compiler(place: Place, script: str) -> str:
    """A folder for PATH whose ``cc`` does that first; it is the real one otherwise."""
    folder = place.folder / "bin"
    folder.mkdir()
    cc = folder / "cc"
    cc.write_text(f'#!/bin/sh\n{script}\nPATH="{os.environ["PATH"]}" exec cc "$@"\n')
    cc.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo licence has expired >&2; exit 1", "licence has expired"),
        ('case "$*" in *-shared*) exit 7;; esac', "it ended with 7"),
    ],
)
def test_a_c_compiler_that_does_not_work(
    place: Place, command: Command, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    """The end of the run, and no mark on the candidates: they are tried again when the compiler works."""
    with monkeypatch.context() as broken:
        broken.setenv("PATH", _fake_compiler(place, script))
        answer = command(place.profile(model=place.dense))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1] == f"error: the C compiler (cc) does not work: {said}; " + (
        "repair it or install another"
    )
    assert (place.journals(), place.temporary_files()) == ({}, [])
    again = command(place.profile("--json", "--trials", "1", model=place.dense))
    assert again.code == 0, again.err
    assert json.loads(again.out)["failures"] == 0


def test_no_c_compiler(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place.tmp))
    answer = command(place.profile())
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("error: no C compiler: install one")
    assert place.journals() == {}


def test_a_compiler_that_hangs(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = place.folder / "once"
    hang = f'case "$*" in *-shared*) if mkdir "{marker}" 2>/dev/null; then sleep 1000; fi;; esac'
    monkeypatch.setenv("PATH", _fake_compiler(place, hang))
    monkeypatch.setattr(targets, "BuildPool", partial(BuildPool, timeout_s=6.0))
    begin = time.monotonic()
    answer = command(place.profile(model=place.dense))
    assert answer.code == 0, answer.err
    assert time.monotonic() - begin < 60
    (failure,) = place.failures()
    assert (failure.kind, failure.message) == (FailureKind.TIMEOUT, "the compiler took longer than 6 s")
    assert (place.strays(), place.temporary_files()) == ([], [])


def test_temporary_files_cannot_be_written(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the compiler's files vanishes, as cleaners of /tmp do it."""

    class Cleaned(BuildPool):
        def build(self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]) -> list[Artifact | BuildFailure]:
            for folder in place.tmp.glob("lowbit-toolchain-*"):
                folder.rmdir()
                folder.write_text("")
            return super().build(requests)

    monkeypatch.setattr(targets, "BuildPool", Cleaned)
    answer = command(place.profile(model=place.dense))
    assert answer.code == 2
    assert "temporary files cannot be written: Not a directory" in answer.err.splitlines()[-1]
    assert place.journals() == {}
