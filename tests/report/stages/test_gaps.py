"""Tables with gaps: a report is made all the same, and says what is not there and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import InvalidFile
from profiler.frontend import load_network
from profiler.lut.schema import LutRow, Source
from profiler.record import Fingerprint
from profiler.report.content.report import Report, Section
from profiler.report.files import files_of
from profiler.report_stages.report import make_report, report_of
from profiler.workload import DType, KernelSpec, Op
from tests.report.stages.cases import CARD, chain, place, row, rows_of_network, without_measurement

ROWS = tuple(rows_of_network(chain()))
SECTIONS = ("speedup", "time", "throughput", "roofline", "front", "predictor", "tuning", "health", "published")
UNKNOWN = Fingerprint("rtx9999", "A card", "sm_89", "0", "1", "invented")


def only(*bits: int) -> tuple[LutRow, ...]:
    """Kernels all of whose narrow types have these widths."""
    return tuple(one for one in ROWS if {dtype.bits for dtype in types(one.spec) if dtype.bits <= 8} <= set(bits))


def types(spec: KernelSpec) -> Iterable[DType]:
    return (t for t in (spec.input_dtype, spec.input2_dtype, spec.weight_dtype, spec.output_dtype) if t is not None)


def without(wrong: Callable[[KernelSpec], bool]) -> tuple[LutRow, ...]:
    return tuple(one for one in ROWS if not wrong(one.spec))


def is_pool(spec: KernelSpec) -> bool:
    return spec.workload.op is Op.AVG_POOL


def predicted() -> tuple[LutRow, ...]:
    return tuple(without_measurement(one, Source.PREDICTED) for one in ROWS)


def of_card(instrument: Fingerprint) -> tuple[LutRow, ...]:
    return tuple(row(one.spec, one.latency_median_s, instrument) for one in ROWS)


TABLES: dict[str, tuple[LutRow, ...]] = {
    "no INT4": only(8),
    "no INT8": only(4),
    "INT8 here, INT4 there": tuple(r for r in (*only(8), *only(4)) if is_pool(r.spec) == (r in only(8))),
    "one layer failed": without(lambda spec: spec.workload.op is Op.DENSE),
    "one layer failed in INT4": without(lambda spec: is_pool(spec) and spec.input_dtype.bits == 4),
    "one row": only(4)[:1],
    "a pool alone": tuple(one for one in ROWS if is_pool(one.spec))[:1],
    "only predicted": predicted(),
    "one predicted": (*ROWS[:-1], without_measurement(ROWS[-1], Source.PREDICTED)),
    "published": tuple(without_measurement(one, Source.PUBLISHED) for one in ROWS),
    "a card": of_card(CARD),
    "a card that nobody knows": of_card(UNKNOWN),
    "a pool of a card that nobody knows": tuple(one for one in of_card(UNKNOWN) if is_pool(one.spec))[:1],
}


def made(folder: Path, rows: Iterable[LutRow]) -> Report:
    there = place(folder, chain(), rows)
    return report_of(there.subject(), there.request())


def section(report: Report, name: str) -> Section:
    return next(found for found in report.sections if found.name == name)


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_has_a_report_with_every_section(tmp_path: Path, name: str) -> None:
    report = made(tmp_path, TABLES[name])
    assert tuple(found.name for found in report.sections) == SECTIONS
    assert report.headline
    assert len(report.layers.table.rows) == 5
    for found in report.sections:
        assert found.notes or found.figure is not None  # an empty section says why
        assert str(tmp_path) not in repr(found)


@pytest.mark.parametrize("name", ["one row", "a pool alone", "only predicted", "a card that nobody knows"])
def test_what_is_there_can_be_drawn(tmp_path: Path, name: str) -> None:
    files = files_of(made(tmp_path, TABLES[name]))
    assert {"index.html", "report.md", "layers.csv", "speedup.csv"} <= set(files)
    assert str(tmp_path).encode() not in b"".join(files.values())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no INT4", "rows only of INT8; measure both (make profile PRECISIONS=int8,int4)"),
        ("no INT8", "rows only of INT4; measure both (make profile PRECISIONS=int8,int4)"),
        ("one row", "rows only of INT4"),
        ("INT8 here, INT4 there", "rows of none in both"),
    ],
)
def test_without_a_layer_in_both_precisions_there_is_nothing_to_compare(tmp_path: Path, name: str, text: str) -> None:
    report = made(tmp_path, TABLES[name])
    found = section(report, "speedup")
    assert found.figure is None
    assert text in found.notes[0]
    assert [table.name for table in found.tables] == ["speedup"]
    assert report.headline == "The table does not say how INT4 and INT8 compare."


def test_layers_that_failed_are_named_first(tmp_path: Path) -> None:
    assert made(tmp_path / "a", TABLES["one layer failed"]).doubts == (
        "1 of 5 layers have no INT8 latency and are in none of its totals: classifier.",
        "1 of 5 layers have no INT4 latency and are in none of its totals: classifier.",
    )
    report = made(tmp_path / "b", TABLES["one layer failed in INT4"])
    assert report.doubts == ("1 of 5 layers have no INT4 latency and are in none of its totals: pooling.",)
    assert "over the 4 layers that have both" in report.headline


def test_predicted_rows_are_marked(tmp_path: Path) -> None:
    report = made(tmp_path, TABLES["only predicted"])
    assert report.doubts == ("14 of 14 rows are predicted, not measured.",)
    assert section(report, "health").figure is None
    sources = {cells[-1] for cells in report.layers.table.rows}
    assert sources == {"predicted"}
    assert ("table", "cpu.csv: 14 predicted rows") in report.facts
    one = made(tmp_path / "one", TABLES["one predicted"])
    assert one.doubts == ("1 of 14 rows are predicted, not measured.",)


def predictions_alone() -> tuple[LutRow, ...]:
    """Without intervals, as a table of another tool may have them."""
    ends = {"latency_ci95_low_s": None, "latency_ci95_high_s": None}
    return tuple(replace(one, **ends) for one in predicted())  # type: ignore[arg-type]


def test_predictions_without_an_interval_are_no_verdict(tmp_path: Path) -> None:
    """The ratio is told, and nothing is called faster or slower. With their intervals the same rows are judged."""
    report = made(tmp_path / "a", predictions_alone())
    names = [column.name for column in report.layers.table.columns]
    for cells in report.layers.table.rows:
        line = dict(zip(names, cells, strict=True))
        assert (line["int4_verdict"], line["int4_cause"]) == ("not known", "predicted, without an interval")
        assert line["int4_speedup"] == pytest.approx(line["int8_s"] / line["int4_s"])  # type: ignore[operator]
    found = section(report, "speedup")
    assert "0 are faster, 0 slower, 0 inside the noise, 5 predicted without an interval" in found.lead
    assert any(
        note == "Predicted without an interval, so that nothing can be said: one, two, three, pooling and 1 more."
        for note in found.notes
    )
    assert report.headline.endswith(", by predicted latencies.")
    judged = made(tmp_path / "b", TABLES["only predicted"])
    verdicts = {dict(zip(names, cells, strict=True))["int4_verdict"] for cells in judged.layers.table.rows}
    assert "not known" not in verdicts
    assert judged.headline.endswith(", by predicted latencies.")
    assert "predicted" not in made(tmp_path / "c", ROWS).headline


def test_one_guess_among_measurements_is_no_verdict_of_its_layer(tmp_path: Path) -> None:
    (dense,) = [o for o in predictions_alone() if o.spec.workload.op is Op.DENSE and o.spec.input_dtype.bits == 4]
    report = made(tmp_path, (*(one for one in ROWS if one.spec != dense.spec), dense))
    names = [column.name for column in report.layers.table.columns]
    lines = [dict(zip(names, cells, strict=True)) for cells in report.layers.table.rows]
    assert [line["layer"] for line in lines if line["int4_verdict"] == "not known"] == ["classifier"]
    assert lines[-1]["source"] == "measured and predicted"
    assert "1 predicted without an interval" in section(report, "speedup").lead


def test_a_prediction_that_nothing_is_compared_with_is_not_behind_the_headline(tmp_path: Path) -> None:
    rows = [one for one in ROWS if one.spec.workload.op is not Op.DENSE]
    (dense,) = [o for o in predicted() if o.spec.workload.op is Op.DENSE and o.spec.input_dtype.bits == 8]
    assert made(tmp_path, [*rows, dense]).headline.endswith(" over the 4 layers that have both.")


def test_nothing_is_learned_of_predictions(tmp_path: Path) -> None:
    assert section(made(tmp_path, predicted()), "predictor").notes == (
        "Nothing is predicted: the table has no measured or published row to learn from.",
    )


@pytest.mark.parametrize(("name", "precision"), [("no INT4", "INT4"), ("no INT8", "INT8"), ("a pool alone", "INT8")])
def test_without_a_row_in_a_precision_nothing_is_chosen(tmp_path: Path, name: str, precision: str) -> None:
    assert section(made(tmp_path, TABLES[name]), "front").notes == (
        f"No allocation: the table has no {precision} row of a layer that could be chosen.",
    )


def test_a_table_of_another_network_is_an_error_that_says_what_it_has(tmp_path: Path) -> None:
    """A page on which everything is missing tells nobody that the wrong table was named. Nothing is written."""
    others = tuple(rows_of_network(chain(channels=48)))
    there = place(tmp_path, chain(), others)
    workloads = len({one.spec.workload for one in others})
    text = rf"cpu\.csv: has no latency of any layer of chain at batch 1, but {workloads} other workloads at batch 1; "
    with pytest.raises(InvalidFile, match=text + r"measure the network \(make profile MODEL=.*model\.json BATCH=1\)"):
        make_report(there.request())
    assert not (tmp_path / "reports").exists()


def test_the_table_of_all_layers_has_the_latencies_of_the_rows(tmp_path: Path) -> None:
    report = made(tmp_path, ROWS)
    names = [column.name for column in report.layers.table.columns]
    assert names[:3] == ["number", "layer", "workload"]
    assert {"int8_s", "int4_s", "int4_speedup", "int4_verdict", "int4_cause", "source"} <= set(names)
    assert len(set(names)) == len(names)
    seconds = {one.spec: one.latency_median_s for one in ROWS}
    dense = report.layers.table.rows[-1]
    cell = dict(zip(names, dense, strict=True))
    (wide,) = [s for spec, s in seconds.items() if spec.workload.op is Op.DENSE and spec.input_dtype.bits == 8]
    assert cell["layer"] == "classifier"
    assert cell["int8_s"] == wide


def test_a_network_with_a_table_of_part_of_it(tmp_path: Path) -> None:
    """ResNet18 with INT8 of the large images only: the stem, its pool, the first stage, and two that read of it."""
    network = load_network("resnet18", 1)
    rows = [
        one
        for one in rows_of_network(network)
        if one.spec.workload.in_height in (224, 112, 56) and {t.bits for t in types(one.spec)} <= {8, 32}
    ]
    there = place(tmp_path, network, rows)
    report = report_of(there.subject(model="resnet18"), there.request(model="resnet18"))
    assert report.doubts[0].startswith("15 of 23 layers have no INT8 latency")
    assert "(8 of 23 layers)" in section(report, "time").lead
