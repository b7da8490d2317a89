"""Every template on a real GPU, bit for bit against the oracle: the emulator's cases, built for the GPU at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from profiler.artifact import Artifact
from profiler.hardware import GPUS, GpuSpec
from tests.gpu.build_cases import build_cases
from tests.gpu.check_artifacts import check
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
    failures = []
    for artifact in build_cases(spec_of(driver)):
        try:
            check(driver, artifact)
        except (AssertionError, DriverError) as error:
            failures.append(f"{artifact.spec.key} {artifact.config}: {error}")
    assert not failures, "\n".join(failures)


def test_a_wrong_expectation_is_noticed(driver: Driver) -> None:
    artifact: Artifact = next(iter(build_cases(spec_of(driver))))
    with pytest.raises(AssertionError, match="not the oracle's"):
        check(driver, replace(artifact, check=replace(artifact.check, output_sha256="0" * 64)))


def spec_of(driver: Driver) -> GpuSpec:
    """A GPU that we know and whose architecture this one has."""
    known = [gpu for gpu in GPUS.values() if gpu.arch == driver.arch]
    if not known:
        pytest.fail(f"no kernels are built for {driver.name} ({driver.arch})")
    return known[0]
