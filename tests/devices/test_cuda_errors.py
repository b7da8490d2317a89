"""The table of the driver's errors, compared with the driver's own header."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from profiler.devices.cuda_driver import DriverError
from profiler.devices.cuda_errors import ERRORS, describe, failure
from profiler.devices.protocol import KernelFailure
from profiler.devices.worker_loop import LastFailure
from profiler.errors import DeviceError
from profiler.record import FailureKind

EXPECTED = (1, 2, 34, 36, 46, 100, 101, 200, 201, 209, 214, 218, 221, 222, 300, 303, 500, 700, 701, 702, 710, 715, 716)
EXPECTED_TOO = (717, 718, 719, 720, 800, 801, 802, 803, 804, 999)


def _header() -> str:
    nvcc = shutil.which("nvcc")
    roots = [Path("/usr/local/cuda"), *([Path(nvcc).resolve().parents[1]] if nvcc else [])]
    for root in roots:
        path = root / "include" / "cuda.h"
        if path.exists():
            return path.read_text()
    pytest.skip("cuda.h is not here")


def test_what_can_come_is_known() -> None:
    assert set(EXPECTED + EXPECTED_TOO) <= set(ERRORS)


def test_numbers_and_names_are_the_drivers() -> None:
    entries = re.findall(r"^\s+CUDA_ERROR_(\w+)\s*=\s*(\d+)", _header(), re.MULTILINE)
    names = {int(code): name for name, code in entries}
    assert len(names) > 80
    assert {code: error.name for code, error in ERRORS.items()} == {code: names[code] for code in ERRORS}


def test_contexts_that_are_lost_are_those_that_the_driver_says() -> None:
    """Its comments: the process must be terminated and relaunched, or the context must be destroyed."""
    comments = re.findall(r"/\*\*((?:(?!\*/).)*)\*/\s+CUDA_ERROR_\w+\s*=\s*(\d+)", _header(), re.DOTALL)
    lost = {
        int(code)
        for comment, code in comments
        if re.search(r"must be\s+\*?\s*terminated|must be destroyed", re.sub(r"\s*\*\s*", " ", comment))
    }
    assert {700, 702, 710, 715, 719} <= lost
    assert all(not ERRORS[code].context_survives for code in lost & set(ERRORS))
    assert lost <= set(ERRORS)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_is_one_line_with_advice(code: int) -> None:
    text = describe(DriverError(code, "cuSomething"))
    error = ERRORS[code]
    assert "\n" not in text
    assert error.happened in text
    assert f"(CUDA_ERROR_{error.name}, {code}, cuSomething): {error.advice}" in text
    assert len(error.happened) > 10
    assert len(error.advice) > 10


def test_whose_fault_it_is() -> None:
    refused, crashed, late = (failure(DriverError(code, "f")) for code in (701, 700, 702))
    assert isinstance(refused, KernelFailure)
    assert not isinstance(refused, LastFailure)
    assert refused.kind is FailureKind.LAUNCH
    assert isinstance(crashed, LastFailure)
    assert crashed.kind is FailureKind.CRASH
    assert isinstance(late, LastFailure)
    assert late.kind is FailureKind.TIMEOUT
    assert isinstance(failure(DriverError(214, "f")), DeviceError)


def test_an_error_that_nobody_knows() -> None:
    unknown = failure(DriverError(4321, "cuNew", "something new"), "loading the code")
    assert isinstance(unknown, LastFailure)
    assert str(unknown).startswith("loading the code: something new (error 4321 of cuNew)")
