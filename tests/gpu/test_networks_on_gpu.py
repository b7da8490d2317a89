"""Whole networks on the GPU at hand: every step and the graph of all of them bit for bit, timed, and their energy.

pytest -m gpu tests/gpu/test_networks_on_gpu.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from profiler.artifact import Artifact
from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import Vendor, discover, open_monitor
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.gpu_spec import spec_of
from profiler.hardware import GpuSpec
from profiler.kernels.backend import CudaBackend
from profiler.kernels.pool_build import BuildPool
from profiler.network.cuda_run import CudaNetwork
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.record import Energy
from profiler.space.gpu import usual_config
from profiler.targets import cuda_for_driver
from profiler.workload import DType, Epilogue, KernelSpec
from tests.network.cuda_drafts import chain, residual
from tests.network.integer_drafts import Draft, random_inputs

pytestmark = pytest.mark.gpu

U8, S8, U4, S4 = DType.UINT8, DType.INT8, DType.UINT4, DType.INT4
BATCH = 8


def resnet18_like(mixed: bool) -> IntegerNetwork:
    """The layers of ResNet18 on images of 224 x 224: all INT8, or every other stage INT4."""
    draft = Draft(seed=5, batch=BATCH)
    x = draft.input(224, 224, 3, S8)
    x = draft.max_pool(draft.conv(x, 64, 7, stride=2))
    for stage, channels in enumerate((64, 128, 256, 512)):
        narrow = mixed and stage % 2 == 1
        output, weight = (U4, S4) if narrow else (U8, DType.INT8)
        x = draft.convert(x, output) if draft.values[x].dtype is not output else x
        for block in range(2):
            stride = 2 if stage and not block else 1
            inner = draft.conv(x, channels, 3, output=output, weight=weight, stride=stride)
            kept = x
            if stride == 2:
                kept = draft.conv(
                    x, channels, 1, output=output, weight=weight, stride=2, epilogue=Epilogue.REQUANT_RELU
                )
            fused = Epilogue.ADD_REQUANT_RELU
            x = draft.conv(inner, channels, 3, output=output, weight=weight, epilogue=fused, residual=kept)
    x = draft.convert(x, U8) if draft.values[x].dtype is not U8 else x
    return draft.network([draft.dense(draft.avg_pool(x), 1000)], f"resnet18-like{'-mixed' if mixed else ''}")


@dataclass(frozen=True)
class Card:
    """What is at hand."""

    spec: GpuSpec
    command: tuple[str, ...]
    monitor: GpuMonitor
    cuda: str

    def kernels(self, network: IntegerNetwork) -> Mapping[KernelSpec, Artifact]:
        specs = list(dict.fromkeys(step.spec for step in network.steps))
        with BuildPool(CudaBackend(self.spec, self.cuda), 2) as pool:
            built = pool.build([(spec, usual_config(spec, self.spec)) for spec in specs])
        artifacts = {spec: result for spec, result in zip(specs, built, strict=True) if isinstance(result, Artifact)}
        assert len(artifacts) == len(specs), [result for result in built if not isinstance(result, Artifact)]
        return artifacts

    def network(self, network: IntegerNetwork) -> CudaNetwork:
        return CudaNetwork(network, self.kernels(network), self.command, self.monitor)


@pytest.fixture(scope="module")
def card() -> Iterator[Card]:
    here = discover()
    usable = [gpu for gpu in here.gpus if not gpu.obstacle]
    if not usable:
        pytest.fail(f"the gpu tests need a GPU; found: {here.text}")
    gpu = usable[0]
    vendor = Vendor()
    monitor = open_monitor(gpu, vendor)
    with CudaDevice(gpu.slug, (*vendor.worker, gpu.pci_bus_id), GpuMonitor(vendor.nvml, gpu.uuid)) as device:
        properties = device.properties
    with monitor:
        yield Card(
            spec_of(properties),
            (*vendor.network_worker, gpu.pci_bus_id),
            monitor,
            cuda_for_driver(properties.driver_version),
        )


NETWORKS = {"int8": lambda: resnet18_like(False), "mixed": lambda: resnet18_like(True), "small": residual}


@pytest.mark.parametrize("which", NETWORKS)
def test_every_step_is_the_oracles(card: Card, which: str) -> None:
    network = NETWORKS[which]()
    inputs = random_inputs(network)
    with card.network(network) as gpu:
        verified = gpu.verify(inputs)
        assert verified.steps == len(network.steps)
        latency = gpu.latency(inputs)
        print(f"\n{network.name}: {latency.times.summary}, steps {sum(latency.times.step_medians_s):.6g} s, ")
        print(f"kernel by kernel {gpu.stream_launch_s} s, {latency.circumstances}")
        others = random_inputs(network, seed=2)
        expected = oracle_run(network, others)
        for name, found in gpu.run(others).items():
            np.testing.assert_array_equal(found, expected[name])
    assert not latency.times.contaminated
    assert gpu.stream_launch_s is not None
    assert latency.times.summary.median_s < 1.1 * gpu.stream_launch_s, "a graph is no slower than launches from Python"
    assert latency.circumstances.floor_s is not None
    assert latency.circumstances.floor_s < latency.times.summary.median_s


@pytest.mark.parametrize("steps", [150, 340, 900])
def test_long_networks_go_through_the_queue(card: Card, steps: int) -> None:
    """Whether a graph of so many launches, and its marked runs, can be queued behind a spinning kernel."""
    network = chain(steps)
    with card.network(network) as gpu:
        gpu.verify(random_inputs(network))
        times = gpu.latency(random_inputs(network)).times
    print(f"\n{steps} steps: {times.summary.median_s:.6g} s, marked {sum(times.step_medians_s):.6g} s")


def test_the_energy_of_a_run(card: Card) -> None:
    """The counter and the sensor agree, and a window takes the power of one that is as long as another."""
    network = resnet18_like(False)
    with card.network(network) as gpu:
        energy = gpu.energy(random_inputs(network), card.monitor)
    print(f"\n{energy}")
    assert isinstance(energy, Energy)
    assert energy.idle_w is not None
    for window in energy.windows:
        assert window.duration_s >= 5
        assert window.integrated_j is not None
        assert window.integrated_j / window.duration_s > energy.idle_w
    for one, other in pairwise(energy.windows):
        assert one.integrated_j == pytest.approx(other.integrated_j, rel=0.1)
    if energy.counted_j_per_run is not None:
        assert energy.integrated_j_per_run == pytest.approx(energy.counted_j_per_run, rel=0.05)
