"""Every template on a real GPU, bit for bit against the oracle: the cases of `build_cases`, for the GPU at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice

import pytest

from profiler.hardware import GPUS, GpuSpec
from tests.gpu.build_cases import build, requests
from tests.gpu.check_artifacts import check, fault
from tests.gpu.driver import Driver, DriverError

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    try:
        opened = Driver()
    except DriverError as error:
        pytest.fail(f"the gpu tests need a GPU: {error}")
    with opened:
        yield opened


def test_every_template_is_right(driver: Driver) -> None:
    gpu = spec_of(driver)
    failures = []
    with closing(build(gpu, requests(gpu))) as artifacts:
        for artifact in artifacts:
            wrong = fault(driver, artifact)
            if wrong is not None:
                failures.append(wrong)
            if not driver.usable:
                failures.append("the GPU was lost; the kernels after this one were not tried")
                break
    assert not failures, "\n".join(failures)


def test_a_wrong_expectation_is_noticed(driver: Driver) -> None:
    gpu = spec_of(driver)
    (artifact,) = build(gpu, islice(requests(gpu), 1))
    with pytest.raises(AssertionError, match="not the oracle's"):
        check(driver, replace(artifact, check=replace(artifact.check, output_sha256="0" * 64)))


def spec_of(driver: Driver) -> GpuSpec:
    """A GPU that we know and whose architecture this one has."""
    known = [gpu for gpu in GPUS.values() if gpu.arch == driver.arch]
    if not known:
        pytest.fail(f"no kernels are built for {driver.name} ({driver.arch})")
    return known[0]
