"""LUT files: the columns, the round trip, the laws of merging, damaged files, two runs at once, folders that refuse."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from profiler.cli.commands import app
from profiler.errors import FingerprintMismatch, InvalidFile, ProfilerError
from profiler.lut import store
from profiler.lut.check import check
from profiler.lut.schema import COLUMNS, KEY_COLUMNS, LutRow, RowError, Source
from profiler.lut.store import merge, path_for, read, save, to_bytes, update, write
from profiler.record import CacheMode, Conditions, Fingerprint
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

HERE = Fingerprint("cpu", "A CPU", "x86_64", "u", "", "tvm 0.27")
CONV = KernelSpec(
    Workload(Op.CONV2D, 1, 8, 8, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1),
    DType.UINT8,
    DType.UINT8,
    DType.INT8,
    epilogue=Epilogue.REQUANT_RELU,
)
SPECS = [
    CONV,
    replace(CONV, input_dtype=DType.UINT4, weight_dtype=DType.INT4),
    replace(CONV, output_dtype=DType.INT32, epilogue=Epilogue.BIAS),
    replace(CONV, output_dtype=DType.INT32, epilogue=Epilogue.NONE),
    replace(CONV, input2_dtype=DType.INT8, epilogue=Epilogue.ADD_REQUANT),
    KernelSpec(Workload(Op.ADD, 1, 8, 8, 4, 4), DType.INT32, DType.INT8, None, DType.INT8, Epilogue.REQUANT),
    KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 2, 2), DType.UINT4, DType.UINT4),
]
MEASURED = LutRow(
    spec=CONV,
    conditions=Conditions(),
    source=Source.MEASURED,
    fingerprint=HERE.short,
    device="cpu",
    device_name="A CPU",
    arch="x86_64",
    latency_median_s=2e-5,
    latency_q1_s=1.9e-5,
    latency_q3_s=2.1e-5,
    latency_ci95_low_s=1.95e-5,
    latency_ci95_high_s=2.05e-5,
    samples=30,
    measured_at=1.7e9,
    tool_version="0.1",
    config="oc=4,ow=2",
    artifact_sha256="ab" * 32,
    run_id="r1",
)

words = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=12)
positive = st.floats(1e-12, 1e6)
optional = st.none() | st.floats(0, 1e6)


@st.composite
def rows(draw: st.DrawFn) -> LutRow:
    """A row of the instrument ``HERE``; keys collide often."""
    source = draw(st.sampled_from(Source))
    measured = source is Source.MEASURED
    low, q1, median, q3, high = sorted(draw(st.tuples(*[positive] * 5)))
    interval, quartiles = measured or draw(st.booleans()), measured or draw(st.booleans())
    clock = draw(optional)
    return LutRow(
        spec=draw(st.sampled_from(SPECS)),
        conditions=Conditions(draw(st.integers(1, 2)), draw(st.sampled_from(CacheMode))),
        source=source,
        fingerprint=HERE.short,
        device="cpu",
        device_name=draw(words),
        arch=draw(words),
        latency_median_s=median,
        latency_q1_s=q1 if quartiles else None,
        latency_q3_s=q3 if quartiles else None,
        latency_ci95_low_s=low if interval else None,
        latency_ci95_high_s=high if interval else None,
        samples=0 if source is Source.PREDICTED else draw(st.integers(1 if measured else 0, 99)),
        discarded=draw(st.integers(0, 9)),
        sm_clock_mhz_low=clock,
        sm_clock_mhz_high=clock,
        power_capped_fraction=draw(st.none() | st.floats(0, 1)),
        energy_j=draw(optional),
        native=draw(st.booleans()),
        config=draw(words),
        artifact_sha256="ab" * 32 if measured else "",
        citation=draw(words) + "x",
        run_id=draw(words) + "r",
        tool_version=draw(words),
        measured_at=draw(st.sampled_from([0.0, 1.5e9, 1.7e9 + 1 / 3])),
    )


tables = st.lists(rows(), max_size=8)
rivals = st.lists(  # few keys and few times, so that rows compete
    st.builds(
        lambda threads, measured_at, samples: replace(
            MEASURED, conditions=Conditions(threads), measured_at=measured_at, samples=samples
        ),
        st.integers(1, 2),
        st.sampled_from([1.0, 2.0]),
        st.integers(1, 3),
    ),
    max_size=5,
)


# -- columns and bytes -------------------------------------------------------------------------------------------------


def test_the_columns_are_those_of_the_design() -> None:
    assert ",".join(COLUMNS) == (
        "op,batch,in_height,in_width,in_channels,out_channels,kernel_h,kernel_w,stride_h,stride_w,pad_top,pad_left,"
        "pad_bottom,pad_right,dilation_h,dilation_w,groups,input_dtype,input2_dtype,weight_dtype,output_dtype,epilogue,"
        "input_layout,output_layout,threads,cache_mode,source,fingerprint,latency_median_s,latency_q1_s,latency_q3_s,"
        "latency_ci95_low_s,latency_ci95_high_s,samples,discarded,sm_clock_mhz_low,sm_clock_mhz_high,"
        "power_capped_fraction,energy_j,macs,native,config,artifact_sha256,schema,device,device_name,arch,citation,"
        "run_id,tool_version,measured_at"
    )


@settings(max_examples=60, deadline=None)
@given(tables)
def test_what_is_written_is_read_back_and_written_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, table: list[LutRow]
) -> None:
    path = tmp_path_factory.mktemp("lut") / "cpu.csv"
    write(path, table)
    once = path.read_bytes()
    assert read(path) == merge(table, ())
    assert check(path) == []
    write(path, reversed(read(path)))
    assert path.read_bytes() == once


def test_pandas_reads_it_without_options(tmp_path: Path) -> None:
    path = tmp_path / "cpu.csv"
    write(path, [replace(MEASURED, spec=spec) for spec in SPECS])
    frame = pd.read_csv(path)
    assert list(frame.columns) == list(COLUMNS)
    assert set(frame.epilogue) >= {"none", "bias"}  # not taken for a missing value
    assert frame.native.dtype == bool
    assert frame.samples.dtype == "int64"
    assert frame.latency_median_s.tolist() == [2e-5] * len(SPECS)
    assert frame.macs.max() == 8 * 8 * 4 * 36
    assert frame.energy_j.isna().all()
    assert frame.weight_dtype.isna().sum() == 2  # add and max_pool


def test_a_file_that_pandas_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cpu.csv"
    write(path, [replace(MEASURED, spec=spec) for spec in SPECS])
    before = read(path)
    pd.read_csv(path).to_csv(path, index=False)
    assert [row.key for row in read(path)] == [row.key for row in before]
    assert [row.native for row in read(path)] == [row.native for row in before]


# -- merging -----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(*[tables | rivals] * 3)
def test_the_laws_of_merging(a: list[LutRow], b: list[LutRow], c: list[LutRow]) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(merge(a, b), b) == merge(a, b)
    assert merge(a, a) == merge(a, ())
    assert merge(a, list(reversed(a))) == merge(a, ())


@settings(max_examples=100, deadline=None)
@given(*[tables | rivals] * 2)
def test_of_each_key_the_latest_row_stays(a: list[LutRow], b: list[LutRow]) -> None:
    merged = merge(a, b)
    by_key: dict[tuple[int | str, ...], list[LutRow]] = {}
    for row in a + b:
        by_key.setdefault(row.key, []).append(row)
    assert [row.key for row in merged] == sorted(by_key)
    for row in merged:
        assert row in by_key[row.key]
        assert row.measured_at == max(other.measured_at for other in by_key[row.key])


def test_a_row_that_learns_its_energy_replaces_the_one_without() -> None:
    """It is the same measurement, so that the date says nothing; whatever the digests are."""
    for energy_j in (1e-3, 2e-3, 3e-3, 4e-3):
        known = replace(MEASURED, energy_j=energy_j)
        assert merge([MEASURED], [known]) == merge([known], [MEASURED]) == (known,)
        later = replace(MEASURED, measured_at=MEASURED.measured_at + 1)
        assert merge([known], [later]) == (later,), "measured anew, and its energy with it or not at all"


def test_a_predicted_row_never_replaces_a_measured_one() -> None:
    predicted = replace(MEASURED, source=Source.PREDICTED, samples=0, measured_at=MEASURED.measured_at + 1)
    assert len(merge([MEASURED], [predicted])) == 2


def test_rows_of_two_instruments_are_never_merged_and_it_says_why() -> None:
    there = replace(HERE, driver="550", power_limit_w=60)
    other = replace(MEASURED, fingerprint=there.short)
    with pytest.raises(
        FingerprintMismatch, match=f"{HERE.short} and {there.short}.*driver is '' in one and '550'"
    ) as e:
        merge([MEASURED], [other], known=[HERE, there])
    assert "power_limit_w" in str(e.value)
    assert "compiler" not in str(e.value)
    with pytest.raises(FingerprintMismatch, match="driver, compiler, power limit or the like"):
        merge([MEASURED], [other])
    with pytest.raises(FingerprintMismatch, match="device_name is 'A CPU' in one and 'B' in the other"):
        merge([MEASURED, replace(other, device_name="B")], [])


# -- rows that contradict themselves -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"latency_median_s": 0.0}, "latency_median_s"),
        ({"latency_median_s": float("nan")}, "latency_median_s"),
        ({"latency_q1_s": 3e-5}, "latency_q1_s"),
        ({"latency_q3_s": 1e-5}, "latency_q1_s"),
        ({"latency_q1_s": float("nan")}, "latency_q1_s"),
        ({"latency_q3_s": None}, "latency_q3_s"),
        ({"latency_ci95_low_s": 2.01e-5}, "latency_ci95_low_s"),
        ({"latency_ci95_high_s": float("inf")}, "latency_ci95_high_s"),
        ({"latency_ci95_low_s": None, "latency_ci95_high_s": None}, "latency_ci95_low_s"),
        ({"latency_median_s": 1.01e9}, "latency_median_s"),
        ({"latency_median_s": 9.9e-13}, "latency_median_s"),
        ({"latency_q1_s": 1e-300}, "latency_q1_s"),
        ({"latency_q3_s": 1e300}, "latency_q3_s"),
        ({"latency_ci95_low_s": 9.9e-13}, "latency_ci95_low_s"),
        ({"latency_ci95_high_s": 1.01e9}, "latency_ci95_high_s"),
        ({"sm_clock_mhz_high": 1.01e12}, "sm_clock_mhz_high"),
        ({"sm_clock_mhz_low": 1e300, "sm_clock_mhz_high": 1e300}, "sm_clock_mhz_low"),
        ({"energy_j": 1.01e12}, "energy_j"),
        ({"measured_at": 1e300}, "measured_at"),
        ({"samples": 0}, "samples"),
        ({"discarded": -1}, "discarded"),
        ({"sm_clock_mhz_low": 900.0, "sm_clock_mhz_high": 800.0}, "sm_clock_mhz_low"),
        ({"sm_clock_mhz_low": -1.0}, "sm_clock_mhz_low"),
        ({"power_capped_fraction": 1.1}, "power_capped_fraction"),
        ({"energy_j": float("nan")}, "energy_j"),
        ({"measured_at": float("inf")}, "measured_at"),
        ({"fingerprint": HERE.digest}, "fingerprint"),
        ({"artifact_sha256": "abc"}, "artifact_sha256"),
        ({"artifact_sha256": ""}, "artifact_sha256"),
        ({"run_id": ""}, "run_id"),
        ({"device": ""}, "device"),
        ({"config": "two\nlines"}, "config"),
        ({"source": Source.PUBLISHED}, "citation"),
        ({"source": Source.PREDICTED}, "samples"),
    ],
)
def test_a_row_checks_itself_and_check_finds_the_same_in_a_file(
    change: dict[str, object], column: str, tmp_path: Path
) -> None:
    with pytest.raises(RowError) as error:
        replace(MEASURED, **change)  # type: ignore[arg-type]
    assert column in [fault.column for fault in error.value.faults]
    text = {k: v.value if isinstance(v, Source) else "" if v is None else str(v) for k, v in change.items()}
    path = edited(tmp_path, text)
    found = [f for f in check(path) if f.column == column]
    assert found
    assert found[0].line == 2
    assert column in found[0].text


def test_the_ends_of_what_is_a_number_are_in(tmp_path: Path) -> None:
    """A picosecond, thirty years, and numbers of a million million are kept and read back as they are."""
    wide = replace(
        MEASURED, latency_ci95_low_s=1e-12, latency_q1_s=1e-12, latency_q3_s=1e9, latency_ci95_high_s=1e9,
        sm_clock_mhz_low=1e12, sm_clock_mhz_high=1e12, energy_j=1e12, measured_at=1e12,
    )  # fmt: skip
    write(tmp_path / "wide.csv", [wide])
    assert read(tmp_path / "wide.csv") == (wide,)


def edited(folder: Path, changes: dict[str, str], table: tuple[LutRow, ...] = (MEASURED,), line: int = 2) -> Path:
    """A file of the table with some cells of one line replaced."""
    lines = list(csv.reader(io.StringIO(to_bytes(table).decode())))
    for column, value in changes.items():
        lines[line - 1][COLUMNS.index(column)] = value
    path = folder / "edited.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return path


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        ("op", "conv3d", "known are conv2d, dense"),
        ("input_dtype", "int5", "known are int1"),
        ("input_dtype", "", "known are int1"),
        ("weight_dtype", "", "weight type is missing"),
        ("epilogue", "gelu", "known are none"),
        ("cache_mode", "warm", "known are network"),
        ("source", "guessed", "known are measured"),
        ("batch", "0", "batch must be"),
        ("batch", "1.0", "not an integer"),
        ("in_channels", "1e3", "not an integer"),
        ("threads", "0", "at least 1"),
        ("latency_median_s", "", "not a number"),
        ("latency_median_s", "fast", "not a number"),
        ("native", "maybe", "neither true nor false"),
        ("macs", "17", "17, but the workload has 9216"),
        ("schema", "2", "unknown schema version '2'"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(column: str, text: str, says: str, tmp_path: Path) -> None:
    table = (MEASURED, replace(MEASURED, conditions=Conditions(2)))
    path = edited(tmp_path, {column: text}, table, line=3)
    (finding,) = check(path)
    assert finding.line == 3
    assert says in finding.text
    with pytest.raises(InvalidFile, match=r"edited\.csv, line 3") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_check_lists_all_defects_and_keeps_the_sound_rows(tmp_path: Path) -> None:
    other = replace(MEASURED, fingerprint="0" * 8, conditions=Conditions(2))
    lines = to_bytes([MEASURED]).decode().splitlines(keepends=True)
    second = to_bytes([other]).decode().splitlines(keepends=True)[1]
    wrong = lines[1].replace(",30,0,", ",0,-1,").replace("9216", "9217").replace(",1,network", ",3,network")
    path = tmp_path / "a.csv"
    path.write_text("".join([*lines, lines[1], second, "\n", wrong, "1,2,3\n"]))
    found = [(f.line, f.column) for f in check(path)]
    assert found == [(3, ""), (4, "fingerprint"), (5, ""), (6, "macs"), (6, "discarded"), (6, "samples"), (7, "")]
    with pytest.raises(InvalidFile, match=r"line 3: the same kernel.*as line 2.*more"):
        read(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace("latency_median_s", "latency_ms", 1), "missing column: latency_median_s"),
        (lambda t: t.replace("op,batch", "op,op,batch", 1), "repeated column: op"),
        (lambda t: t.replace("measured_at\n", "measured_at,mood\n", 1), "unknown column: mood"),
        (lambda t: "", "missing columns: op, batch, in_height, in_width and 47 more"),
        (lambda t: "a,b\n1,2\n", "missing columns"),
        (lambda t: t[:-1], "last line break is missing"),
        (lambda t: t[: t.rindex(",")] + ',"x\n', "not CSV"),
        (lambda t: t + "\udcff\n", "not UTF-8"),
        (lambda t: t + "\n", "has 0 cells"),
    ],
)
def test_files_that_are_no_lut_or_a_torn_one(change: Callable[[str], str], says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(change(to_bytes([MEASURED]).decode()).encode(errors="surrogateescape"))
    assert says in check(path)[0].text
    with pytest.raises(InvalidFile, match=r"a\.csv, line "):
        read(path)


def test_a_file_torn_anywhere_but_between_lines_is_noticed(tmp_path: Path) -> None:
    data = to_bytes([replace(MEASURED, spec=spec, config='a "quoted", one') for spec in SPECS])
    path = tmp_path / "a.csv"
    for length in range(0, len(data), 11):
        path.write_bytes(data[:length])
        if data[:length].endswith(b"\n"):
            continue
        with pytest.raises(InvalidFile):
            read(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"none\.csv: there is no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(InvalidFile, match="cannot be read"):
        check(tmp_path)


# -- which file --------------------------------------------------------------------------------------------------------


def test_another_instrument_gets_a_file_of_its_own(tmp_path: Path) -> None:
    there = replace(HERE, driver="550")
    other = replace(MEASURED, fingerprint=there.short)
    assert path_for(tmp_path, "cpu", HERE.short) == tmp_path / "cpu.csv"
    assert save(tmp_path, "cpu", HERE, [MEASURED]) == tmp_path / "cpu.csv"
    assert save(tmp_path, "cpu", there, [other]) == tmp_path / f"cpu-{there.short}.csv"
    assert save(tmp_path, "cpu", HERE, [MEASURED]) == tmp_path / "cpu.csv"
    assert read(tmp_path / "cpu.csv") == (MEASURED,)
    assert read(tmp_path / f"cpu-{there.short}.csv") == (other,)


def test_an_instrument_that_comes_in_between_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = replace(HERE, driver="550")
    real = store.path_for

    def overtaken(folder: Path, device: str, fingerprint: str) -> Path:
        path = real(folder, device, fingerprint)
        monkeypatch.setattr(store, "path_for", real)
        write(folder / "cpu.csv", [replace(MEASURED, fingerprint=there.short)])
        return path

    monkeypatch.setattr(store, "path_for", overtaken)
    assert save(tmp_path, "cpu", HERE, [MEASURED]) == tmp_path / f"cpu-{HERE.short}.csv"


def test_a_damaged_older_file_is_named_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "cpu.csv").write_text("torn")
    for act in (
        lambda: path_for(tmp_path, "cpu", HERE.short),
        lambda: save(tmp_path, "cpu", HERE, [MEASURED]),
        lambda: update(tmp_path / "cpu.csv", [MEASURED]),
    ):
        with pytest.raises(InvalidFile, match=r"cpu\.csv"):
            act()
    assert (tmp_path / "cpu.csv").read_text() == "torn"


def test_update_refuses_another_instruments_file_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cpu.csv"
    write(path, [MEASURED])
    before = path.read_bytes()
    with pytest.raises(FingerprintMismatch, match=r"cpu\.csv: rows of two instruments"):
        update(path, [replace(MEASURED, fingerprint="0" * 8)])
    assert path.read_bytes() == before


# -- several runs, and folders that refuse -----------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
from profiler.lut.store import read, update
for row in read(Path(sys.argv[1])):
    update(Path(sys.argv[2]), [row])
"""


def start(*arguments: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WORKER, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def test_two_runs_at_once_do_not_lose_each_others_rows(tmp_path: Path) -> None:
    halves = tuple([replace(MEASURED, conditions=Conditions(2 * i + side)) for i in range(1, 40)] for side in (0, 1))
    for side, half in enumerate(halves):
        write(tmp_path / f"part{side}.csv", half)
    target = tmp_path / "lut" / "cpu.csv"
    workers = [start(tmp_path / f"part{side}.csv", target) for side in (0, 1)]
    assert [(w.communicate(timeout=60)[1], w.returncode) for w in workers] == [(b"", 0)] * 2
    assert read(target) == merge(halves[0], halves[1])


def test_a_run_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    table = [replace(MEASURED, conditions=Conditions(i)) for i in range(1, 400)]
    write(tmp_path / "part.csv", table)
    target = tmp_path / "cpu.csv"
    moments = random.Random(0)
    for _ in range(4):
        worker = start(tmp_path / "part.csv", target)
        deadline = time.monotonic() + 30
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.1, 0.5))
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=30)
        assert set(read(target)) <= set(table)
    assert update(target, table) == merge(table, ())
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == ["cpu.csv", "part.csv"]


def test_an_update_that_changes_nothing_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "cpu.csv"
    update(path, [MEASURED])
    before = path.stat()
    update(path, [MEASURED])
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_config_that_has_failed_leaves_its_place_to_an_older_measurement(tmp_path: Path) -> None:
    """Whose row the later one has replaced; of another instrument, or published, it is another kernel's."""
    path = tmp_path / "cpu.csv"
    assert MEASURED.measured_at is not None
    older = replace(MEASURED, config="other", measured_at=MEASURED.measured_at - 1)
    failed = (MEASURED.spec, MEASURED.conditions, MEASURED.fingerprint, MEASURED.config)
    update(path, [MEASURED])
    assert update(path, [older]) == (MEASURED,)
    assert update(path, [older], failed={(*failed[:2], "elsewhere", failed[3])}) == (MEASURED,)
    assert update(path, [older], failed={failed}) == (older,)
    update(path, [MEASURED])
    assert update(path, [], failed={failed}) == ()


def test_an_empty_update_makes_a_file_with_a_header(tmp_path: Path) -> None:
    assert update(tmp_path / "cpu.csv", []) == ()
    assert read(tmp_path / "cpu.csv") == ()
    assert check(tmp_path / "cpu.csv") == []


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfilerError, match=r"file/lut/cpu\.csv: cannot be written: .*another one") as error:
        update(tmp_path / "file" / "lut" / "cpu.csv", [MEASURED])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("step", ["replace", "fsync", "open"])
def test_a_disk_that_refuses_leaves_the_old_file_and_no_rest(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpu.csv"
    write(path, [MEASURED])
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        if step == "open":
            patch.setattr("builtins.open", refuse)
        else:
            patch.setattr(os, step, refuse)
        with pytest.raises(ProfilerError, match=r"cpu\.csv: cannot be written: Read-only file system"):
            update(path, [replace(MEASURED, conditions=Conditions(2))])
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"cpu.csv", ".cpu.csv.lock"}


def test_keys_are_made_of_the_key_columns() -> None:
    assert len(MEASURED.key) == len(KEY_COLUMNS)
    assert tuple(map(str, MEASURED.key)) == MEASURED.cells[: len(KEY_COLUMNS)]


# -- clocks that were wrong -------------------------------------------------------------------------------------------


def test_a_row_of_the_future_stays_for_no_longer_than_until_the_next(tmp_path: Path) -> None:
    now = time.time()
    wrong = replace(MEASURED, measured_at=now + 30 * 86_400, latency_median_s=1.99e-5)
    path = tmp_path / "cpu.csv"
    assert update(path, [wrong]) == (wrong,)
    right = replace(MEASURED, measured_at=now)
    assert update(path, [right]) == (right,)
    assert update(path, [wrong]) == (right,)
    assert merge([right], [wrong], now=now + 31 * 86_400) == (wrong,), "once that time has come it is the later one"
    soon = replace(MEASURED, measured_at=now + 3600)
    assert merge([right], [soon]) == (soon,), "clocks of machines differ"
    later = replace(wrong, measured_at=wrong.measured_at + 1)
    assert merge([wrong], [later]) == merge([later], [wrong]) == (later,)


def test_lut_check_tells_of_the_future(tmp_path: Path) -> None:
    path = tmp_path / "cpu.csv"
    write(path, [replace(MEASURED, measured_at=time.time() + 1e7)])
    told = CliRunner().invoke(app, ["lut", "check", str(path)])
    assert (told.exit_code, "measured_at of 1 rows lies in the future" in told.output) == (0, True)
    write(path, [MEASURED])
    assert "future" not in CliRunner().invoke(app, ["lut", "check", str(path)]).output
