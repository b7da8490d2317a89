"""Bits as CSV, read back with pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from profiler.export.table import COLUMNS, csv_text, is_table
from profiler.frontend import load_network
from tests.export.examples import bits_of

RESNET18 = load_network("resnet18", 1)
STORED = {"input": "int8", "layer2.0.conv1": "int4", "layer2.0.add": "int4", "layer1.1.add": "int8"}


def test_a_row_per_layer(tmp_path: Path) -> None:
    bits = bits_of(RESNET18, {"layer2.0.conv2"}, tensors=STORED)
    (tmp_path / "t.csv").write_text(csv_text(bits, RESNET18))
    table = pd.read_csv(tmp_path / "t.csv").set_index("layer")
    assert list(table.index) == [layer.name for layer in RESNET18.weighted_layers]
    assert (table.weight_bits == table.activation_bits).all()
    assert (
        list(table.index[table.weight_bits == 4]) == ["layer2.0.conv2"] == list(table.index[table.precision == "int4"])
    )
    assert not table.fixed.any()
    assert table.output_precision.dropna().to_dict() == {
        "layer1.1.conv2": "int8",  # stores the sum that is fused into it
        "layer2.0.conv1": "int4",
        "layer2.0.conv2": "int4",
    }
    assert is_table(tmp_path / "t.csv")
    assert csv_text(bits).splitlines()[1] == "conv1,int8,8,8,false,"


def test_an_addition_apart_stores_the_sum_itself() -> None:
    text = csv_text(bits_of(RESNET18, tensors=STORED, separate=("layer2.0.add",)), RESNET18)
    assert "layer2.0.conv2,int8,8,8,false,\n" in text


def test_another_table_is_not_recognized(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",".join(COLUMNS[:3]) + "\n")
    assert not is_table(tmp_path / "t.csv")
