"""Replay: conformance on what a live run on the host has written, and nothing beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.devices.host import HostDevice
from profiler.devices.protocol import Device
from profiler.devices.replay import ReplayDevice
from profiler.errors import DeviceError, InvalidFile, NotRecorded
from profiler.measure import measure
from profiler.measure.energy import why_none
from profiler.measure.kernel_energy import measure_energy
from profiler.record import (
    CacheMode,
    Circumstances,
    Conditions,
    Energy,
    EnergyMeasurement,
    EnergyWindow,
    Fingerprint,
    Journal,
    Measurement,
    Record,
)

from .c_kernels import artifact, needs_compiler
from .conformance import QUICK, RUN, DeviceConformance, Kernels
from .test_host import host_kernels


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a live run on the host writes: all kernels in all cache modes."""
    needs_compiler()
    path = tmp_path_factory.mktemp("replay") / "log.jsonl"
    written = Journal(path)
    with HostDevice(time_limit_s=20) as device:
        written.append([device.fingerprint(RUN.compiler)])
        for mode in CacheMode:
            written.append(measure(device, host_kernels().all(), Conditions(1, mode), QUICK, "final", RUN))
    return path


class TestConformance(DeviceConformance):
    @pytest.fixture
    def device(self, journal: Path) -> Iterator[Device]:
        with ReplayDevice.from_journals([journal]) as device:
            yield device

    @pytest.fixture
    def kernels(self) -> Kernels:
        return host_kernels()


def recorded(journal: Path) -> list[Record]:
    return list(Journal(journal).read())


def test_records_come_back_unchanged(journal: Path) -> None:
    device = ReplayDevice.from_journals([journal])
    kernels = host_kernels().all()
    for number, mode in enumerate(CacheMode):
        replayed = measure(device, kernels, Conditions(1, mode), QUICK, "final", RUN)
        first = 1 + number * len(kernels)
        assert list(replayed) == recorded(journal)[first : first + len(kernels)]


def test_energies_come_back_unchanged_or_not_at_all(journal: Path) -> None:
    kernels, conditions = host_kernels(), Conditions(1, CacheMode.HOT)
    right = kernels.right
    records = recorded(journal)
    instrument = next(r for r in records if isinstance(r, Fingerprint)).digest
    energy = Energy((EnergyWindow(10, 5.0, 50.0, None),), 10.0, 10.0, (), "meter")
    found = EnergyMeasurement(right.spec, right.config, conditions, instrument, right.sha256, energy, "r", 1.0, "0")
    later = replace(found, measured_at=2.0)
    device = ReplayDevice([*records, later, found])
    assert measure_energy(device, right, conditions, RUN) == later
    for kernel, other in ((kernels.also_right, conditions), (right, Conditions(1, CacheMode.COLD))):
        with pytest.raises(NotRecorded, match="no energy with"):
            measure_energy(device, kernel, other, RUN)
    assert why_none(device.counter) == "a replay has no energy but what was recorded"


def test_samples_come_in_their_order(journal: Path) -> None:
    device = ReplayDevice.from_journals([journal])
    kernel = host_kernels().right
    samples_s = next(
        r.samples_s
        for r in recorded(journal)
        if isinstance(r, Measurement)
        and r.artifact_sha256 == kernel.sha256
        and r.conditions.cache_mode is CacheMode.COLD
    )
    handle = device.load(kernel)
    answers = [device.time(handle, 2, CacheMode.COLD) for _ in range(len(samples_s) + 1)]
    assert answers == [(s, s) for s in (*samples_s, samples_s[0])]


def test_what_was_not_recorded(journal: Path) -> None:
    device = ReplayDevice.from_journals([journal])
    known = host_kernels().right
    with pytest.raises(NotRecorded, match=known.spec.key):
        device.load(replace(known, code=known.code + b" "))
    with pytest.raises(NotRecorded):
        device.load(replace(known, threads=2))
    with pytest.raises(NotRecorded, match="cc 2"):
        device.fingerprint("cc 2")
    for stage, threads in (("screen", 1), ("final", 2)):
        with pytest.raises(NotRecorded):
            device.recall(known, Conditions(threads, CacheMode.HOT), stage)
    hot_only = [
        r
        for r in recorded(journal)
        if isinstance(r, Fingerprint) or (isinstance(r, Measurement) and r.conditions.cache_mode is CacheMode.HOT)
    ]
    device = ReplayDevice(hot_only)
    handle = device.load(known)
    device.time(handle, 1, CacheMode.HOT)
    with pytest.raises(NotRecorded, match="network"):
        device.time(handle, 1, CacheMode.NETWORK)


def test_the_latest_record_counts(journal: Path) -> None:
    records = recorded(journal)
    old = next(r for r in records if isinstance(r, Measurement))
    new = replace(old, samples_s=(1.0,), measured_at=old.measured_at + 1, circumstances=Circumstances(load_average=3.0))
    device = ReplayDevice([new, *records])
    kernel = next(a for a in host_kernels().all() if a.sha256 == old.artifact_sha256)
    assert device.recall(kernel, old.conditions, "final") == new
    device.time(device.load(kernel), 1, old.conditions.cache_mode)
    assert device.circumstances().load_average == 3.0


def test_records_of_one_instrument_only(journal: Path, tmp_path: Path) -> None:
    other = Fingerprint("cpu", "Another CPU", "avx2", "1", "linux", "cc")
    first = recorded(journal)[0]
    assert isinstance(first, Fingerprint)
    with pytest.raises(DeviceError, match="Another CPU"):
        ReplayDevice([first, other])
    assert ReplayDevice([first, other], other.short).fingerprint("cc") == other
    with pytest.raises(NotRecorded):
        ReplayDevice([*recorded(journal), other], other.short).load(artifact())
    with pytest.raises(DeviceError, match="no fingerprint"):
        ReplayDevice.from_journals([tmp_path / "missing.jsonl"])
    (tmp_path / "broken.jsonl").write_text("not a record\n")
    with pytest.raises(InvalidFile, match="line 1"):
        ReplayDevice.from_journals([tmp_path / "broken.jsonl"])
