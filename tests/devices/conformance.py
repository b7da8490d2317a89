"""What every device must do. One class per device inherits `DeviceConformance` and brings its fixtures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from profiler.artifact import Artifact
from profiler.devices.protocol import Device, KernelFailure, Throttling
from profiler.measure import Run, StoppingRule, measure
from profiler.record import CacheMode, Circumstances, Conditions, Failure, FailureKind, Measurement

RUN = Run(run_id="run", tool_version="0", compiler="cc")
QUICK = StoppingRule(sample_s=1e-4, min_samples=3, max_samples=4, target=0.5, budget_s=0.01)


@dataclass(frozen=True)
class Kernels:
    """Artifacts that the device under test knows: two that are right, and one for each way to fail.

    ``refused`` must not be launched at all; ``refusal`` is part of what the device says about it.
    """

    right: Artifact
    also_right: Artifact
    wrong: Artifact
    crashing: Artifact
    refused: Artifact
    refusal: str

    def all(self) -> tuple[Artifact, ...]:
        return (self.right, self.also_right, self.wrong, self.crashing, self.refused)


class DeviceConformance:
    """Tests of `profiler.devices.protocol.Device`. A fixture ``device`` gives an open device."""

    @pytest.fixture
    def device(self) -> Iterator[Device]:
        raise NotImplementedError

    @pytest.fixture
    def kernels(self) -> Kernels:
        raise NotImplementedError

    def test_slug_can_name_files(self, device: Device) -> None:
        assert re.fullmatch(r"[a-z0-9-]+", device.slug)

    def test_fingerprint_is_stable(self, device: Device) -> None:
        first = device.fingerprint("cc")
        assert first == device.fingerprint("cc")
        assert (first.device, first.compiler) == (device.slug, "cc")
        assert first.device_name
        assert first.arch

    @pytest.mark.parametrize("mode", list(CacheMode))
    def test_times_are_seconds_of_each_launch(self, device: Device, kernels: Kernels, mode: CacheMode) -> None:
        handle = device.load(kernels.right)
        device.verify(handle)
        for launches in (1, 5):
            times_s = device.time(handle, launches, mode)
            assert len(times_s) == launches
            assert all(math.isfinite(t) and 0 < t < 1 for t in times_s)
        assert device.time(handle, 0, mode) == ()

    def test_verify_can_be_repeated(self, device: Device, kernels: Kernels) -> None:
        handle = device.load(kernels.right)
        device.verify(handle)
        device.time(handle, 3, CacheMode.HOT)
        device.verify(handle)

    def test_recheck(self, device: Device, kernels: Kernels) -> None:
        """A right kernel leaves the right output, however often it was launched, and after a second look as well."""
        handle = device.load(kernels.right)
        device.recheck(handle)  # nothing was launched
        device.verify(handle)
        device.recheck(handle)
        for mode in CacheMode:
            device.time(handle, 3, mode)
            device.recheck(handle)
        device.recheck(handle)

    @pytest.mark.parametrize("mode", list(CacheMode))
    def test_work_goes_on_for_a_while_and_counts(self, device: Device, kernels: Kernels, mode: CacheMode) -> None:
        """At least once, in whatever mode; and what the last launch left is right."""
        handle = device.load(kernels.right)
        device.verify(handle)
        assert device.work(handle, 0.0, mode).runs >= 1
        few, many = (device.work(handle, duration_s, mode).runs for duration_s in (0.001, 0.01))
        assert 1 <= few < many
        device.recheck(handle)
        device.work(handle, 0.001, CacheMode.HOT)
        assert len(device.time(handle, 2, mode)) == 2
        device.recheck(handle)
        device.unload(handle)
        with pytest.raises(KeyError):
            device.work(handle, 0.001, mode)

    def test_a_counter_tells_joules_or_why_not(self, device: Device) -> None:
        counter = device.counter
        assert counter.name
        if counter.read_j() is None and counter.power_w() is None:
            assert counter.refusals
        assert all("\n" not in refusal for refusal in counter.refusals)

    def test_wrong_output(self, device: Device, kernels: Kernels) -> None:
        handle = device.load(kernels.wrong)
        with pytest.raises(KernelFailure) as caught:
            device.verify(handle)
        assert caught.value.kind is FailureKind.WRONG_OUTPUT
        assert caught.value.message

    def test_crash_leaves_the_others_alone(self, device: Device, kernels: Kernels) -> None:
        before = device.load(kernels.right)
        device.verify(before)
        with pytest.raises(KernelFailure) as caught:
            device.verify(device.load(kernels.crashing))
        assert caught.value.kind is FailureKind.CRASH
        device.verify(before)
        assert len(device.time(before, 2, CacheMode.HOT)) == 2
        device.verify(device.load(kernels.also_right))

    def test_what_cannot_run_is_not_launched(self, device: Device, kernels: Kernels) -> None:
        with pytest.raises(KernelFailure) as caught:
            device.load(kernels.refused)
        assert caught.value.kind is FailureKind.LAUNCH
        assert kernels.refusal in caught.value.message

    def test_handles_are_independent(self, device: Device, kernels: Kernels) -> None:
        handles = [device.load(a) for a in (kernels.right, kernels.right, kernels.also_right)]
        assert len(set(handles)) == 3
        device.unload(handles[0])
        for handle in handles[1:]:
            device.verify(handle)
        with pytest.raises(KeyError):
            device.verify(handles[0])
        with pytest.raises(KeyError):
            device.time(handles[0], 1, CacheMode.HOT)
        with pytest.raises(KeyError):
            device.recheck(handles[0])
        with pytest.raises(KeyError):
            device.unload(handles[0])
        assert device.load(kernels.right) not in handles

    def test_circumstances_can_be_asked_at_any_time(self, device: Device, kernels: Kernels) -> None:
        assert isinstance(device.circumstances(), Circumstances)
        handle = device.load(kernels.right)
        device.verify(handle)
        device.time(handle, 1, CacheMode.HOT)
        assert isinstance(device.circumstances(), Circumstances)

    def test_throttling_is_told_or_not_known(self, device: Device, kernels: Kernels) -> None:
        device.time(device.load(kernels.right), 1, CacheMode.HOT)
        throttling = device.throttling()
        assert throttling is None or isinstance(throttling, Throttling)

    def test_close(self, device: Device, kernels: Kernels) -> None:
        with device as same:
            assert same is device
            handle = device.load(kernels.right)
        with pytest.raises(KeyError):
            device.verify(handle)
        device.close()

    def test_measured_together(self, device: Device, kernels: Kernels) -> None:
        conditions = Conditions(threads=1, cache_mode=CacheMode.HOT)
        records = measure(device, kernels.all(), conditions, QUICK, "final", RUN)
        assert [type(record) for record in records] == [Measurement, Measurement, Failure, Failure, Failure]
        assert [r.kind for r in records if isinstance(r, Failure)] == [
            FailureKind.WRONG_OUTPUT,
            FailureKind.CRASH,
            FailureKind.LAUNCH,
        ]
        digest = device.fingerprint("cc").digest
        for artifact, record in zip(kernels.all(), records, strict=True):
            assert (record.spec, record.config, record.conditions) == (artifact.spec, artifact.config, conditions)
            assert record.fingerprint == digest
            if isinstance(record, Measurement):
                assert record.artifact_sha256 == artifact.sha256
                assert record.summary.median_s > 0
