"""Two LUTs beside each other: joining, figures by hand, what is printed, errors in one line."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.repeat import Pair, Repeatability, bench_repeat, join, warnings
from profiler.errors import InvalidFile, ProfilerError
from profiler.lut import store
from profiler.lut.schema import LutRow, Source
from profiler.record import CacheMode, Conditions
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

ROOT = Path(__file__).parents[2]
T4 = "11111111"


def row(channels: int, median_s: float, half_width: float = 0.001, **changes: object) -> LutRow:
    """A row of a pointwise convolution; ``half_width`` of its 95% interval as a share of the median."""
    spec = KernelSpec(
        Workload(Op.CONV2D, 8, 7, 7, channels, 64), DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT
    )
    usual = LutRow(
        spec=spec, conditions=Conditions(), source=Source.MEASURED, fingerprint=T4, device="t4",
        device_name="Tesla T4", arch="sm_75", latency_median_s=median_s, measured_at=1.7e9, tool_version="0.1",
        latency_q1_s=median_s * (1 - half_width), latency_q3_s=median_s * (1 + half_width),
        latency_ci95_low_s=median_s * (1 - half_width), latency_ci95_high_s=median_s * (1 + half_width), samples=30,
        config="mma(a=1)", artifact_sha256="ab" * 32, run_id="r1",
    )  # fmt: skip
    return replace(usual, **changes)  # type: ignore[arg-type]


def again(
    rows: Sequence[LutRow], factor: Callable[[int], float] = lambda index: 1.0, **changes: object
) -> list[LutRow]:
    """The rows as another run has them; the latency of each is multiplied."""
    found = []
    for index, old in enumerate(rows):
        assert old.latency_ci95_high_s is not None
        width = old.latency_ci95_high_s / old.latency_median_s - 1
        new = row(old.spec.workload.in_channels, old.latency_median_s * factor(index), width)
        kept = {"fingerprint": old.fingerprint, "config": old.config, "run_id": "r2", "measured_at": 1.8e9}
        found.append(replace(new, spec=old.spec, conditions=old.conditions, **{**kept, **changes}))  # type: ignore[arg-type]
    return found


def printed(tmp_path: Path, a: Sequence[LutRow], b: Sequence[LutRow]) -> tuple[Repeatability, str]:
    for name, rows in (("a.csv", a), ("b.csv", b)):
        store.write(tmp_path / name, rows)
    text = io.StringIO()
    whole = bench_repeat(tmp_path / "a.csv", tmp_path / "b.csv", Console(file=text, width=160, markup=False))
    return whole, text.getvalue()


def command(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "repeat", *map(str, paths)], capture_output=True, text=True, cwd=ROOT
    )


def test_a_table_with_itself_differs_by_nothing(tmp_path: Path) -> None:
    rows = [row(8 * i, 1e-5 * i) for i in range(1, 8)]
    whole, text = printed(tmp_path, rows, rows)
    assert whole == Repeatability(7, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    assert "7 kernels in both, 0 only in" in text
    assert "largest differences" not in text
    assert "7 of the kernels were measured once" in text, "a comparison of a table with itself says nothing"


def test_figures_by_hand() -> None:
    # Differences of their means: 1 and 3 differ by 1; 2 and 2 not; 9 and 11 by -0.2, 99 and 101 by -0.02.
    pairs = [Pair(row(8, a), row(8, b)) for a, b in ((1.0, 3.0), (2.0, 2.0), (11.0, 9.0), (101.0, 99.0))]
    assert [pair.drift for pair in pairs] == pytest.approx([1.0, 0.0, -0.2, -0.02])
    found = Repeatability.of(pairs)
    assert found.kernels == 4
    assert found.median == pytest.approx(0.11)
    assert found.p90 == pytest.approx(0.2 + 0.7 * 0.8)  # at rank 2.7 of 0 to 3
    assert found.largest == pytest.approx(1.0)
    assert found.drift == pytest.approx(-0.01)
    assert found.within_goal == 0.5
    assert found.overlapping == 0.25


def test_one_pair_is_its_own_percentile() -> None:
    found = Repeatability.of([Pair(row(8, 1.0), row(8, 1.5))])
    assert found.median == found.p90 == found.largest == pytest.approx(0.4)
    with pytest.raises(ValueError, match="nothing to compare"):
        Repeatability.of([])


@pytest.mark.parametrize(("b_s", "overlap"), [(1.0, True), (1.19, True), (1.21, False), (0.81, True), (0.79, False)])
def test_intervals_overlap_where_they_share_a_point(b_s: float, overlap: bool) -> None:
    a, b = row(8, 1.0, 0.1), row(8, b_s, 0.1 / b_s)
    assert Pair(a, b).overlaps is overlap
    assert Pair(b, a).overlaps is overlap


def test_rows_join_by_kernel_and_conditions_alone() -> None:
    base = row(8, 1e-5)
    others = [
        replace(base, conditions=Conditions(1, CacheMode.COLD)),
        replace(base, conditions=Conditions(2, CacheMode.NETWORK)),
        replace(base, spec=replace(base.spec, epilogue=Epilogue.REQUANT_RELU)),
        replace(base, spec=replace(base.spec, input_dtype=DType.INT8)),
        replace(base, spec=replace(base.spec, output_layout="other")),
        replace(base, spec=replace(base.spec, workload=base.spec.workload.with_batch(4))),
    ]
    changed = replace(base, fingerprint="22222222", config="mma(a=2)", run_id="r2")
    joined = join([base, *others], [changed])
    assert [(pair.a, pair.b) for pair in joined.pairs] == [(base, changed)]
    assert (joined.only_a, joined.only_b) == (6, 0)
    for other in others:
        assert join([base], [other]).pairs == ()


def test_what_is_printed(tmp_path: Path) -> None:
    a = [row(8 * i, 1e-5 * i) for i in range(1, 11)]
    slower = again(a, lambda index: 1 + 0.01 * index)
    b = [*slower[:9], replace(slower[9], config="mma(a=2)")]
    whole, text = printed(tmp_path, a, b)
    assert whole.largest == pytest.approx(0.09 / 1.045)
    assert "goal: medians within 2%; 30.0% of the kernels are, the largest difference is 8.61%" in text
    (same,) = (line for line in text.splitlines() if line.startswith("same config"))
    assert same.split()[2] == "9"
    large = text[text.index("the largest differences") :].splitlines()[1:]
    assert large[0].startswith(f"+8.61%: {b[9].spec.key}, network, 1 thread(s): a 100 us, b 109 us, intervals apart")
    assert large[1:3] == ["  a: mma(a=1)", "  b: mma(a=2)"]
    assert large[4] == "  both: mma(a=1)"
    assert len([line for line in large if "thread(s)" in line]) == 5
    assert "warning" not in text


def test_operators_have_a_line_each(tmp_path: Path) -> None:
    dense = KernelSpec(
        Workload(Op.DENSE, 8, 1, 1, 64, 16), DType.UINT8, DType.INT32, DType.INT8, epilogue=Epilogue.BIAS
    )
    a = [row(8, 1e-5), row(16, 1e-5), replace(row(24, 1e-5), spec=dense)]
    _, text = printed(tmp_path, a, again(a, lambda index: (1.0, 1.01, 1.5)[index]))
    lines = {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}
    assert lines["conv2d"][:1] == ["2"]
    assert lines["dense"][:4] == ["1", "40.00%", "40.00%", "40.00%"]
    assert lines["all"][0] == "3"


def test_another_card_of_the_model_is_said(tmp_path: Path) -> None:
    a = [row(8, 1e-5)]
    whole, text = printed(tmp_path, a, again(a, fingerprint="22222222"))
    assert whole.largest == pytest.approx(0, abs=1e-12)
    assert "warning: two instruments, 11111111 and 22222222 (a card of the same model" in text


def test_another_device_is_said() -> None:
    a = row(8, 1e-5)
    b = replace(a, fingerprint="22222222", device="h200", device_name="NVIDIA H200", arch="sm_90", run_id="r2")
    (warning,) = warnings([Pair(a, b)])
    assert "device is 't4' in a and 'h200' in b" in warning
    assert "device_name is 'Tesla T4' in a and 'NVIDIA H200' in b" in warning
    assert "arch is 'sm_75' in a and 'sm_90' in b" in warning


def test_predicted_rows_do_not_count(tmp_path: Path) -> None:
    predicted = replace(row(8, 1e-5), source=Source.PREDICTED, samples=0)
    store.write(tmp_path / "a.csv", [predicted])
    with pytest.raises(InvalidFile, match="holds no measured row"):
        bench_repeat(tmp_path / "a.csv", tmp_path / "a.csv")
    a, b = [row(8, 1e-5), replace(row(16, 1e-5), source=Source.PREDICTED, samples=0)], [row(8, 1e-5), row(16, 9e-5)]
    assert printed(tmp_path, a, b)[0].kernels == 1


def test_no_common_row_is_one_line(tmp_path: Path) -> None:
    store.write(tmp_path / "a.csv", [row(8, 1e-5)])
    store.write(tmp_path / "b.csv", [replace(row(8, 1e-5), conditions=Conditions(1, CacheMode.HOT))])
    with pytest.raises(ProfilerError, match="no kernel in common") as caught:
        bench_repeat(tmp_path / "a.csv", tmp_path / "b.csv")
    assert "cache mode network, the other batch 8, threads 1, cache mode hot" in str(caught.value)
    done = command(tmp_path / "a.csv", tmp_path / "b.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_broken_file_is_one_line_with_its_place(tmp_path: Path) -> None:
    store.write(tmp_path / "a.csv", [row(8, 1e-5)])
    text = (tmp_path / "a.csv").read_text().replace(",1e-05,", ",soon,", 1)
    (tmp_path / "b.csv").write_text(text)
    done = command(tmp_path / "a.csv", tmp_path / "b.csv")
    assert done.returncode == 2
    assert f"error: {tmp_path / 'b.csv'}, line 2, latency_median_s: 'soon' is not a number" in done.stderr
    assert done.stderr.count("\n") == 1
    assert command(tmp_path / "a.csv", tmp_path / "c.csv").returncode == 2


def test_the_command_compares_two_files(tmp_path: Path) -> None:
    a = [row(8 * i, 1e-5 * i) for i in range(1, 4)]
    store.write(tmp_path / "a.csv", a)
    store.write(tmp_path / "b.csv", again(a, lambda index: 1.01))
    done = command(tmp_path / "a.csv", tmp_path / "b.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 kernels in both" in done.stdout
    assert "100.0% of the kernels are, the largest difference is 1.00%" in done.stdout
