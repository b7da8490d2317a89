"""The analytic model of a GPU as what a search starts from."""

from __future__ import annotations

import pytest

from profiler.errors import InvalidConfig
from profiler.hardware import GPUS
from profiler.predictor.configs.analytic import AnalyticModel
from profiler.record import Measurement
from profiler.space.config import GpuConfig, VectorConfig, to_text
from profiler.space.gpu import config_space, default_config
from profiler.space.gpu_model import analytic_latency_s
from profiler.tuning.search import propose
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.tuning.simulation import CONDITIONS, hash_share

T4 = GPUS["t4"]
SPEC = KernelSpec(
    Workload(Op.CONV2D, 8, 14, 14, 256, 256, 3, 3, 1, 1, 1, 1, 1, 1),
    DType.UINT4,
    DType.UINT4,
    DType.INT4,
    epilogue=Epilogue.REQUANT_RELU,
)
SPACE = config_space(SPEC, T4)


def simulated_s(config: GpuConfig) -> float:
    """A card that is 1.7 times slower than the model, and by up to 40% of its own opinion about configs."""
    return 1.7 * analytic_latency_s(SPEC, config, T4) * (1 + 0.4 * hash_share(to_text(config)))


def measured(config: GpuConfig) -> Measurement:
    samples = (simulated_s(config),) * 6
    return Measurement(SPEC, to_text(config), CONDITIONS, "f", "ab" * 32, samples, 1, 0, "screen", "r", 0.0, "0")


def test_it_says_what_the_model_of_the_gpu_says_until_something_is_measured() -> None:
    model = AnalyticModel(T4)
    configs = SPACE[:50]
    modelled = [analytic_latency_s(SPEC, config, T4) for config in configs]
    assert model.predict(SPEC, configs).median_s.tolist() == pytest.approx(modelled)
    model.fit([measured(config) for config in configs])
    ratio = model.predict(SPEC, configs).median_s / modelled
    assert ratio.min() == pytest.approx(ratio.max())
    assert 1.7 < ratio[0] < 1.7 * 1.4


def test_a_search_begins_with_the_best_modelled_and_soon_finds_a_good_one() -> None:
    model = AnalyticModel(T4)
    best_s = min(simulated_s(config) for config in SPACE)
    known: dict[str, float] = {}
    found: list[Measurement] = []
    for batch in range(4):
        model.fit(found)
        proposal = propose(SPEC, SPACE, known, (), (), model, 8)
        assert batch or proposal.configs[0] == default_config(SPEC, T4)
        for config in proposal.configs:
            assert isinstance(config, type(SPACE[0]))
            known[to_text(config)] = simulated_s(config)
            found.append(measured(config))
    assert min(known.values()) < 1.1 * best_s


def test_a_config_of_a_cpu_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="not a config of a GPU kernel"):
        AnalyticModel(T4).predict(SPEC, [VectorConfig(1)])
