"""``--check``: what can be found wrong before anything is measured, one line each."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Callable

import numpy as np

from profiler.artifact import Artifact
from profiler.bundle.box import machine
from profiler.bundle.box.archive import Archive
from profiler.bundle.box.draws import require_draws
from profiler.bundle.box.manifest import Configuration
from profiler.bundle.box.network_run import NetworkRunner, opened_network_device
from profiler.devices.discover import FoundDevice, Vendor, discover
from profiler.devices.protocol import Device, KernelFailure
from profiler.errors import ProfilerError


@dataclass(frozen=True)
class Point:
    """``passed`` is None for a point that could not be tried, because of one before."""

    name: str
    passed: bool | None
    text: str


def selftest(
    archive: Archive, selector: str | None, vendor: Vendor, sustained: bool, networks: bool = True
) -> Iterator[Point]:
    """All points, each as it is decided. ``selector`` is a GPU's index or UUID, by default the first that fits.
    ``networks`` : verify those of the bundle too."""
    yield Point("python", True, platform.python_version())
    yield Point("numpy", True, np.__version__)
    tests = _Tests(archive, selector, vendor, sustained, archive.manifest.configurations if networks else ())
    try:
        stopped = False
        for name, test, decisive in tests.all:
            if stopped:
                yield Point(name, None, "not tried")
                continue
            try:
                yield Point(name, True, test())
            except (ProfilerError, KernelFailure) as error:
                yield Point(name, False, str(error))
                stopped = decisive
    finally:
        tests.close()


class _Tests:
    """Tests that build on each other: each returns what it found, or raises."""

    def __init__(
        self,
        archive: Archive,
        selector: str | None,
        vendor: Vendor,
        sustained: bool,
        configurations: Sequence[Configuration],
    ) -> None:
        self._archive = archive
        self._manifest = archive.manifest
        self._selector = selector
        self._vendor = vendor
        self._sustained = sustained
        self._configurations = configurations
        self._found: FoundDevice | None = None
        self._device: Device | None = None
        self._handle: int | None = None

    @property
    def all(self) -> tuple[tuple[str, Callable[[], str], bool], ...]:
        """Name, test, and whether those after it make no sense without it."""
        fit = ("driver", self._driver) if self._manifest.is_gpu else ("features", self._features)
        return (
            ("generator", self._generator, False),
            ("artifacts", self._artifacts, True),
            *((("networks", self._networks, True),) if self._configurations else ()),
            ("device", self._find, True),
            (*fit, True),
            ("worker", self._load, True),
            ("kernel", self._verify, True),
            *(("network", partial(self._run, configuration), False) for configuration in self._configurations),
        )

    def close(self) -> None:
        if self._device is not None:
            self._device.close()

    def _generator(self) -> str:
        require_draws(self._manifest)
        return f"draws what the manifest says for {len(self._manifest.draws)} kernels"

    def _artifacts(self) -> str:
        count = 0
        for kernel in self._manifest.kernels:
            for candidate in kernel.candidates:
                self._archive.artifact(candidate)
                count += 1
        return f"{count} kernels are sound"

    def _networks(self) -> str:
        for configuration in self._configurations:
            self._archive.network(configuration)
        return f"{len(self._configurations)} are sound"

    def _find(self) -> str:
        self._found = machine.find(self._manifest, self._selector, discover(self._vendor))
        return self._found.text

    def _driver(self) -> str:
        assert self._found is not None
        driver = machine.driver_of(self._found, self._vendor)
        machine.require_driver(self._manifest, driver)
        return f"{driver or 'unknown'}, at least {self._manifest.least_driver} is needed"

    def _features(self) -> str:
        machine.require_features(self._manifest.features)
        return ", ".join(self._manifest.features) or "none needed"

    def _load(self) -> str:
        assert self._found is not None
        self._device = machine.open_found(self._manifest, self._found, self._vendor, self._sustained)
        self._handle = self._device.load(self._small())
        return "starts and loads a kernel"

    def _verify(self) -> str:
        assert self._device is not None
        assert self._handle is not None
        self._device.verify(self._handle)
        return f"{self._manifest.draws[0].spec.key}: every byte of the output is right"

    def _run(self, configuration: Configuration) -> str:
        assert self._device is not None
        assert self._found is not None
        with opened_network_device(self._found, self._device, self._vendor, self._sustained) as place:
            steps, nbytes = NetworkRunner(self._archive, place).verify(configuration)
        return f"{configuration.name}: all {nbytes:,} bytes of {steps} steps are right, and so are all steps in a row"

    def _small(self) -> Artifact:
        spec = self._manifest.draws[0].spec
        kernel = next(kernel for kernel in self._manifest.kernels if kernel.spec == spec)
        return self._archive.artifact(kernel.candidates[0])
