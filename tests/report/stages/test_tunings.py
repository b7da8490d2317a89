"""How searches went, from journals that are written here line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.errors import InvalidFile
from profiler.lut.demand import demand
from profiler.record import FINAL_STAGE, SCREEN_STAGE, FailureKind, Record
from profiler.report.content.tuning import Search, failures_of, table_of
from profiler.report_stages.report import report_of
from profiler.report_stages.tunings import history_of, tuning_section
from profiler.workload import INT8, KernelSpec, Op, Precision
from tests.report.stages.cases import CARD, Place, chain, failure, journal, measurement, place, rows_of_network

SPECS = [one.spec for one in rows_of_network(chain()) if one.spec.workload.op is Op.CONV2D]
WIDE = next(spec for spec in SPECS if spec.weight_dtype and spec.weight_dtype.bits == 8)
NARROW = next(spec for spec in SPECS if spec.weight_dtype and spec.weight_dtype.bits == 4)


def screen(spec: KernelSpec, config: str, latency_us: float, run_id: str = "run") -> Record:
    return measurement(spec, config, latency_us * 1e-6, SCREEN_STAGE, run_id)


def final(spec: KernelSpec, config: str, latency_us: float, run_id: str = "run") -> Record:
    return measurement(spec, config, latency_us * 1e-6, FINAL_STAGE, run_id)


def searched(folder: Path, *records: Record) -> Place:
    there = place(folder)
    journal(folder, records)
    return there


def only(there: Place) -> Search:
    (search,) = history_of(there.subject()).searches
    return search


def microseconds(search: Search) -> list[float | None]:
    return [None if best is None else round(best * 1e6, 6) for best in search.best_s]


def test_the_best_so_far_never_rises(tmp_path: Path) -> None:
    there = searched(tmp_path, *(screen(WIDE, c, us) for c, us in (("a", 9), ("b", 7), ("c", 8), ("d", 5), ("e", 6))))
    found = only(there)
    assert microseconds(found) == [9, 7, 7, 5, 5]
    assert (found.kernel, found.precision, found.failed) == (WIDE.key, "INT8", 0)
    assert found.layers[0] == "one"


def test_precisions_below_four_bits_have_their_names(tmp_path: Path) -> None:
    """Two that share the width of their weights are not one; a pool has none, and is of both."""
    precisions = (INT8, Precision.parse("a2w1"), Precision.parse("a1w1"))
    inner = [d.spec for d in demand(chain(), precisions, mixed=True) if d.layers[0] in ("two", "pooling")]
    there = searched(tmp_path, *(screen(spec, "a", 9) for spec in inner))
    names = {search.precision for search in history_of(there.subject(precisions=precisions)).searches}
    assert {"INT8", "A2W1", "A1W1", "A2", "A1"} <= names
    assert not {"INT1", "INT2"} & names


def test_failures_are_trials_without_a_latency(tmp_path: Path) -> None:
    there = searched(
        tmp_path,
        failure(WIDE, "a", FailureKind.COMPILE),
        failure(WIDE, "b", FailureKind.WRONG_OUTPUT),
        screen(WIDE, "c", 7),
        failure(WIDE, "d", FailureKind.COMPILE),
        screen(WIDE, "e", 6),
    )
    found = only(there)
    assert microseconds(found) == [None, None, 7, 7, 6]
    assert found.failed == 3
    assert history_of(there.subject()).failures == (("compile", 2), ("wrong_output", 1))


def test_a_config_counts_once(tmp_path: Path) -> None:
    """The final measurement of a winner, another run's look at it: neither is a further trial."""
    there = searched(
        tmp_path,
        screen(WIDE, "a", 9),
        screen(WIDE, "b", 7),
        final(WIDE, "b", 6),
        screen(WIDE, "a", 3, "second"),
        screen(WIDE, "c", 8, "second"),
        final(WIDE, "b", 5, "second"),
    )
    assert microseconds(only(there)) == [9, 7, 7]


def test_what_failed_ever_is_no_latency(tmp_path: Path) -> None:
    """Screened well, and wrong when it was measured to the end: as for the table, it never worked."""
    there = searched(tmp_path, screen(WIDE, "a", 3), screen(WIDE, "b", 7), failure(WIDE, "a", FailureKind.WRONG_OUTPUT))
    found = only(there)
    assert microseconds(found) == [None, 7]
    assert found.failed == 1


def test_a_config_that_fails_in_two_runs_is_one_failed_trial(tmp_path: Path) -> None:
    there = searched(
        tmp_path,
        failure(WIDE, "a", FailureKind.CRASH),
        screen(WIDE, "b", 7),
        failure(WIDE, "a", FailureKind.CRASH, "second"),
    )
    subject = there.subject()
    history = history_of(subject)
    assert history.failures == (("crash", 1),)
    assert tuning_section(subject, history).lead.endswith("1 trials failed.")
    assert history.trials == 2


def test_an_unstable_device_says_nothing_of_a_config(tmp_path: Path) -> None:
    """It was disturbed at first and measured by the next run, as `TuningDatabase.tried` has it; it is counted apart."""
    there = searched(
        tmp_path,
        failure(WIDE, "a", FailureKind.UNSTABLE),
        screen(WIDE, "b", 7, "second"),
        screen(WIDE, "a", 5, "second"),
    )
    found = only(there)
    assert microseconds(found) == [7, 5]
    assert found.failed == 0
    assert history_of(there.subject()).failures == (("unstable", 1),)


def test_a_kernel_of_which_only_the_device_failed_was_not_searched(tmp_path: Path) -> None:
    there = searched(tmp_path, failure(WIDE, "a", FailureKind.UNSTABLE))
    subject = there.subject()
    assert history_of(subject).searches == ()
    assert tuning_section(subject, history_of(subject)).figure is None


def test_a_search_in_which_nothing_worked(tmp_path: Path) -> None:
    there = searched(
        tmp_path,
        failure(WIDE, "a", FailureKind.COMPILE),
        failure(WIDE, "b", FailureKind.TIMEOUT),
        screen(NARROW, "a", 3),
    )
    subject = there.subject()
    wide, narrow = sorted(history_of(subject).searches, key=lambda search: search.precision, reverse=True)
    assert microseconds(wide) == [None, None]
    assert wide.relative == (None, None)
    assert (narrow.precision, microseconds(narrow)) == ("INT4", [3])
    assert (
        tuning_section(subject, history_of(subject)).lead
    ) == "2 kernels, 3 trials; in the median a config within 5% of the best came with trial 1. 2 trials failed."


@pytest.mark.parametrize(
    ("latencies", "trial"),
    [((10, 5, 5.2, 4.9), "2"), ((5, 10, 9), "1"), ((10, 9, 8, 5.3, 5), "5"), ((5.24, 9, 5), "1")],
)
def test_when_a_config_within_5_percent_of_the_best_came(
    tmp_path: Path, latencies: tuple[float, ...], trial: str
) -> None:
    there = searched(tmp_path, *(screen(WIDE, f"c{i}", us) for i, us in enumerate(latencies)))
    subject = there.subject()
    assert (
        f"a config within 5% of the best came with trial {trial}." in tuning_section(subject, history_of(subject)).lead
    )


def test_only_records_of_this_instrument_and_these_kernels_count(tmp_path: Path) -> None:
    there = searched(tmp_path, screen(WIDE, "a", 9))
    stranger = next(one.spec for one in rows_of_network(chain(channels=48)) if one.spec.workload.op is Op.CONV2D)
    journal(tmp_path, [screen(stranger, "a", 1)], name="stranger")
    path = tmp_path / "tuning_logs" / "cpu" / "card.jsonl"
    journal(tmp_path, [measurement(WIDE, "b", 1e-6, SCREEN_STAGE, instrument=CARD)], CARD).rename(path)
    assert microseconds(only(there)) == [9]


def test_the_tables_hold_every_trial(tmp_path: Path) -> None:
    there = searched(tmp_path, failure(WIDE, "a", FailureKind.CRASH), screen(WIDE, "b", 7), screen(NARROW, "a", 3))
    history = history_of(there.subject())
    rows = [(row[0], row[3], row[4]) for row in table_of(history).rows]
    assert sorted(rows, key=str) == sorted(
        [(WIDE.key, 1, None), (WIDE.key, 2, pytest.approx(7e-6)), (NARROW.key, 1, pytest.approx(3e-6))], key=str
    )
    assert failures_of(history).rows == (("crash", 1),)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    there = searched(tmp_path, screen(WIDE, "a", 9), screen(WIDE, "b", 7))
    path = tmp_path / "tuning_logs" / "cpu" / "w.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace("samples_s", "sample"), lines[2]]) + "\n")
    with pytest.raises(InvalidFile, match=r"w\.jsonl, line 2: not a record"):
        there.subject()


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    there = searched(tmp_path, screen(WIDE, "a", 9), screen(WIDE, "b", 7))
    path = tmp_path / "tuning_logs" / "cpu" / "w.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert microseconds(only(there)) == [9]


def test_a_folder_of_logs_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="there is no such folder"):
        place(tmp_path).subject(logs=tmp_path / "nowhere")


def test_without_journals_the_report_says_so(tmp_path: Path) -> None:
    there = place(tmp_path)
    for made in (False, True):
        if made:
            (tmp_path / "tuning_logs" / "cpu").mkdir(parents=True)
        section = next(s for s in report_of(there.subject(), there.request()).sections if s.name == "tuning")
        assert section.figure is None
        assert section.notes[0].startswith("There are no journals of this instrument")
        assert str(tmp_path) not in section.notes[0]
    journal(tmp_path, [screen(rows_of_network(chain(channels=48))[0].spec, "a", 1)])
    section = next(s for s in report_of(there.subject(), there.request()).sections if s.name == "tuning")
    assert section.notes[0].startswith("There are no trials of this network's kernels in the tuning logs (cpu): ")
