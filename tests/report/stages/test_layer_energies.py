"""Joules in the table of all layers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.lut.schema import LutRow
from profiler.report.content.table import Table, to_csv, to_markdown
from profiler.report_stages.layer_table import layer_table
from profiler.report_stages.rates import rates_of
from profiler.report_stages.rooflines import roofline_of
from profiler.report_stages.speedups import speedups_of
from profiler.report_stages.subject import Subject
from profiler.workload import Op

from .cases import chain, place, rows_of_network

NETWORK = chain()


def subject(folder: Path, energy_j: Callable[[LutRow], float | None]) -> Subject:
    rows = [replace(row, energy_j=energy_j(row)) for row in rows_of_network(NETWORK)]
    return place(folder, NETWORK, rows).subject()


def layers(about: Subject) -> Table:
    rates = rates_of(about.rows, about.facts, about.conditions, about.precisions)
    speedups = tuple(speedups_of(about, rates, narrow) for narrow in about.precisions[1:])
    return layer_table(about, speedups, roofline_of(about, rates), None).table


def cells(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(table))))


def test_joules_of_each_layer_in_each_precision(tmp_path: Path) -> None:
    table = layers(subject(tmp_path, lambda row: 30.0 * row.latency_median_s))
    for line in cells(table):
        for precision in ("int8", "int4"):
            assert float(line[f"{precision}_j"]) == pytest.approx(30.0 * float(line[f"{precision}_s"]))
    assert [column.title for column in table.columns if column.name.endswith("_j")] == ["INT8 energy", "INT4 energy"]
    assert " uJ |" in to_markdown(table)


def test_a_table_without_energies_has_no_such_columns(tmp_path: Path) -> None:
    table = layers(subject(tmp_path, lambda row: None))
    assert not [column for column in table.columns if column.name.endswith("_j")]


def test_what_is_not_known_is_empty(tmp_path: Path) -> None:
    """Of the dense layer, and of everything in four bits."""

    def some(row: LutRow) -> float | None:
        wide = row.spec.input_dtype.bits == 8 and (row.spec.weight_dtype or row.spec.input_dtype).bits == 8
        return 1e-3 if wide and row.spec.workload.op is not Op.DENSE else None

    found = cells(layers(subject(tmp_path, some)))
    assert "int4_j" not in found[0]
    assert [line["int8_j"] for line in found] == ["0.001"] * (len(found) - 1) + [""]
