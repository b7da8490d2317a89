"""Rows of float kernels, as tables of others have them: what the LUT says to them. All latencies are made up."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.cli.json_text import rows_json
from profiler.cli.tables import print_rows
from profiler.errors import InvalidWorkload
from profiler.hardware import GPUS
from profiler.lut.check import check
from profiler.lut.schema import COLUMNS, LutRow, Source
from profiler.lut.store import merge, read, to_bytes, update
from profiler.predictor.device_facts import facts_of
from profiler.predictor.kernel_features import feature_names, kernel_features
from profiler.quantize.operands import operands
from profiler.record import Conditions
from profiler.space.traffic import moved_bytes
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

CONV = Workload(Op.CONV2D, 1, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
FLOAT = KernelSpec(CONV, DType.FLOAT32, DType.FLOAT32, DType.FLOAT32)
INTEGER = KernelSpec(CONV, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)
SPECS = [
    FLOAT,
    replace(FLOAT, epilogue=Epilogue.BIAS),
    replace(FLOAT, epilogue=Epilogue.REQUANT_RELU),
    replace(FLOAT, input_dtype=DType.FLOAT16, weight_dtype=DType.FLOAT16),
    replace(FLOAT, weight_dtype=DType.INT4),
    replace(FLOAT, workload=Workload(Op.DENSE, 8, 1, 1, 512, 1000)),
    KernelSpec(Workload(Op.ADD, 1, 56, 56, 64, 64), DType.FLOAT32, DType.FLOAT32, None, DType.FLOAT32),
    KernelSpec(Workload(Op.MAX_POOL, 1, 56, 56, 64, 64, 2, 2), DType.FLOAT16, DType.FLOAT16),
    INTEGER,
]


def row(spec: KernelSpec, latency_s: float = 1e-4, measured_at: float = 1.7e9) -> LutRow:
    return LutRow(
        spec=spec,
        conditions=Conditions(),
        source=Source.PUBLISHED,
        fingerprint="0123abcd",
        device="t4",
        device_name="Tesla T4",
        arch="sm_75",
        latency_median_s=latency_s,
        measured_at=measured_at,
        tool_version="cudnn",
        citation="nobody: an example",
    )


rows = st.builds(row, st.sampled_from(SPECS), st.floats(1e-7, 1), st.sampled_from([1e9, 1.5e9]))


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, max_size=8), st.lists(rows, max_size=8))
def test_float_rows_are_merged_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, a: list[LutRow], b: list[LutRow]
) -> None:
    path = tmp_path_factory.mktemp("lut") / "t4.csv"
    update(path, a)
    merged = update(path, b)
    assert check(path) == []
    assert read(path) == merged == merge(b, a)
    assert path.read_bytes() == to_bytes(merged)
    latest: dict[KernelSpec, float] = {}
    for r in (*a, *b):
        latest[r.spec] = max(latest.get(r.spec, 0.0), r.measured_at)
    assert {r.spec: r.measured_at for r in merged} == latest


def test_a_table_of_others_by_hand(tmp_path: Path) -> None:
    """Columns in another order, as a script of somebody else may have written them."""
    cells = dict(zip(COLUMNS, row(INTEGER).cells, strict=True))
    cells.update(input_dtype="float32", weight_dtype="float32", output_dtype="float32", epilogue="none")
    text = io.StringIO()
    writer = csv.DictWriter(text, sorted(COLUMNS))
    writer.writeheader()
    writer.writerow(cells)
    path = tmp_path / "others.csv"
    path.write_text(text.getvalue())
    (found,) = read(path)
    assert found.spec == FLOAT
    assert found.macs == 56 * 56 * 64 * 64 * 9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"output_dtype": "int32"}, "emits a float type, not int32"),
        ({"input_dtype": "int8"}, "weights of float32 on int8"),
        ({"weight_dtype": ""}, "a weight type is missing"),
        ({"weight_dtype": "float12"}, "unknown value 'float12'"),
    ],
)
def test_a_float_row_that_contradicts_itself_is_named(change: dict[str, str], says: str, tmp_path: Path) -> None:
    cells = {**dict(zip(COLUMNS, row(FLOAT).cells, strict=True)), **change}
    path = tmp_path / "a.csv"
    path.write_text("\n".join([",".join(COLUMNS), ",".join(f'"{cells[name]}"' for name in COLUMNS), ""]))
    (finding,) = check(path)
    assert finding.line == 2
    assert says in finding.message


def test_float_rows_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    table = [row(spec) for spec in SPECS]
    print_rows(table)
    shown = capsys.readouterr().out
    assert "float32xfloat32->" in shown  # and the rest on the next line, since the column is narrow
    assert "float32xint4->float32" in shown
    assert [r["input_dtype"] for r in rows_json(table)] == [spec.input_dtype.value for spec in SPECS]


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec is not INTEGER], ids=lambda spec: spec.key)
def test_no_kernel_of_ours_computes_floats(spec: KernelSpec) -> None:
    with pytest.raises(InvalidWorkload, match="has no integer kernel"):
        operands(spec)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key)
def test_a_model_can_learn_from_float_rows(spec: KernelSpec) -> None:
    """Its features are as many and as finite as those of an integer kernel, and its bytes are those of its types."""
    for facts in (GPUS["t4"], facts_of([replace(row(s), device="other") for s in SPECS])):
        found = kernel_features(spec, facts)
        assert len(found.values) == len(feature_names(facts))
        assert 0 < found.modelled_s < 1
    assert moved_bytes(FLOAT) == 4 * (2 * 56 * 56 * 64 + 9 * 64 * 64)


def test_integer_rows_are_what_they_were() -> None:
    """Keys of rows that stand in files since version 1."""
    assert INTEGER.key == "conv2d_n1_56x56x64_o64_k3x3_s1x1_p1.1.1.1-uint8-int8-uint8-requant_relu"
    bare = replace(INTEGER, output_dtype=DType.INT32, epilogue=Epilogue.NONE)
    assert bare.key == "conv2d_n1_56x56x64_o64_k3x3_s1x1_p1.1.1.1-uint8-int8-int32-none"
    with pytest.raises(InvalidWorkload, match="conv2d with epilogue none emits int32, not uint8"):
        replace(INTEGER, epilogue=Epilogue.NONE)


def test_a_table_that_ships_keeps_its_bytes() -> None:
    path = Path(__file__).parents[2] / "lut/published/t4_hawqv3.csv"
    assert to_bytes(read(path)) == path.read_bytes()
