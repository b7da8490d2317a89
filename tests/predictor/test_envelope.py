"""What counts as seen."""

from __future__ import annotations

from dataclasses import replace

from profiler.predictor.envelope import Envelope
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload


def conv(channels: int = 64, batch: int = 1, **changes: int) -> KernelSpec:
    workload = Workload(Op.CONV2D, batch, 28, 28, channels, channels, 3, 3, 1, 1, 1, 1, 1, 1)
    workload = replace(workload, **changes)
    return KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)


SEEN = Envelope([conv(64), conv(256), conv(128, batch=4)])


def test_inside() -> None:
    for spec in (conv(64), conv(100), conv(160, batch=2), conv(256)):
        assert SEEN.warnings(spec) == ()


def test_beyond_the_extremes() -> None:
    assert "input channels 512 is outside of the 64 to 256 that were measured" in SEEN.warnings(conv(512))
    assert any("kernel height 5" in line for line in SEEN.warnings(conv(64, kernel_h=5)))
    assert any("batch 16" in line for line in SEEN.warnings(conv(64, batch=16)))
    assert SEEN.warnings(conv(264)) == ()  # hardly beyond


def test_other_kinds_types_and_epilogues() -> None:
    spec = conv(64)
    assert SEEN.warnings(replace(spec, weight_dtype=DType.INT4)) == ("no conv2d with int4 weights was measured",)
    assert SEEN.warnings(conv(64, groups=64)) == ("no depthwise conv2d with int8 weights was measured",)
    assert SEEN.warnings(replace(spec, input_dtype=DType.INT8)) == (
        "no conv2d with int8 weights with types int8>uint8 was measured",
    )
    assert "epilogue requant " in SEEN.warnings(replace(spec, epilogue=Epilogue.REQUANT))[0]
    pool = KernelSpec(Workload(Op.MAX_POOL, 1, 28, 28, 64, 64, 3, 3), DType.UINT8, DType.UINT8)
    assert SEEN.warnings(pool) == ("no max_pool was measured",)
    assert Envelope([]).warnings(spec) == ("no conv2d with int8 weights was measured",)


def test_types_count_together() -> None:
    """Two additions, each type of which was seen, in a mixture that was not."""

    def add(second: DType, output: DType) -> KernelSpec:
        workload = Workload(Op.ADD, 1, 28, 28, 64, 64)
        return KernelSpec(workload, DType.INT32, output, input2_dtype=second, epilogue=Epilogue.REQUANT_RELU)

    seen = Envelope([add(DType.UINT8, DType.UINT8), add(DType.UINT4, DType.UINT4)])
    assert seen.warnings(add(DType.UINT4, DType.UINT4)) == ()
    assert seen.warnings(add(DType.UINT4, DType.UINT8)) == ("no add with types int32+uint4>uint8 was measured",)
