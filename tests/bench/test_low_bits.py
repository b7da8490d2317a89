"""Layers below eight bits beside INT8: what is compared, whose turn it is, and what comes of it."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from bench.core_rates import COUNT, DOT, LOOK_UP, LOOK_UP_WIDE, core_rates, products_per_s
from bench.low_bits import GOALS, PRECISIONS, in_turn, spec_of, speedup
from profiler.hardware import host_cpu, parse_cpuinfo
from profiler.workload import DType, Epilogue, Op, Precision, Workload

WORKLOAD = Workload(Op.CONV2D, 1, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)


def test_whole_fused_layers() -> None:
    specs = {name: spec_of(WORKLOAD, Precision.parse(name)) for name in PRECISIONS}
    assert all(spec.epilogue is Epilogue.REQUANT_RELU and spec.workload == WORKLOAD for spec in specs.values())
    stored = {name: (spec.input_dtype, spec.weight_dtype, spec.output_dtype) for name, spec in specs.items()}
    assert stored["int8"] == (DType.UINT8, DType.INT8, DType.UINT8)
    assert stored["a2w1"] == (DType.UINT2, DType.INT1, DType.UINT2)
    assert stored["a1w1"] == (DType.UINT1, DType.INT1, DType.UINT1)
    assert set(GOALS) <= set(PRECISIONS)


def test_sides_take_turns_in_the_reverse_order_each_time() -> None:
    asked: list[str] = []

    def sample(side: str) -> float:
        asked.append(side)
        return float(len(asked))

    times = in_turn({side: lambda side=side: sample(side) for side in "abc"}, 3)
    assert "".join(asked) == "abccbaabc"
    assert times == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_a_speedup_is_the_median_of_ratios_of_one_round() -> None:
    assert speedup([4.0, 9.0, 8.0], [2.0, 3.0, 1.0]) == 3.0


def test_what_a_precision_is_allowed_is_that_of_its_best_instructions() -> None:
    rates = {DOT: 5e9, COUNT: 2e9, LOOK_UP: 3e9, LOOK_UP_WIDE: 3e9}

    def allowed(name: str) -> float | None:
        return products_per_s(Precision.parse(name), rates)

    assert allowed("int8") == allowed("int4") == 64 * 5e9
    assert allowed("a1w1") == max(512 * 2e9, 384 * 3e9)
    assert allowed("a2w1") == 384 * 3e9  # counted twice
    assert allowed("a2w2") == 384 * 3e9 / 2
    assert allowed("a3w3") == 384 * 3e9 / 3
    assert products_per_s(Precision.parse("a1w1"), {DOT: 5e9, COUNT: 3e9, LOOK_UP: 3e9}) == 512 * 3e9
    assert products_per_s(Precision.parse("int8"), {}) is None


def test_rates_are_of_instructions_that_the_cpu_has() -> None:
    assert core_rates(parse_cpuinfo("processor : 0\nflags : avx2\n", "x86_64")) == {}
    cpu = host_cpu()
    found = core_rates(cpu)
    assert set(found) == {mix for mix in (DOT, COUNT, LOOK_UP, LOOK_UP_WIDE) if found and mix.feature in cpu.features}
    assert all(1e8 < steps < 1e11 for steps in found.values())
