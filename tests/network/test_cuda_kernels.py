"""A whole network of real cubins for a T4, as our compiler packs their parameters, on a pretended card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from profiler.artifact import Artifact, Role
from profiler.hardware import GPUS
from profiler.kernels.backend import CudaBackend
from profiler.kernels.toolchain import ToolchainError
from profiler.measure.rule import StoppingRule
from profiler.network.cuda_run import CudaNetwork
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.space.config import MmaConfig
from profiler.space.gpu import config_space, usual_config
from profiler.workload import KernelSpec, Op
from tests.devices.fake_cuda_network_worker import network_worker_command
from tests.devices.fake_cuda_scenario import Scenario
from tests.devices.fake_nvml import FakeGpu
from tests.network.cuda_drafts import residual
from tests.network.integer_drafts import random_inputs
from tests.network.test_cuda_run import monitor_of

pytestmark = pytest.mark.compile

T4 = GPUS["t4"]
QUICK = StoppingRule(sample_s=1e-4, min_samples=2, max_samples=4, target=1.0, budget_s=0.01)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[KernelSpec, Artifact]:
    """Each with the usual config, one of them in several parts, with workspace and counters."""
    try:
        build = CudaBackend(T4).prepare(tmp_path_factory.mktemp("cubins"))
    except ToolchainError as error:
        if "is not installed" in str(error):
            pytest.skip(str(error))
        raise
    network = residual()
    specs = dict.fromkeys(step.spec for step in network.steps)
    configs = {spec: usual_config(spec, T4) for spec in specs}
    split = next(spec for spec in specs if spec.workload.op is Op.CONV2D and spec.workload.kernel_h == 3)
    configs[split] = next(c for c in config_space(split, T4) if isinstance(c, MmaConfig) and c.split_k > 1)
    return {spec: build(spec, config) for spec, config in configs.items()}


def test_every_step_is_the_oracles(kernels: Mapping[KernelSpec, Artifact], tmp_path: Path) -> None:
    network: IntegerNetwork = residual()
    assert {arg.role for kernel in kernels.values() for arg in kernel.args} == set(Role)
    inputs = random_inputs(network)
    expected = oracle_run(network, inputs)
    command = network_worker_command(Scenario(), tmp_path / "scenario.json")
    with CudaNetwork(network, kernels, command, monitor_of(FakeGpu())) as gpu:
        verified = gpu.verify(inputs)
        assert verified.steps == len(network.steps)
        for outputs in (verified.outputs, gpu.run(inputs)):
            for name, found in outputs.items():
                np.testing.assert_array_equal(found, expected[name])
        times = gpu.latency(inputs, QUICK).times
    assert len(times.steps_s) == len(network.steps)
    assert min(times.samples_s) > 0
