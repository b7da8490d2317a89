"""How well a table was measured, and what should make a reader doubt it: each from rows and journals made for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import exp, log, pi, sqrt
from pathlib import Path
from statistics import fmean

import pytest

from profiler.lut.schema import LutRow, Source
from profiler.record import CacheMode, Circumstances, Conditions, Record
from profiler.report_stages.healths import doubts_of, health_of, health_section
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.subject import Subject, subject_of
from tests.report.stages.cases import (
    CARD,
    CONDITIONS,
    HOST,
    chain,
    journal,
    measurement,
    place,
    rows_of_network,
    without_measurement,
)

NETWORK = chain()
ROWS = tuple(rows_of_network(NETWORK))
COUNT = len(ROWS)


def subject(folder: Path, rows: Sequence[LutRow] = ROWS, records: Iterable[Record] = ()) -> Subject:
    """The table of an own run, with the journals behind it."""
    there = place(folder, NETWORK, rows)
    if found := tuple(records):
        journal(folder, found)
    return there.subject(lut=None)


def doubts(about: Subject) -> tuple[str, ...]:
    return tuple(doubts_of(about, health_of(about)))


def final_of(one: LutRow, **changes: object) -> Record:
    """What the row was made of."""
    asked: dict[str, object] = {"circumstances": Circumstances(3000.0, 3000.0, load_average=0.2)}
    return measurement(one.spec, "c", one.latency_median_s, **{**asked, **changes})  # type: ignore[arg-type]


def changed(count: int, **changes: object) -> tuple[LutRow, ...]:
    """The first rows differ."""
    return (*(replace(one, **changes) for one in ROWS[:count]), *ROWS[count:])  # type: ignore[arg-type]


# -- doubts ----------------------------------------------------------------------------------------------------------


def test_a_clean_own_run_raises_none(tmp_path: Path) -> None:
    assert doubts(subject(tmp_path)) == ()
    assert doubts(subject(tmp_path, records=map(final_of, ROWS))) == ()


def test_other_processes(tmp_path: Path) -> None:
    notes = ("other processes used 1.2 cores meanwhile", "the clock could not be read")
    records = [final_of(ROWS[0], circumstances=Circumstances(notes=notes)), *map(final_of, ROWS[1:])]
    assert doubts(subject(tmp_path, records=records)) == (
        f"Other processes were busy while 1 of {COUNT} rows were measured.",
    )


def test_a_harmless_note_is_no_doubt(tmp_path: Path) -> None:
    records = [final_of(ROWS[0], circumstances=Circumstances(notes=("temperature: no permission",)))]
    assert doubts(subject(tmp_path, records=records)) == ()


def test_contaminated_samples(tmp_path: Path) -> None:
    """A median beyond 1.3 times the minimum."""
    samples = (1e-5, *[1.4e-5] * 7)
    records = [measurement(ROWS[0].spec, "c", samples), measurement(ROWS[1].spec, "c", (1e-5, *[1.2e-5] * 7))]
    assert doubts(subject(tmp_path, records=records)) == (
        f"The medians of 1 of {COUNT} rows lie far above their minima: something else ran meanwhile.",
    )


def test_only_the_measurement_behind_the_row_counts(tmp_path: Path) -> None:
    """An earlier, disturbed run of the same artifact, a candidate of the search, and a kernel that is in no row."""
    busy = Circumstances(notes=("other processes used 1.2 cores meanwhile",))
    stranger = rows_of_network(chain(channels=48))[0]
    records = [
        final_of(ROWS[0], circumstances=busy, run_id="before", at=1.0),
        final_of(ROWS[0]),
        final_of(ROWS[1], circumstances=busy, stage="screen"),
        final_of(stranger, circumstances=busy),
    ]
    assert doubts(subject(tmp_path, records=records)) == ()


def test_a_later_run_of_the_same_artifact_is_not_behind_the_row(tmp_path: Path) -> None:
    """The table holds what the first run measured: neither the doubts nor the temperature of the second are its."""
    busy = Circumstances(notes=("other processes used 1.2 cores meanwhile",), temperature_c=80.0, load_average=4.0)
    quiet = Circumstances(temperature_c=50.0, load_average=0.5)
    records = [
        final_of(ROWS[0], circumstances=quiet),
        final_of(ROWS[0], circumstances=busy, run_id="after", at=1.8e9),
        measurement(ROWS[1].spec, "c", (1e-5, *[1.4e-5] * 7), run_id="after", at=1.8e9),
    ]
    about = subject(tmp_path, records=records)
    assert doubts(about) == ()
    known = {k.kernel: (k.temperature_c, k.load) for k in health_of(about).kernels}
    assert known[ROWS[0].spec.key] == (50.0, 0.5)
    assert known[ROWS[1].spec.key] == (None, None)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"discarded": 3}, f"Samples of 2 of {COUNT} rows were discarded and taken again."),
        (
            {"power_capped_fraction": 0.01},
            f"The card was at its power limit during 2 of {COUNT} rows: their clock was lowered.",
        ),
        (
            {"latency_ci95_low_s": 1e-6},
            f"The medians of 2 of {COUNT} rows are known to no better than 5%.",
        ),
        (
            {"sm_clock_mhz_low": 3300.0, "sm_clock_mhz_high": 3302.0},
            "The clock moved between rows, from 3000 to 3301 MHz: rows of different moments compare less well than "
            "their intervals say.",
        ),
    ],
)
def test_what_the_rows_tell(tmp_path: Path, changes: dict[str, object], line: str) -> None:
    assert doubts(subject(tmp_path, changed(2, **changes))) == (line,)


@pytest.mark.parametrize(
    "changes",
    [
        {"power_capped_fraction": 0.0},
        {"sm_clock_mhz_low": 3290.0, "sm_clock_mhz_high": 3308.0},  # 3299: less than a tenth above
        {"sm_clock_mhz_low": None, "sm_clock_mhz_high": None},
    ],
)
def test_what_they_do_not_tell(tmp_path: Path, changes: dict[str, object]) -> None:
    assert doubts(subject(tmp_path, changed(2, **changes))) == ()


def test_whose_figures_they_are(tmp_path: Path) -> None:
    published = tuple(without_measurement(one, Source.PUBLISHED) for one in ROWS)
    assert doubts(subject(tmp_path / "a", published)) == (
        f"{COUNT} of {COUNT} rows were published by others, without intervals.",
    )
    predicted = (*(without_measurement(one, Source.PREDICTED) for one in ROWS[:3]), *ROWS[3:])
    assert doubts(subject(tmp_path / "b", predicted)) == (f"3 of {COUNT} rows are predicted, not measured.",)


def test_rows_of_other_conditions(tmp_path: Path) -> None:
    """Most rows decide, and how many are left out is told."""
    others = [replace(one, conditions=Conditions(2, CacheMode.HOT)) for one in ROWS[:3]]
    about = subject(tmp_path, (*ROWS, *others))
    assert about.conditions == CONDITIONS
    assert doubts(about) == ("3 rows of other conditions than 1 thread, cache mode network are not read.",)


def test_a_gpu_has_no_threads_to_name(tmp_path: Path) -> None:
    rows = rows_of_network(NETWORK, instrument=CARD)
    others = [replace(one, conditions=Conditions(1, CacheMode.HOT)) for one in rows[:3]]
    about = subject(tmp_path, (*rows, *others))
    assert doubts(about)[-1] == "3 rows of other conditions than cache mode network are not read."


def test_missing_layers_are_counted_and_named(tmp_path: Path) -> None:
    rows = tuple(one for one in ROWS if one.spec.workload.op.value != "dense" or one.spec.input_dtype.bits == 8)
    assert doubts(subject(tmp_path, rows)) == (
        "1 of 5 layers have no INT4 latency and are in none of its totals: classifier.",
    )


def test_what_the_frontend_left_out(tmp_path: Path) -> None:
    network = replace(NETWORK, skipped=("Resize_12", "NonMaxSuppression_7"), outputs=("logits",))
    about = place(tmp_path, network, ROWS).subject()
    assert doubts(about) == ("Left out of the network, and of every total: Resize_12, NonMaxSuppression_7.",)


def test_the_recorded_table_says_whose_it_is_wherever_it_is_asked_from(tmp_path: Path) -> None:
    about = subject_of(ReportRequest(device="cpu", folder=tmp_path / "nothing here"))
    (line,) = doubts(about)
    assert line.startswith("No run of your own in lut: the latencies are those of lut/recorded/cpu-8cfd341f.csv, ")
    assert "measured by the authors on their machine, not on yours" in line
    assert doubts(subject_of(ReportRequest(lut=HOST))) == ()


# -- rows as they were measured --------------------------------------------------------------------------------------


def test_rows_stand_in_the_order_in_which_they_were_measured(tmp_path: Path) -> None:
    rows = [replace(one, measured_at=1.75e9 - index) for index, one in enumerate(ROWS)]
    health = health_of(subject(tmp_path, rows))
    assert [k.kernel for k in health.kernels] == [one.spec.key for one in reversed(rows)]
    times = [k.measured_at for k in health.kernels]
    assert times == sorted(times)


def test_what_is_known_of_a_row(tmp_path: Path) -> None:
    circumstances = Circumstances(2990.0, 3010.0, temperature_c=61.5, load_average=1.25)
    rows = changed(1, sm_clock_mhz_low=2990.0, sm_clock_mhz_high=3010.0, discarded=2, power_capped_fraction=0.25)
    health = health_of(subject(tmp_path, rows, [final_of(rows[0], circumstances=circumstances)]))
    (found,) = [k for k in health.kernels if k.kernel == rows[0].spec.key]
    assert found.halfwidth_percent == pytest.approx(1.0)
    assert (found.samples, found.discarded, found.power_capped_fraction) == (30, 2, 0.25)
    assert (found.clock_mhz_low, found.clock_mhz_high) == (2990.0, 3010.0)
    assert (found.temperature_c, found.load) == (61.5, 1.25)
    others = [k for k in health.kernels if k is not found]
    assert {(k.temperature_c, k.load) for k in others} == {(None, None)}


def test_kernels_that_two_runs_measured(tmp_path: Path) -> None:
    """Percent of their mean; a contaminated one tells of something else."""
    first = [final_of(one) for one in ROWS[:2]]
    second = [
        measurement(ROWS[0].spec, "c", 1.1 * ROWS[0].latency_median_s, run_id="second", at=1.76e9),
        measurement(ROWS[1].spec, "c", (1e-6, *[1e-5] * 7), run_id="second", at=1.76e9),
    ]
    about = subject(tmp_path, records=[*first, *second])
    health = health_of(about)
    assert health.repeats_percent == (pytest.approx(100 * 0.1 / 1.05),)
    section = health_section(about, health)
    assert section.lead.endswith("two runs of a kernel lie 9.5% apart in the median.")
    assert about.noise.assumed
    assert "since fewer than 8 kernels were measured by two runs here" in about.noise.origin


def test_eight_repeated_kernels_tell_the_noise(tmp_path: Path) -> None:
    """Two normal variables lie 2 sigma / sqrt(pi) apart on average."""
    factors = (1.01, 1.02, 1.03, 1.04, 0.99, 0.98, 0.97, 1.05)
    records = [final_of(one) for one in ROWS[:8]]
    for one, factor in zip(ROWS[:8], factors, strict=True):
        records.append(measurement(one.spec, "c", factor * one.latency_median_s, run_id="second", at=1.76e9))
    noise = subject(tmp_path, records=records).noise
    sigma = fmean(abs(log(factor)) for factor in factors) * sqrt(pi) / 2
    assert noise.sigma == pytest.approx(sigma)
    assert noise.tie == pytest.approx(exp(1.96 * sqrt(2) * sigma))
    assert (noise.assumed, noise.origin) == (False, "8 kernels that two runs measured")


def test_the_noise_that_is_assumed() -> None:
    """1.8% in the median (README.md), 8.2% on average (lut/published/README.md)."""
    host = subject_of(ReportRequest(lut=HOST)).noise
    assert host.sigma == pytest.approx(0.018 / (0.6745 * sqrt(2)), rel=0.02)
    published = subject_of(ReportRequest(device="t4")).noise
    assert published.sigma == pytest.approx(0.082 * sqrt(pi) / 2, rel=0.02)
    assert host.assumed
    assert published.assumed


def test_predicted_rows_are_not_called_published(tmp_path: Path) -> None:
    about = subject(tmp_path, [without_measurement(one, Source.PREDICTED) for one in ROWS])
    section = health_section(about, health_of(about))
    assert section.figure is None
    assert section.notes == ("Nothing was measured: the rows are predicted.",)
    assert "published" not in about.noise.origin


def test_published_rows_have_no_figure() -> None:
    about = subject_of(ReportRequest(device="t4"))
    section = health_section(about, health_of(about))
    assert section.figure is None
    assert "published as they are" in section.notes[0]
    assert len(section.tables[0].table.rows) == 65


def test_the_recorded_table() -> None:
    about = subject_of(ReportRequest(lut=HOST))
    section = health_section(about, health_of(about))
    assert section.lead == "150 rows; half of a median's 95% interval is 0.49% in the median, 2.4% at most."
    assert section.notes == ("No journals: load, temperature and repeated measurements are not known.",)
