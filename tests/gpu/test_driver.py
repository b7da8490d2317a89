"""The driver's calls, against a driver without a GPU: what is passed, guards, errors."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiler.artifact import ArgSpec, Artifact, Check, Launch, Resources, Role
from profiler.quantize.packing import Packing
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.gpu.driver import POISON, Driver, DriverError

pytestmark = pytest.mark.compile

SPEC = KernelSpec(Workload(Op.CONVERT, 1, 1, 1, 5, 5), DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT)
ARTIFACT = Artifact(
    spec=SPEC,
    config="simt_vector(threads=64,channels=1)",
    threads=1,
    entry="entry",
    arch="sm_90",
    features=(),
    args=(ArgSpec("input", Role.INPUT, 5), ArgSpec("output", Role.OUTPUT, 5), ArgSpec("counters", Role.COUNTERS, 8)),
    packing=Packing("plain"),
    check=Check(0, "0" * 64),
    compiler="none",
    native=True,
    code=b"cubin",
    launch=Launch((4, 2, 3), 64, 48),
    resources=Resources(16, 0, 0, 48, 64, 16, 0.5, {}, {}, 7, "525.60.13"),
)
INPUT = np.array([1, 2, 3, 4, 5], np.uint8)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("driver") / "libfake.so"
    source = Path(__file__).with_name("fake_driver.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-o", str(path), str(source)], check=True)
    return str(path)


def test_a_launch_passes_what_the_artifact_says(library: str) -> None:
    with Driver(library=library) as driver:
        assert (driver.name, driver.arch) == ("Fake", "sm_90")
        left = driver.launch(ARTIFACT, {"input": INPUT})
    assert left["output"].tolist() == [2, 3, 4, 5, POISON]
    assert left["input"].tolist() == [1, 2, 3, 4, 5]
    assert not left["counters"].any()


def test_a_write_behind_a_buffer_is_noticed(library: str) -> None:
    beyond = replace(ARTIFACT, launch=Launch((6, 2, 3), 64, 48))
    with Driver(library=library) as driver, pytest.raises(AssertionError, match="output: the kernel wrote outside"):
        driver.launch(beyond, {"input": INPUT})


def test_what_the_driver_refuses_is_an_error_with_its_words(library: str) -> None:
    with Driver(library=library) as driver:
        with pytest.raises(DriverError, match="cuModuleLoadData: device kernel image is invalid"):
            driver.launch(replace(ARTIFACT, code=b"other"), {"input": INPUT})
        with pytest.raises(DriverError, match="cuLaunchKernel"):
            driver.launch(replace(ARTIFACT, launch=Launch((4, 2, 1), 64, 48)), {"input": INPUT})
    with pytest.raises(DriverError, match="invalid device ordinal"):
        Driver(1, library)
    with pytest.raises(DriverError, match="no NVIDIA driver"):
        Driver(library="libthere-is-none.so")
