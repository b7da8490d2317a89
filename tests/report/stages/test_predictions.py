"""The section on the predictor: what is held out, and what is said where nothing can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp, pi, sqrt
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

from profiler.lut.schema import LutRow, Source
from profiler.predictor import selection
from profiler.predictor.estimate import Estimate
from profiler.predictor.regressors import REGRESSORS
from profiler.predictor.validation.cross_validated import cross_validated
from profiler.predictor.validation.metrics import Answer
from profiler.predictor.validation.validate import held_out_answers
from profiler.record import Fingerprint
from profiler.report.content.prediction import Predictions, splits_of, table_of
from profiler.report.content.report import Section
from profiler.report_stages import predictions
from profiler.report_stages.predictions import prediction_section
from tests.predictor.invented import observed
from tests.report.stages.cases import (
    DEVICE,
    Place,
    chain,
    journal,
    measurement,
    place,
    row,
    rows_of_network,
    without_measurement,
)

KNOWN = rows_of_network(chain())[0]
"""Of the network that the report is of: without any latency of it there is none."""


def table(instrument: Fingerprint = DEVICE) -> list[LutRow]:
    """Of 12 other workloads in two precisions, and that one."""
    kernels = [(o.spec, o.latency_s) for o in observed(12)]
    return [row(spec, latency_s, instrument) for spec, latency_s in [*kernels, (KNOWN.spec, KNOWN.latency_median_s)]]


ROWS = table()


@pytest.fixture(autouse=True)
def one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quickest, since what is tested is not which one is best."""
    monkeypatch.setattr(selection, "REGRESSORS", {"ridge": REGRESSORS["ridge"]})


def section_of(there: Place) -> Section:
    return prediction_section(there.subject())


def figure(section: Section) -> Predictions:
    assert isinstance(section.figure, Predictions)
    return section.figure


def test_every_measured_row_is_held_out_once(tmp_path: Path) -> None:
    found = figure(section_of(place(tmp_path, rows=ROWS)))
    assert sorted(k.kernel for k in found.kernels) == sorted(one.spec.key for one in ROWS)
    seconds = {one.spec.key: one.latency_median_s for one in ROWS}
    assert all(k.measured_s == seconds[k.kernel] for k in found.kernels)
    assert found.model == "ridge"


def test_the_errors_are_those_of_the_kernels(tmp_path: Path) -> None:
    section = section_of(place(tmp_path, rows=ROWS))
    found = figure(section)
    errors = [abs(100 * (k.predicted_s / k.measured_s - 1)) for k in found.kernels]
    first = found.splits[0]
    assert (first.rows, first.mape_percent, first.median_percent) == (
        len(ROWS),
        pytest.approx(fmean(errors)),
        pytest.approx(median(errors)),
    )
    assert first.within_10_percent == pytest.approx(100 * sum(error <= 10 for error in errors) / len(errors))
    inside = sum(k.low_s <= k.measured_s <= k.high_s for k in found.kernels)
    assert first.coverage.startswith(f"{100 * inside / len(errors):.1f}%")
    assert f"{median(errors):.1f}% in the median and {fmean(errors):.1f}% on average" in section.lead
    assert [cells[5] for cells in table_of(found).rows] == pytest.approx(
        [100 * (k.predicted_s / k.measured_s - 1) for k in found.kernels]
    )
    assert splits_of(found).rows[0][0] == "workloads, in turn"


def test_processors_that_differ_in_the_last_digits_give_the_same_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As BLAS does from one CPU to another. What was measured is left as it is."""
    there = place(tmp_path, rows=ROWS)
    before = section_of(there)

    def elsewhere(answers: Sequence[Answer]) -> tuple[Answer, ...]:
        return tuple(replace(a, estimate=replace(a.estimate, **changed(a.estimate))) for a in answers)

    def changed(estimate: Estimate) -> dict[str, float]:
        return {end: getattr(estimate, end) * (1 + 1e-13) for end in ("low_s", "latency_s", "high_s")}

    def cross(*asked: Any) -> tuple[str, tuple[Answer, ...]]:
        family, answers = cross_validated(*asked)
        return family, elsewhere(answers)

    monkeypatch.setattr(predictions, "cross_validated", cross)
    monkeypatch.setattr(predictions, "held_out_answers", lambda *asked: elsewhere(held_out_answers(*asked)))
    assert section_of(there) == before


def test_a_small_table_is_held_out_in_other_ways_too(tmp_path: Path) -> None:
    section = section_of(place(tmp_path, rows=ROWS))
    assert [split.split for split in figure(section).splits] == ["workloads, in turn", "the largest fifth"]
    assert any(note.startswith("Not held out, networks, in turn: ") for note in section.notes)


def test_a_large_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report should not take minutes."""
    monkeypatch.setattr(predictions, "MOST_ROWS", len(ROWS) - 1)
    section = section_of(place(tmp_path, rows=ROWS))
    assert [split.split for split in figure(section).splits] == ["workloads, in turn"]
    assert any(note.startswith(f"With {len(ROWS)} rows other splits take minutes") for note in section.notes)


def test_too_few_rows(tmp_path: Path) -> None:
    section = section_of(place(tmp_path))
    assert section.figure is None
    assert section.notes == (
        "Nothing is predicted: 14 latencies of 3 workloads are too few to learn from: 16 of 8 are needed.",
    )


def test_peaks_that_the_rows_themselves_tell_are_owned_up_to(tmp_path: Path) -> None:
    """Else a held-out row would be among what it is predicted from."""
    unknown = Fingerprint("rtx9999", "A card", "sm_89", "0", "1", "invented")
    text = "its peaks are the most that any of its rows reaches, the held-out ones among them"
    assert text in section_of(place(tmp_path / "unknown", rows=table(unknown))).notes[0]
    assert not any(text in note for note in section_of(place(tmp_path / "known", rows=ROWS)).notes)


def test_the_noise_is_that_of_the_rest_of_the_page(tmp_path: Path) -> None:
    """Not that of the rows' intervals (1% to either side, `cases.row`), which tell of one run only: two measurements
    lie 2 sigma / sqrt(pi) apart on average, with 0.019 of README.md where no two runs tell."""
    section = section_of(place(tmp_path, rows=ROWS))
    assert figure(section).noise_percent == pytest.approx(100 * 2 * 0.019 / sqrt(pi))
    (note,) = [note for note in section.notes if note.startswith("Noise floor: ")]
    assert note.startswith("Noise floor: two measurements of a kernel lie 2.1% apart on average (assumed: that of two")


def test_two_runs_tell_the_noise(tmp_path: Path) -> None:
    """Eight kernels, the second time 3% slower: they lie 3% apart on average."""
    there = place(tmp_path, rows=ROWS)
    pairs = [(one, run, factor) for one in ROWS[:8] for run, factor in (("run", 1.0), ("second", exp(0.03)))]
    journal(tmp_path, [measurement(one.spec, "c", f * one.latency_median_s, run_id=run) for one, run, f in pairs])
    section = prediction_section(there.subject(lut=None))
    assert figure(section).noise_percent == pytest.approx(3.0)
    assert (
        "Noise floor: two measurements of a kernel lie 3.0% apart on average (8 kernels that two runs measured)."
    ) in section.notes


def test_a_table_of_predictions_alone_teaches_nothing(tmp_path: Path) -> None:
    section = section_of(place(tmp_path, rows=[without_measurement(one, Source.PREDICTED) for one in ROWS]))
    assert section.figure is None
    assert section.notes == ("Nothing is predicted: the table has no measured or published row to learn from.",)
