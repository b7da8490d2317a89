"""The driver's calls, against a driver without a GPU: what is passed, guards, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.gpu.driver import POISON, Driver, DriverError
from tests.gpu.fake_driver import ARTIFACT, launched

pytestmark = pytest.mark.compile

INPUT = np.array([1, 2, 3, 4, 5], np.uint8)


def test_a_launch_passes_what_the_artifact_says(library: str) -> None:
    with Driver(library=library) as driver:
        assert (driver.name, driver.arch) == ("Fake", "sm_90")
        left = driver.launch(launched(4, 2, 3), {"input": INPUT})
    assert left["output"].tolist() == [2, 3, 4, 5, POISON]
    assert left["input"].tolist() == [1, 2, 3, 4, 5]
    assert not left["counters"].any()


def test_a_write_behind_a_buffer_is_noticed(library: str) -> None:
    with Driver(library=library) as driver, pytest.raises(AssertionError, match="output: the kernel wrote outside"):
        driver.launch(launched(6, 2, 3), {"input": INPUT})


def test_what_the_driver_refuses_is_an_error_with_its_words(library: str) -> None:
    with Driver(library=library) as driver:
        with pytest.raises(DriverError, match="cuModuleLoadData: device kernel image is invalid") as refused:
            driver.launch(replace(ARTIFACT, code=b"other"), {"input": INPUT})
        assert refused.value.code == 200
        with pytest.raises(DriverError, match="cuLaunchKernel"):
            driver.launch(launched(4, 2, 1), {"input": INPUT})
        assert driver.usable
    with pytest.raises(DriverError, match="invalid device ordinal"):
        Driver(1, library)
    with pytest.raises(DriverError, match="no NVIDIA driver") as missing:
        Driver(library="libthere-is-none.so")
    assert missing.value.code is None


def test_a_context_that_an_error_has_broken_is_replaced(library: str) -> None:
    with Driver(library=library) as driver:
        with pytest.raises(DriverError, match="illegal memory access") as broken:
            driver.launch(launched(700, 2, 3), {"input": INPUT})
        assert broken.value.code == 700
        with pytest.raises(DriverError, match="cuModuleLoadData: an illegal memory access"):
            driver.launch(ARTIFACT, {"input": INPUT})
        assert not driver.usable
        driver.revive()
        assert driver.usable
        assert driver.launch(ARTIFACT, {"input": INPUT})["output"].tolist() == [2, 3, 4, 5, 6]


def test_a_gpu_that_gives_no_new_context_stays_unusable(library: str) -> None:
    with Driver(library=library) as driver:
        with pytest.raises(DriverError, match="unspecified launch failure"):
            driver.launch(launched(719, 2, 3), {"input": INPUT})
        driver.revive()
        assert not driver.usable
