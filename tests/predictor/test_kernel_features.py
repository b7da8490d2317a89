"""Features of kernels: finite, named, and physics where it can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiler.hardware import GPUS, CpuSpec, DotIsa
from profiler.lut.schema import LutRow, Source
from profiler.predictor.device_facts import DeviceFacts, ObservedPeaks, facts_of, observed_peaks
from profiler.predictor.kernel_features import feature_names, kernel_features
from profiler.predictor.population import draws
from profiler.predictor.roofline import roofline_s
from profiler.record import CacheMode, Conditions
from profiler.space.cpu import config_space
from profiler.space.cpu_default import default_config
from profiler.space.model import NOMINAL_HZ, analytic_latency_s
from profiler.space.traffic import moved_bytes
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, Workload

CPU = CpuSpec("cpu", DotIsa.AVX512_VNNI, frozenset(), "", 1, None, None, None)
PEAKS = ObservedPeaks(((8, 1e12), (32, 1e11)), 1e11)
DEVICES: list[DeviceFacts] = [CPU, GPUS["t4"], GPUS["h200"], PEAKS]
CONV = Workload(Op.CONV2D, 1, 28, 28, 64, 128, 3, 3, 1, 1, 1, 1, 1, 1)
SPEC = KernelSpec(CONV, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)


@pytest.mark.parametrize("facts", DEVICES, ids=["cpu", "t4", "h200", "peaks"])
def test_every_kernel_has_finite_named_features(facts: DeviceFacts) -> None:
    names = feature_names(facts)
    assert len(set(names)) == len(names)
    for draw in draws(12, (INT8, INT4), seed=3):
        for spec in draw.specs:
            features = kernel_features(spec, facts)
            assert len(features.values) == len(names)
            assert np.isfinite(features.values).all()
            assert features.modelled_s > 0


@pytest.mark.parametrize("facts", DEVICES, ids=["cpu", "t4", "h200", "peaks"])
def test_kernels_that_the_templates_lack_start_from_the_roofline(facts: DeviceFacts) -> None:
    floats = KernelSpec(CONV, DType.FLOAT32, DType.FLOAT32, DType.FLOAT32)
    features = kernel_features(floats, facts)
    assert features.modelled_s == roofline_s(floats, facts)
    assert features.values[feature_names(facts).index("modelled")] == 0


def test_the_roofline_by_hand() -> None:
    macs = 28 * 28 * 128 * 9 * 64
    assert roofline_s(SPEC, PEAKS) == macs / 1e12
    assert roofline_s(SPEC, CPU) == macs / (16 * 4 * 2 * NOMINAL_HZ)
    deep = replace(SPEC, workload=replace(CONV, in_channels=1024))
    assert roofline_s(deep, GPUS["t4"]) == pytest.approx(16 * macs / 65.1e12, rel=1e-3)
    assert roofline_s(replace(deep, weight_dtype=DType.INT4), GPUS["t4"]) == pytest.approx(8 * macs / 65.1e12, rel=1e-3)
    one = replace(SPEC, workload=replace(CONV, out_channels=1))  # of 16 channels in a vector
    assert roofline_s(one, CPU) == roofline_s(replace(SPEC, workload=replace(CONV, out_channels=16)), CPU)
    pool = KernelSpec(Workload(Op.MAX_POOL, 1, 28, 28, 64, 64, 2, 2, 2, 2), DType.UINT8, DType.UINT8)
    assert roofline_s(pool, PEAKS) == (28 * 28 * 64 + 14 * 14 * 64) / 1e11


def test_bytes_by_hand() -> None:
    assert moved_bytes(SPEC) == 28 * 28 * 64 + 28 * 28 * 128 + 128 * 9 * 64
    fused = replace(SPEC, input_dtype=DType.UINT4, weight_dtype=DType.INT4, input2_dtype=DType.UINT8,
                    epilogue=Epilogue.ADD_REQUANT_RELU)  # fmt: skip
    assert moved_bytes(fused) == 28 * 28 * 64 / 2 + 28 * 28 * 128 * 2 + 128 * 9 * 64 / 2
    concat = KernelSpec(Workload(Op.CONCAT, 1, 7, 7, 32, 96), DType.UINT8, DType.UINT8, epilogue=Epilogue.REQUANT)
    assert moved_bytes(concat) == 2 * 7 * 7 * 32


@pytest.mark.parametrize("draw", draws(6, (INT8, INT4), seed=5), ids=lambda d: d.workload.text)
def test_the_default_config_of_a_cpu_is_nearly_the_models_best(draw: object) -> None:
    for spec in draw.specs:  # type: ignore[attr-defined]
        space = config_space(spec, CPU.isa, 1)
        best_s = min(analytic_latency_s(spec, config, CPU) for config in space)
        chosen = default_config(spec, CPU)
        assert chosen in space
        assert analytic_latency_s(spec, chosen, CPU) <= 1.03 * best_s


def row(spec: KernelSpec, latency_s: float, device: str, arch: str) -> LutRow:
    """Not measured: an invented latency."""
    return LutRow(
        spec, Conditions(1, CacheMode.HOT), Source.PUBLISHED, "0123abcd", device, f"A {device}", arch, latency_s,
        0.0, "test", citation="nobody",
    )  # fmt: skip


def test_facts_come_from_the_rows_alone() -> None:
    assert facts_of([row(SPEC, 1e-4, "t4", "sm_75")]) is GPUS["t4"]
    cpu = facts_of([row(SPEC, 1e-4, "cpu", "avx2")])
    assert isinstance(cpu, CpuSpec)
    assert cpu.isa is DotIsa.AVX2
    floats = replace(
        SPEC, input_dtype=DType.FLOAT32, weight_dtype=DType.FLOAT32, output_dtype=DType.FLOAT32, epilogue=Epilogue.NONE
    )
    slow, fast = row(SPEC, 4e-4, "board", "armv9"), row(SPEC, 1e-4, "board", "armv9")
    peaks = facts_of([slow, fast, row(floats, 1e-3, "board", "armv9")])
    assert isinstance(peaks, ObservedPeaks)
    assert peaks.macs_per_s == ((8, CONV.macs / 1e-4), (32, CONV.macs / 1e-3))
    assert peaks.bytes_per_s == moved_bytes(SPEC) / 1e-4


def test_a_width_that_was_not_seen_has_the_rate_of_the_nearest() -> None:
    assert PEAKS.macs_rate(4) == PEAKS.macs_rate(8) == 1e12
    assert PEAKS.macs_rate(64) == 1e11
    pool = KernelSpec(Workload(Op.MAX_POOL, 1, 28, 28, 64, 64, 2, 2, 2, 2), DType.UINT8, DType.UINT8)
    assert observed_peaks([(pool, 1e-6)]).macs_rate(8) == float("inf")
    with pytest.raises(ValueError, match="positive"):
        ObservedPeaks((), 0.0)
