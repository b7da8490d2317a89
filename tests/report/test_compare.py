"""From two tables to verdicts, notes and files."""

from __future__ import annotations

import csv
import math
import random
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.lut import store
from profiler.lut.schema import LutRow, Source
from profiler.record import CacheMode, Conditions, Journal
from profiler.report.content.comparison import ComparedKernel, Comparison, Noise, summary_of
from profiler.report_stages.compare import CompareRequest, compare, side_by_side
from profiler.report_stages.compare import compared as compared_files
from profiler.report_stages.compare_labels import labels_of
from profiler.report_stages.compare_noise import noise_between
from profiler.verdict import MARGIN, Ratio, Span, Verdict, judge, ratio
from profiler.workload import DType, Epilogue
from tests.predictor.invented_lut import INSTRUMENT, measurement, published
from tests.report.compared import compared, later, scaled, scattered, spec, table

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "lut" / "recorded" / "cpu-8cfd341f.csv"
SHAPES = ROOT / "lut" / "recorded" / "cpu-8cfd341f-shapes.csv"
T4 = ROOT / "lut" / "published" / "t4_hawqv3.csv"


def verdicts(comparison: Comparison) -> set[Verdict]:
    return {kernel.verdict for kernel in comparison.kernels}


def noted(comparison: Comparison, *parts: str) -> bool:
    """Whether one note has all the parts in it."""
    return any(all(part in note for part in parts) for note in comparison.notes)


def write(path: Path, rows: list[LutRow]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write(path, rows)
    return path


# Verdicts


@pytest.mark.parametrize("path", [RECORDED, SHAPES, T4], ids=lambda p: p.stem)
def test_a_table_with_itself_is_the_same_in_every_row(path: Path) -> None:
    comparison = compared_files(CompareRequest(path, path))
    rows = store.read(path)
    assert len(comparison.kernels) == len(rows)
    assert all(k.verdict is Verdict.SAME and k.ratio == Ratio(1, 1, 1) and k.once for k in comparison.kernels)
    assert comparison.geometric_mean == Ratio(1, 1, 1)
    assert comparison.verdict is Verdict.SAME
    assert noted(comparison, f"{len(rows)} of {len(rows)} kernels", "a single measurement")
    assert not noted(comparison, "noise"), "none was needed"


def test_ten_percent_added_are_slower_where_the_noise_permits() -> None:
    """Whether it does is counted from the file's own intervals: logarithms of half widths, in quadrature."""
    rows = store.read(SHAPES)
    comparison = compared(rows, [scaled(row, 1.1) for row in rows])
    between = 1.96 * math.sqrt(2) * 0.019
    expected = {}
    for row in rows:
        assert row.latency_ci95_low_s is not None
        assert row.latency_ci95_high_s is not None
        low = math.log(row.latency_median_s / row.latency_ci95_low_s)
        high = math.log(row.latency_ci95_high_s / row.latency_median_s)
        expected[row.spec.key] = math.log(1.1) > math.sqrt(low**2 + high**2 + between**2)
    slower = {k.kernel: k.verdict is Verdict.SLOWER for k in comparison.kernels}
    assert slower == expected
    assert sum(slower.values()) > 1000
    assert verdicts(comparison) <= {Verdict.SLOWER, Verdict.AMBIGUOUS}
    assert comparison.geometric_mean.value == pytest.approx(1.1)


def test_ten_percent_more_than_noise_of_seven_percent_shows_is_ambiguous(tmp_path: Path) -> None:
    rows = store.read(T4)
    more = write(tmp_path / "more.csv", [scaled(row, 1.1) for row in rows])
    comparison = compared_files(CompareRequest(T4, more))
    assert verdicts(comparison) == {Verdict.AMBIGUOUS}
    assert noted(comparison, "noise from run to run: 7.3%")
    assert noted(comparison, "no kernel", "within 10.0%", "a margin of at least 22.5%")
    assert noted(comparison, "65 kernels have a published latency")
    assert verdicts(compared_files(CompareRequest(T4, more, noise=0.01))) == {Verdict.SLOWER}


def test_the_margin_that_is_named_would_do_and_no_smaller_one() -> None:
    rows = table(3, within=1e-9)
    noise = 0.05
    comparison = compared(rows, later(rows), noise)
    assert verdicts(comparison) == {Verdict.AMBIGUOUS}
    (note,) = (note for note in comparison.notes if "a margin of at least" in note)
    percent = float(note.split("at least ")[1].split("%")[0])
    assert verdicts(compared(rows, later(rows), noise, percent / 100 + 1e-6)) == {Verdict.SAME}
    assert verdicts(compared(rows, later(rows), noise, (percent - 0.1) / 100)) == {Verdict.AMBIGUOUS}
    assert not noted(compared(rows, later(rows), noise, percent / 100 + 1e-6), "a margin of at least")


def test_simulated_runs_err_as_often_as_95_percent_allow() -> None:
    rng, rows = random.Random(5), table(2_000, within=0.0)
    again = later(rows, lambda _: math.exp(rng.gauss(0, 0.02) - rng.gauss(0, 0.02)))
    comparison = compared(rows, again, noise=0.02)
    false = comparison.count(Verdict.FASTER) + comparison.count(Verdict.SLOWER)
    assert false / 2_000 == pytest.approx(0.05, abs=0.015)
    assert noted(comparison, "about 100 faster or slower", f"here it is {false}")


def test_an_unexpected_number_of_changes_is_not_put_down_to_chance() -> None:
    rows = table(40)
    assert not noted(compared(rows, later(rows, lambda i: 1.2 if i < 10 else 1.0)), "chance")


factors = st.lists(st.floats(0.5, 2.0), min_size=4, max_size=4)


@settings(max_examples=60)
@given(factors, st.floats(0.0, 0.1), st.floats(0.02, 0.5), st.floats(0.01, 100.0))
def test_mirrored_and_scaled(drawn: list[float], noise: float, margin: float, unit: float) -> None:
    a = table(4)
    b = later(a, lambda index: drawn[index])
    there, back = compared(a, b, noise, margin), compared(b, a, noise, margin)
    borders = (1.0, 1 + margin, 1 / (1 + margin))
    ends = [end for k in there.kernels for end in (k.ratio.low, k.ratio.high)]
    assume(all(abs(end / border - 1) > 1e-9 for end in ends for border in borders))
    turned = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
    assert by_kernel(back) == {name: turned.get(verdict, verdict) for name, verdict in by_kernel(there).items()}
    assert back.geometric_mean.value == pytest.approx(1 / there.geometric_mean.value)
    assert back.geometric_mean.low == pytest.approx(1 / there.geometric_mean.high)
    both = compared([scaled(row, unit) for row in a], [scaled(row, unit) for row in b], noise, margin)
    assert by_kernel(both) == by_kernel(there)


def by_kernel(comparison: Comparison) -> dict[str, Verdict]:
    return {kernel.kernel: kernel.verdict for kernel in comparison.kernels}


def test_kernels_are_sorted_from_the_slowest_to_the_fastest() -> None:
    ratios = [kernel.ratio.value for kernel in scattered(50, 0.1).kernels]
    assert ratios == sorted(ratios, reverse=True)


def test_the_geometric_mean_and_the_kinds_of_kernels() -> None:
    rows = table(4)
    narrow = [replace(row, spec=spec(8 * i, weight_dtype=DType.INT4)) for i, row in enumerate(rows, start=1)]
    a = [*rows, *narrow]
    comparison = compared(a, [*later(rows, lambda _: 0.5), *later(narrow, lambda i: (2, 2, 4, 4)[i])])
    assert comparison.geometric_mean.value == pytest.approx((0.5**4 * 2 * 2 * 4 * 4) ** (1 / 8))
    summary = {row[0]: row[1:] for row in summary_of(comparison).rows}
    assert summary["conv, int8 weights"] == (4, pytest.approx(0.5), 4, 0, 0, 0)
    assert summary["conv, int4 weights"] == (4, pytest.approx(8**0.5), 0, 4, 0, 0)
    assert summary["all"][0] == 8


# Slowdowns, for ``--fail-if-slower``


def unchanged(rng: random.Random, count: int, noise: float, common: bool) -> Comparison:
    """Of kernels that did not change; with ``common`` all are off alike."""
    shift = rng.gauss(0, noise * math.sqrt(2))
    model = compared(table(1), later(table(1)))

    def kernel(index: int) -> ComparedKernel:
        error = shift if common else rng.gauss(0, noise * math.sqrt(2))
        latency_s = 1e-5 * math.exp(error)
        a, b = Span(1e-5, 1e-5, 1e-5), Span(latency_s, latency_s, latency_s)
        found = ratio(b, a, noise)
        return replace(model.kernels[0], label=str(index), a=a, b=b, ratio=found, verdict=judge(found, 1e-9))

    return replace(model, kernels=tuple(map(kernel, range(count))), margin=1e-9)


def alarms(count: int, common: bool, seed: int) -> float:
    """The share of comparisons that ``--fail-if-slower`` would fail for."""
    rng = random.Random(seed)
    found = (unchanged(rng, count, 0.02, common) for _ in range(400))
    return statistics.fmean(bool(c.slowdowns or c.slower_on_the_whole) for c in found)


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("count", [1, 10, 150])
def test_one_comparison_in_twenty_alarms_falsely_at_most(count: int, common: bool) -> None:
    assert 0.005 <= alarms(count, common, seed=3) <= 0.05, "it can happen, but rarely"


def test_the_interval_of_the_mean_holds_the_truth_even_if_all_kernels_err_alike() -> None:
    rng = random.Random(6)
    means = [unchanged(rng, 20, 0.02, common=True).geometric_mean for _ in range(1_000)]
    assert statistics.fmean(mean.low <= 1 <= mean.high for mean in means) == pytest.approx(0.95, abs=0.02)


def test_ten_percent_on_all_kernels_is_slower_on_the_whole() -> None:
    """Where each kernel alone might be one that chance made slow."""
    rows = table(150)
    comparison = compared(rows, later(rows, lambda _: 1.1), noise=0.025)
    assert comparison.slowdowns == ()
    assert comparison.slower_on_the_whole
    assert comparison.headline.startswith("B is slower: it takes 1.100 times as long (1.02")
    assert not compared(rows, later(rows, lambda _: 1.1), noise=0.05).slower_on_the_whole, "too much noise"
    assert not compared(rows, later(rows, lambda _: 1.09), noise=0.01).slower_on_the_whole, "within the margin"


def test_a_slowdown_of_one_kernel_among_many_is_found() -> None:
    rows = table(150)
    comparison = compared(rows, later(rows, lambda i: 1.25 if i == 77 else 1.0))
    assert [kernel.kernel for kernel in comparison.slowdowns] == [spec(8 * 78).key]


def test_a_slowdown_below_the_margin_is_none() -> None:
    rows = table(5)
    b = later(rows, lambda _: 1.08)
    assert verdicts(compared(rows, b, noise=0.001)) == {Verdict.SLOWER}, "it shows"
    assert compared(rows, b, noise=0.001).slowdowns == ()
    assert len(compared(rows, b, noise=0.001, margin=0.05).slowdowns) == 5
    assert compared(rows, later(rows, lambda _: 0.5)).slowdowns == ()
    assert compared(rows, rows).slowdowns == ()


# Noise


def run_of(folder: Path, drifts: list[float], device: str = "cpu") -> tuple[Path, list[LutRow], float]:
    """A table beside the journal of two runs: its path, its rows, and the noise that the pairs tell of."""
    rows = [replace(row, fingerprint=INSTRUMENT.short) for row in table(len(drifts))]
    journal = Journal(folder / "tuning_logs" / device / "some.jsonl")
    journal.append([INSTRUMENT])
    for row, drift in zip(rows, drifts, strict=True):
        first_s, second_s = row.latency_median_s, row.latency_median_s * math.exp(drift)
        journal.append([measurement(row.spec, "c", first_s, run_id="one", at=1.0)])
        journal.append([measurement(row.spec, "c", second_s, run_id="two", at=2.0)])
    sigma = statistics.fmean(map(abs, drifts)) * math.sqrt(math.pi) / 2
    return write(folder / "lut" / "name.csv", rows), rows, sigma


DRIFTS = [0.01, -0.03, 0.02, 0.0, 0.04, -0.01, 0.02, -0.02, 0.03]


@pytest.mark.parametrize("replicated", ["a", "b"])
def test_noise_comes_from_the_journals_of_either_table_of_an_instrument(tmp_path: Path, replicated: str) -> None:
    path, rows, sigma = run_of(tmp_path / "run", DRIFTS)
    other = write(tmp_path / "elsewhere.csv", later(rows))
    a, b = (path, other) if replicated == "a" else (other, path)
    comparison = compared_files(CompareRequest(a, b))
    assert comparison.noise.sigma == pytest.approx(sigma)
    assert not comparison.noise.assumed
    assert not noted(comparison, "noise from run to run")


def test_too_few_pairs_tell_nothing(tmp_path: Path) -> None:
    path, rows, _ = run_of(tmp_path / "run", DRIFTS[:7])
    comparison = compared_files(CompareRequest(path, write(tmp_path / "b.csv", later(rows))))
    assert comparison.noise.assumed
    assert comparison.noise.sigma == pytest.approx(0.018 / 0.6745 / math.sqrt(2), rel=0.02)
    assert noted(comparison, "noise from run to run: 1.9%", "assumed")


def test_the_noise_of_one_instrument_is_not_that_of_another(tmp_path: Path) -> None:
    path, rows, sigma = run_of(tmp_path / "run", DRIFTS)
    other = later(rows, fingerprint="11111111", device_name="Tesla T4")
    noise = noise_between(path, rows, tmp_path / "b.csv", other)
    assumed = noise_between(tmp_path / "b.csv", other, tmp_path / "b.csv", other)
    assert noise.sigma == pytest.approx(math.sqrt((sigma**2 + assumed.sigma**2) / 2))
    assert noise.assumed
    assert "A 1.8%" in noise.origin
    assert "B 1.9%" in noise.origin


def test_published_rows_have_the_noise_of_tuning_sessions() -> None:
    rows = table(3)
    theirs = [published(row) for row in rows]
    here = Path("x.csv")
    alone, mixed = noise_between(here, theirs, here, theirs), noise_between(here, rows, here, theirs)
    assert alone.sigma == pytest.approx(0.082 * math.sqrt(math.pi) / 2, rel=0.01)
    measured = noise_between(here, rows, here, rows)
    assert 2 * mixed.sigma**2 == pytest.approx(alone.sigma**2 + measured.sigma**2), "variances of a difference add"


def test_what_the_user_says_goes_ahead_and_spares_the_journals(tmp_path: Path) -> None:
    path, rows, _ = run_of(tmp_path / "run", DRIFTS)
    journal = tmp_path / "run" / "tuning_logs" / "cpu" / "some.jsonl"
    journal.write_text("{}\n" + journal.read_text())
    b = write(tmp_path / "b.csv", later(rows))
    with pytest.raises(InvalidFile, match=r"some\.jsonl"):
        compared_files(CompareRequest(path, b))
    comparison = compared_files(CompareRequest(path, b, noise=0.05))
    assert (comparison.noise.sigma, comparison.noise.assumed) == (0.05, False)


def test_journals_belong_to_a_table_in_lut_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows, sigma = run_of(tmp_path / "run", DRIFTS)
    kept = write(tmp_path / "run" / "kept" / "name.csv", rows)
    assert noise_between(kept, rows, kept, rows).assumed
    monkeypatch.chdir(path.parent)
    assert noise_between(Path("name.csv"), rows, kept, rows).sigma == pytest.approx(sigma)


# Notes


def test_two_instruments_are_named() -> None:
    rows = table(2)
    assert noted(
        compared(rows, later(rows, fingerprint="11111111", device="t4", device_name="Tesla T4")),
        "two instruments", "11111111", "device is 'cpu' in A and 't4' in B", "'Tesla T4' in B",
    )  # fmt: skip
    assert noted(compared(rows, later(rows, fingerprint="11111111")), "of the same model: the card, driver, compiler")
    assert not noted(compared(rows, later(rows)), "two instruments")


def test_another_clock_is_told_with_what_it_explains() -> None:
    rows = [replace(row, sm_clock_mhz_low=1900.0, sm_clock_mhz_high=2100.0) for row in table(3)]
    slower = {"sm_clock_mhz_low": 1500.0, "sm_clock_mhz_high": 1700.0}
    assert noted(compared(rows, later(rows, **slower)), "2000 MHz in A and 1600 MHz in B", "1.25 times as long")
    assert not noted(compared(rows, later(rows, sm_clock_mhz_low=1910.0)), "clock"), "within 2%"
    assert not noted(compared(rows, later(rows, device_name="another", fingerprint="11111111", **slower)), "clock")


def test_what_is_left_out_is_counted() -> None:
    rows = table(5)
    predicted = [replace(r, source=Source.PREDICTED, samples=0, artifact_sha256="", run_id="") for r in table(9)[7:]]
    comparison = compared([*rows, *predicted], later(rows[1:]))
    assert (comparison.only_a, comparison.only_b, len(comparison.kernels)) == (1, 0, 4)
    assert noted(comparison, "1 kernels are only in A and 0 only in B")
    assert noted(comparison, "2 predicted rows of A and 0 of B")


def test_rows_measured_once_do_not_hide_those_measured_twice() -> None:
    rows = table(4)
    comparison = compared(rows, [*rows[:3], *later(rows[3:], lambda _: 2.0)], assumed=True)
    assert noted(comparison, "3 of 4 kernels", "a single measurement")
    assert noted(comparison, "noise from run to run")
    assert [k.once for k in comparison.kernels] == [False, True, True, True]


# Labels


def test_labels_are_short_and_unique() -> None:
    for path in (RECORDED, SHAPES, T4):
        labels = labels_of(store.read(path))
        assert len(set(labels)) == len(labels)
        assert statistics.median(map(len, labels)) < 50


def test_labels_that_would_be_alike_are_keys() -> None:
    rows = table(3)
    padded = replace(rows[0].spec.workload, pad_top=1, in_height=6)
    other = replace(rows[0], spec=replace(rows[0].spec, workload=padded))
    image = replace(rows[1], spec=replace(rows[1].spec, workload=rows[1].spec.workload.with_batch(8)))
    first, second, third, fourth = labels_of([rows[0], other, rows[1], image])
    assert first == "conv 1x1/1 7x7x8>64, u8 i8>u8"
    assert (second, third) == ("conv 1x1/1 6x7x8>64, u8 i8>u8", "conv 1x1/1 7x7x16>64, u8 i8>u8")
    assert fourth == "conv 1x1/1 8x7x7x16>64, u8 i8>u8"
    same_to_the_eye = replace(rows[0], spec=replace(rows[0].spec, output_layout="blocked"))
    assert labels_of([rows[0], same_to_the_eye]) == (rows[0].spec.key, same_to_the_eye.spec.key)


def test_conditions_are_in_the_label_where_they_differ() -> None:
    rows = table(1)
    both = [*rows, replace(rows[0], conditions=Conditions(1, CacheMode.HOT))]
    labels = labels_of(both)
    assert len(set(labels)) == 2
    assert all(label.endswith(end) for label, end in zip(labels, ("mode network", "mode hot"), strict=True))
    comparison = compared(both, later(both, lambda i: (1.5, 0.5)[i]))
    assert [k.conditions.cache_mode.value for k in comparison.kernels] == ["network", "hot"]


# Errors


def test_tables_without_a_common_kernel_say_what_they_hold() -> None:
    with pytest.raises(ProfilerError, match="no kernel in common") as caught:
        compared_files(CompareRequest(T4, RECORDED))
    text = str(caught.value)
    assert "batch 8, threads 1, cache mode hot, bare kernels (no epilogue)" in text
    assert "the other batch 1, threads 1, cache mode network; " in text
    assert text.count("bare kernels") == 1
    assert "\n" not in text


def test_a_bare_kernel_is_never_compared_with_a_fused_one() -> None:
    fused = table(2)
    bare = [replace(r, spec=replace(r.spec, epilogue=Epilogue.NONE, output_dtype=DType.INT32)) for r in later(fused)]
    with pytest.raises(ProfilerError, match="bare kernels"):
        compared(bare, fused)


@pytest.mark.parametrize("rows", [[], "predicted"])
def test_a_table_without_anything_to_compare(tmp_path: Path, rows: object) -> None:
    predicted = [replace(r, source=Source.PREDICTED, samples=0, artifact_sha256="", run_id="") for r in table(1)]
    path = write(tmp_path / "a.csv", predicted if rows else [])
    with pytest.raises(InvalidFile, match=r"a\.csv: holds (no row|only predicted rows)"):
        compared_files(CompareRequest(path, RECORDED))


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_margins_that_are_none(margin: float) -> None:
    with pytest.raises(ProfilerError, match="the margin is a fraction"):
        CompareRequest(RECORDED, RECORDED, margin=margin)


@pytest.mark.parametrize("noise", [-0.01, 1.0, math.nan, math.inf])
def test_noise_that_is_none(noise: float) -> None:
    with pytest.raises(ProfilerError, match="the noise is a fraction"):
        CompareRequest(RECORDED, RECORDED, noise=noise)


@pytest.mark.parametrize("seconds", ["1e-13", "1e+10", "1e-300", "1e+300"])
def test_times_that_no_kernel_takes_are_the_tables_fault(tmp_path: Path, seconds: str) -> None:
    """So that no quotient leaves what numbers can hold."""
    rows = table(2)
    path = write(tmp_path / "a.csv", rows)
    path.write_text(path.read_text().replace(f",{rows[1].latency_median_s!r},", f",{seconds},"))
    with pytest.raises(InvalidFile, match=r"a\.csv, line 3, latency_median_s: .* is no time that a kernel takes"):
        compared_files(CompareRequest(path, write(tmp_path / "b.csv", later(rows))))


def test_the_longest_over_the_shortest_time_is_a_number() -> None:
    (row,) = table(1)
    shortest, longest = scaled(row, 1.01e-12 / row.latency_median_s), scaled(row, 0.99e9 / row.latency_median_s)
    (kernel,) = compared([shortest], later([longest])).kernels
    assert kernel.ratio.value == pytest.approx(0.99e9 / 1.01e-12)
    assert kernel.verdict is Verdict.SLOWER


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ("lut/cpu.csv", "lut/other.csv", ("cpu.csv", "other.csv")),
        ("one/lut/cpu.csv", "two/lut/cpu.csv", ("one/lut/cpu.csv", "two/lut/cpu.csv")),
        ("/home/me/before/cpu.csv", "/home/me/after/cpu.csv", ("before/cpu.csv", "after/cpu.csv")),
        ("/home/me/cpu.csv", "cpu.csv", ("me/cpu.csv", "cpu.csv")),
        ("/lut/cpu.csv", "lut/cpu.csv", ("/lut/cpu.csv", "cpu.csv")),
        ("lut/cpu.csv", "lut/cpu.csv", ("cpu.csv", "cpu.csv")),
    ],
)
def test_tables_go_by_as_much_of_their_paths_as_tells_them_apart(a: str, b: str, names: tuple[str, str]) -> None:
    """Two runs call their table alike; where they lie on somebody's machine is nobody's business."""
    rows = table(2)
    found = side_by_side(CompareRequest(Path(a), Path(b)), rows, later(rows), Noise(0.019, "invented", False))
    assert (found.a.path, found.b.path) == names


# Files


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    rng, rows = random.Random(2), table(8)
    b = later(rows, lambda _: math.exp(rng.gauss(0, 0.1)))
    return write(tmp_path / "tables" / "a.csv", rows), write(tmp_path / "tables" / "b.csv", b)


def test_the_files_hold_the_comparison(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = compare(CompareRequest(*pair, tmp_path / "out"))
    assert [path.name for path in result.files] == [f"comparison.{end}" for end in ("csv", "md", "svg", "png")]
    with result.files[0].open(newline="") as file:
        lines = list(csv.DictReader(file))
    kernels = result.comparison.kernels
    assert [line["kernel"] for line in lines] == [kernel.kernel for kernel in kernels]
    for line, kernel in zip(lines, kernels, strict=True):
        assert float(line["b_s"]) / float(line["a_s"]) == pytest.approx(float(line["ratio"]))
        assert float(line["ratio_low"]) == kernel.ratio.low
        assert line["verdict"] == kernel.verdict.value
    text = result.files[1].read_text()
    assert "(comparison.svg)" in text
    assert sum(line.startswith("| conv2d\\_n1") for line in text.splitlines()) == len(kernels)
    assert result.files[2].read_bytes().startswith(b"<?xml")
    assert result.files[3].read_bytes().startswith(b"\x89PNG")


def test_the_same_tables_give_the_same_bytes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first = [path.read_bytes() for path in compare(CompareRequest(*pair, tmp_path / "one")).files]
    assert first == [path.read_bytes() for path in compare(CompareRequest(*pair, tmp_path / "two")).files]
    again = compare(CompareRequest(*pair, tmp_path / "one"))  # a comparison may be replaced
    assert first == [path.read_bytes() for path in again.files]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(p.name for p in again.files)


def test_the_default_folder_is_below_reports(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compare(CompareRequest(*pair))
    assert (tmp_path / "reports" / "compare-a-b" / "comparison.csv").is_file()


@pytest.mark.parametrize("name", ["comparison.csv", "comparison.md", "comparison.svg", "comparison.png"])
def test_files_of_something_else_stay(pair: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("a year's work\n")
    with pytest.raises(OutputError, match=f"{name}: is there and is not of a comparison"):
        compare(CompareRequest(*pair, out))
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == "a year's work\n"


def test_a_table_is_never_replaced_by_its_comparison(tmp_path: Path) -> None:
    path = write(tmp_path / "comparison.csv", table(2))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="is there"):
        compare(CompareRequest(path, path, tmp_path))
    assert path.read_bytes() == before


def test_a_folder_that_is_none(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a file; name a folder"):
        compare(CompareRequest(*pair, pair[0]))
    compare(CompareRequest(*pair, tmp_path / "out"))
    (tmp_path / "out" / "comparison.png").unlink()
    (tmp_path / "out" / "comparison.png").mkdir()
    before = (tmp_path / "out" / "comparison.md").read_bytes()
    with pytest.raises(OutputError, match="is there"):
        compare(CompareRequest(pair[1], pair[0], tmp_path / "out"))
    assert (tmp_path / "out" / "comparison.md").read_bytes() == before


def test_an_error_while_drawing_leaves_no_folder(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor takes it one away that was there."""

    def broken(*_: object) -> bytes:
        raise OutputError("no room")

    monkeypatch.setattr("profiler.report.figures.render", broken)
    (tmp_path / "there").mkdir()
    for name in ("out", "there"):
        with pytest.raises(OutputError, match="no room"):
            compare(CompareRequest(*pair, tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tables", "there"]
    assert list((tmp_path / "there").iterdir()) == []


def test_no_file_says_where_the_tables_lie(tmp_path: Path) -> None:
    rows = table(3)
    a, b = write(tmp_path / "a" / "cpu.csv", rows), write(tmp_path / "b" / "cpu.csv", later(rows))
    result = compare(CompareRequest(a, b, tmp_path / "out"))
    for path in result.files:
        assert str(tmp_path).encode() not in path.read_bytes()
    text = result.files[1].read_text()
    assert "a/cpu.csv" in text
    assert "b/cpu.csv" in text


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ProfilerError):
        compare(CompareRequest(T4, RECORDED, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_names_stay_text_in_markdown(tmp_path: Path) -> None:
    rows = [replace(row, device_name="<img src=x> | $1 `x` [a](b)") for row in table(2)]
    path = write(tmp_path / "a.csv", rows)
    text = compare(CompareRequest(path, path, tmp_path / "out")).files[1].read_text()
    assert not re.search(r"(?<!\\)<img", text)
    assert "\\<img src=x\\> \\| \\$1 \\`x\\` \\[a\\]\\(b\\)" in text


def test_the_margin_of_the_request_is_that_of_the_verdicts() -> None:
    rows = table(3)
    b = later(rows, lambda _: 1.02)
    assert verdicts(compared(rows, b, margin=MARGIN)) == {Verdict.SAME}
    assert verdicts(compared(rows, b, margin=0.03)) == {Verdict.AMBIGUOUS}
