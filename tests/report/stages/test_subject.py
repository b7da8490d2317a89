"""What a report is about: which table, network, batch and conditions, from what lies in folders."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from profiler import profiled_networks
from profiler.errors import InvalidFile, ProfilerError, UnsupportedModel
from profiler.frontend import load_network
from profiler.hardware import CpuSpec, GpuSpec
from profiler.lut import store
from profiler.lut.schema import LutRow, Source
from profiler.predictor.device_facts import ObservedPeaks
from profiler.record import CacheMode, Conditions, Fingerprint
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.subject import folder_name, subject_of
from profiler.workload import INT4, INT8, Op
from tests.report.stages.cases import (
    CARD,
    HOST,
    SHAPES,
    T4,
    chain,
    invented_s,
    journal,
    measurement,
    place,
    row,
    rows_of_network,
    without_measurement,
)

# -- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "batch"), [(HOST, "resnet18", 1), (SHAPES, "resnet18", 1), (T4, "resnet18", 8)]
)
def test_the_tables_that_ship_tell_their_network(path: Path, name: str, batch: int) -> None:
    about = subject_of(ReportRequest(lut=path))
    assert (about.model, about.network.name, about.network.batch) == (name, name, batch)


def test_the_built_in_network_of_which_most_is_known(tmp_path: Path) -> None:
    """ResNet50 at batch 4, with some rows of ResNet18 at batch 1 beside it."""
    rows = rows_of_network(load_network("resnet50", 4)) + rows_of_network(load_network("resnet18", 1))[:20]
    there = place(tmp_path, rows=rows)
    about = there.subject(model=None, batch=None)
    assert (about.network.name, about.network.batch) == ("resnet50", 4)


def test_the_last_profiled_network_goes_ahead(tmp_path: Path) -> None:
    """It is kept beside the journals; one that the table knows little of does not stop a report."""
    there = place(tmp_path, rows=rows_of_network(load_network("resnet18", 1)) + rows_of_network(chain()))
    logs = tmp_path / "tuning_logs" / "cpu"
    assert there.subject(model=None, batch=None).network.name == "resnet18"
    profiled_networks.keep(logs, load_network("resnet18", 1))
    path = profiled_networks.keep(logs, chain())
    about = there.subject(model=None, batch=None)
    assert about.network == chain()
    assert Path(about.model).name == path.name
    later = profiled_networks.keep(logs, chain(channels=48, name="unknown"))
    os.utime(later, ns=(path.stat().st_mtime_ns + 10**9,) * 2)
    assert there.subject(model=None, batch=None).network == chain()


def test_a_kept_network_that_is_built_in_goes_by_its_name(tmp_path: Path) -> None:
    """So that its published sensitivities are found. A namesake is another network."""
    network = load_network("resnet18", 1)
    there = place(tmp_path, rows=rows_of_network(network))
    logs = tmp_path / "tuning_logs" / "cpu"
    profiled_networks.keep(logs, network)
    assert there.subject(model=None, batch=None).model == "resnet18"
    namesake = chain(name="resnet18")
    there = place(tmp_path, rows=rows_of_network(namesake))
    profiled_networks.keep(logs, namesake)
    about = there.subject(model=None, batch=None)
    assert about.network == namesake
    assert about.model.endswith("resnet18-n1.json")


def test_a_kept_network_that_is_damaged_is_named(tmp_path: Path) -> None:
    there = place(tmp_path)
    path = profiled_networks.keep(tmp_path / "tuning_logs" / "cpu", chain())
    path.write_text(path.read_text()[:100])
    with pytest.raises(InvalidFile, match=r"chain-n1\.json: not a network file"):
        there.subject(model=None)
    assert there.subject().network == chain()


def test_a_batch_that_is_asked_for(tmp_path: Path) -> None:
    rows = [*rows_of_network(load_network("resnet18", 1)), *rows_of_network(load_network("resnet18", 4))[:60]]
    there = place(tmp_path, rows=rows)
    assert there.subject(model=None, batch=None).network.batch == 1
    assert there.subject(model=None, batch=4).network.batch == 4
    assert there.subject(model="resnet18", batch=None).network.batch == 1


def test_a_table_of_no_known_network_says_what_to_do(tmp_path: Path) -> None:
    there = place(tmp_path)
    with pytest.raises(InvalidFile, match=r"cpu\.csv: has no latency of any layer of resnet18.*\(report MODEL, make"):
        there.subject(model=None)


def test_a_network_that_a_table_knows_nothing_of_is_an_error(tmp_path: Path) -> None:
    """Most likely it is the table of another one: the error says what the table has, and what to do."""
    rows = [*rows_of_network(chain()), *rows_of_network(load_network("resnet18", 4))]
    workloads = len({one.spec.workload for one in rows})
    text = (
        rf"cpu\.csv: has no latency of any layer of resnet50 at batch 1, but {workloads} other workloads at batch 4, 1;"
    )
    with pytest.raises(InvalidFile, match=text + r" .*make profile MODEL=resnet50 BATCH=1"):
        place(tmp_path, rows=rows).subject(model="resnet50")


def test_another_batch_is_another_network(tmp_path: Path) -> None:
    there = place(tmp_path, rows=rows_of_network(load_network("resnet18", 4)))
    assert there.subject(model="resnet18", batch=None).network.batch == 4
    with pytest.raises(InvalidFile, match=r"no latency of any layer of resnet18 at batch 1, but .* at batch 4;"):
        there.subject(model="resnet18", batch=1)


def test_one_latency_is_enough(tmp_path: Path) -> None:
    """A table of a run that was stopped early is reported with its gaps."""
    (first, *_) = rows_of_network(chain())
    about = place(tmp_path, rows=[first]).subject()
    known = [about.time(unit, precision).span for unit in about.units for precision in about.precisions]
    assert sum(span is not None for span in known) == 1


@pytest.mark.parametrize("model", ["resnet17", "missing.onnx", "missing.json"])
def test_an_unknown_model_is_an_error(tmp_path: Path, model: str) -> None:
    with pytest.raises(UnsupportedModel):
        place(tmp_path).subject(model=model)


# -- the table -------------------------------------------------------------------------------------------------------


def test_an_own_table_goes_ahead_of_one_that_ships(tmp_path: Path) -> None:
    there = place(tmp_path)
    about = there.subject(lut=None, device="cpu")
    assert about.table.path == there.table
    assert about.table.note == ""
    shipped = subject_of(ReportRequest(device="cpu", folder=tmp_path / "none"))
    assert shipped.table.note


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="there is no such file"):
        subject_of(ReportRequest(lut=tmp_path / "none.csv"))
    with pytest.raises(InvalidFile, match="measure first"):
        subject_of(ReportRequest(device="a100", folder=tmp_path))


def test_a_damaged_table_is_an_error_with_its_line(tmp_path: Path) -> None:
    there = place(tmp_path)
    lines = there.table.read_text().splitlines()
    lines[3] = lines[3].replace("measured", "guessed")
    there.table.write_text("\n".join(lines) + "\n")
    with pytest.raises(InvalidFile, match=r"cpu\.csv, line 4, source: unknown value 'guessed'"):
        there.subject()


def test_a_table_of_two_instruments_is_an_error(tmp_path: Path) -> None:
    there = place(tmp_path)
    other = row(rows_of_network(chain(channels=48))[0].spec, 1e-5, replace_uuid("1"))
    there.table.write_text(there.table.read_text() + store.to_bytes([other]).decode().splitlines()[1] + "\n")
    with pytest.raises(InvalidFile, match="another instrument"):
        there.subject()


def replace_uuid(uuid: str) -> Fingerprint:
    return Fingerprint("cpu", "Invented CPU", "avx512_vnni", uuid, "", "invented")


def test_an_empty_table_is_an_error(tmp_path: Path) -> None:
    there = place(tmp_path)
    there.table.write_text(there.table.read_text().splitlines()[0] + "\n")
    with pytest.raises(InvalidFile, match="holds no row"):
        there.subject()


# -- conditions and precisions ---------------------------------------------------------------------------------------


def with_conditions(rows: list[LutRow], conditions: Conditions) -> list[LutRow]:
    return [replace(one, conditions=conditions, latency_median_s=1.005 * one.latency_median_s) for one in rows]


def test_conditions_of_most_rows_or_those_that_are_asked_for(tmp_path: Path) -> None:
    rows = rows_of_network(chain())
    hot, two = Conditions(1, CacheMode.HOT), Conditions(2, CacheMode.NETWORK)
    there = place(tmp_path, rows=[*rows, *with_conditions(rows[:-1], hot), *with_conditions(rows[:-2], two)])
    assert there.subject().conditions == Conditions()
    for conditions, asked in ((hot, {"cache_mode": CacheMode.HOT}), (two, {"threads": 2})):
        about = there.subject(**asked)
        assert about.conditions == conditions
        assert {one.conditions for one in about.rows} == {conditions}
        assert about.other_rows == 3 * len(rows) - 3 - len(about.rows)
        for unit in about.units:
            time = about.time(unit, INT8)
            if time.span is not None and time.way is not None:
                expected = sum(invented_s(kernel.spec) for kernel in time.way.kernels)
                assert time.span.latency_s == pytest.approx(1.005 * expected)
    with pytest.raises(InvalidFile, match="--threads and --cache"):
        there.subject(threads=3)


def test_one_precision_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ProfilerError, match="give two or more"):
        place(tmp_path).subject(precisions=(INT4,))


def test_a_measured_row_goes_ahead_of_a_predicted_one(tmp_path: Path) -> None:
    rows = rows_of_network(chain())
    slower = [without_measurement(replace_latency(one, 5.0), Source.PREDICTED) for one in rows]
    about = place(tmp_path, rows=[*rows, *slower]).subject()
    (dense,) = [unit for unit in about.units if unit.layer.workload.op is Op.DENSE]
    time = about.time(dense, INT8)
    assert time.source == "measured"
    only = place(tmp_path / "only", rows=[*rows[:-2], *slower[-2:]]).subject()
    assert {only.time(unit, INT4).source for unit in only.units} == {"measured", "predicted"}


def replace_latency(one: LutRow, factor: float) -> LutRow:
    seconds = {
        name: factor * getattr(one, name)
        for name in (
            "latency_median_s",
            "latency_q1_s",
            "latency_q3_s",
            "latency_ci95_low_s",
            "latency_ci95_high_s",
        )
    }
    return replace(one, **seconds)


# -- the device and its journals -------------------------------------------------------------------------------------


def test_what_is_known_of_a_device(tmp_path: Path) -> None:
    """A host by its instructions, a card by its data sheet, another one by its rows."""
    kinds = []
    for index, instrument in enumerate(
        (replace_uuid("0"), CARD, Fingerprint("rtx9999", "A card", "sm_89", "0", "1", "x"))
    ):
        about = place(tmp_path / str(index), rows=rows_of_network(chain(), instrument=instrument)).subject()
        kinds.append(type(about.facts))
    assert kinds == [CpuSpec, GpuSpec, ObservedPeaks]


def test_journals_beside_the_table_are_found_and_others_named(tmp_path: Path) -> None:
    there = place(tmp_path)
    assert there.subject().records == ()
    record = measurement(rows_of_network(chain())[0].spec, "c", 1e-5)
    journal(tmp_path, [record])
    assert there.subject().records == (record,)
    moved = tmp_path / "elsewhere"
    (tmp_path / "tuning_logs" / "cpu").rename(moved)
    assert there.subject().records == ()
    assert there.subject(logs=moved).records == (record,)


def test_a_table_elsewhere_has_no_journals(tmp_path: Path) -> None:
    there = place(tmp_path)
    journal(tmp_path, [measurement(rows_of_network(chain())[0].spec, "c", 1e-5)])
    copy = tmp_path / "copies" / "cpu.csv"
    copy.parent.mkdir()
    copy.write_bytes(there.table.read_bytes())
    assert there.subject(lut=copy).records == ()


def test_a_device_is_no_path(tmp_path: Path) -> None:
    """A table of anybody's: what it calls its device leads to no folder but that of reports."""
    assert folder_name("t4") == "t4"
    for device in ("../../etc", "/etc/passwd", "..", ".", "a/b", "a\\b", "~", "x y"):
        name = folder_name(device)
        assert "/" not in name
        assert "\\" not in name
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
