"""Logs of AutoTVM: what each line gives, what is passed over, damaged logs, and the table published with HAWQ-V3."""

from __future__ import annotations

import csv
import gzip
import json
import runpy
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import DeviceError, FingerprintMismatch, InvalidFile
from profiler.lut.autotvm.importer import Imported, PassedOver, import_autotvm
from profiler.lut.autotvm.log import NotUsable
from profiler.lut.autotvm.tasks import kernel_of
from profiler.lut.schema import LutRow, Source
from profiler.lut.store import merge, read, to_bytes, write
from profiler.lut.table import prices
from profiler.record import CacheMode, Conditions
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

DATA = Path(__file__).parents[1] / "data"
SAMPLE = DATA / "autotvm_sample.log"
PUBLISHED = Path(__file__).parents[2] / "lut" / "published" / "t4_hawqv3.csv"
HOT = Conditions(cache_mode=CacheMode.HOT)
CITATION = "Nobody, for the tests"


def sample(device: str = "t4", citation: str = CITATION, padded_inputs: bool = False) -> Imported:
    return import_autotvm(SAMPLE, device, citation, padded_inputs)


def bare(workload: Workload, bits: int, input_layout: str, output_layout: str, signed: bool = True) -> KernelSpec:
    types = DType.integer(bits, signed), DType.INT32, DType.integer(bits, True)
    return KernelSpec(workload, *types, input_layout=input_layout, output_layout=output_layout)


# Line of the sample: what it describes, its median, and its time stamp, read off the file by hand.
EXPECTED = {
    3: (
        bare(Workload(Op.CONV2D, 8, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1), 8, "hwnc", "hwnc8n32c"),
        9e-5,
        "conv2d_HWNCnc_tensorcore.cuda:chunk=2,reorder_inner=1.0,ann=unroll.vec",
    ),
    4: (
        bare(Workload(Op.CONV2D, 8, 58, 58, 64, 64, 3, 3, 2, 2), 4, "hwnc", "hwnc8n8c", signed=False),
        5.5e-5,
        "conv2d_HWNCnc_tensorcore.cuda:tile_x=-1.2.4,unroll=512",
    ),
    5: (
        bare(Workload(Op.CONV2D, 1, 56, 56, 64, 128, 1, 1, 2, 2), 8, "nchw4c", "nchw4c"),
        2e-5,
        "conv2d_NCHWc_int8.cuda:tile_x=-1.2.4,unroll=512",
    ),
    7: (
        bare(Workload(Op.CONV2D, 8, 14, 14, 256, 512, 3, 3, 2, 2, 1, 2, 1, 2), 8, "nhwc", "nhwc"),
        4e-5,
        "conv2d_nhwc_tensorcore.cuda:tile_x=-1.2.4,unroll=512",
    ),
    8: (
        bare(Workload(Op.CONV2D, 8, 230, 230, 3, 64, 7, 7, 2, 2), 8, "nhwc", "nhwc"),
        3e-4,
        "conv2d_nhwc_tensorcore_im2col.cuda:tile_x=-1.2.4,unroll=512",
    ),
    9: (
        bare(Workload(Op.CONV2D, 1, 9, 11, 4, 8, 3, 5, 1, 2, 1, 2, 1, 2, 2, 1), 8, "nchw", "nchw"),
        5e-6,
        "conv2d_nchw.cuda:tile_x=-1.2.4,unroll=512",
    ),
    10: (
        bare(Workload(Op.DENSE, 8, 1, 1, 512, 1000), 8, "nhwc", "nhwc"),
        4e-6,
        "dense_int8.cuda:tile_x=-1.2.4,unroll=512",
    ),
    28: (
        bare(Workload(Op.CONV2D, 1, 5, 6, 8, 16), 8, "nhwc", "nhwc", signed=False),
        7e-6,
        "conv2d_nhwc.cuda:tile_x=-1.2.4,unroll=512",
    ),
}
PASSED_OVER = {
    PassedOver("failed: runtime error on the device", 2, 12),
    PassedOver("failed: timeout while running", 1, 14),
    PassedOver("task depthwise_conv2d_nchw.cuda is not known here", 1, 15),
    PassedOver("types float32 x float32", 1, 16),
    PassedOver("a bias in the timed kernel", 1, 17),
    PassedOver("output of type int8", 1, 18),
    PassedOver("target llvm", 1, 19),
    PassedOver("target of another GPU (model 1080ti)", 1, 20),
    PassedOver("weights whose order of axes cannot be told", 1, 21),
    PassedOver("arguments in an unknown form", 1, 22),
    PassedOver("groups, or weights that do not fit the activations", 1, 24),
    PassedOver("no possible time", 1, 25),
    PassedOver("record of format 0.1 (TVM 0.6 and before)", 1, 26),
    PassedOver("pickled record (reading one could run any code)", 1, 27),
}


def test_the_rows_are_what_the_log_says() -> None:
    rows = {row.spec: row for row in sample().rows}
    assert rows.keys() == {spec for spec, _, _ in EXPECTED.values()}
    for line, (spec, median_s, config) in EXPECTED.items():
        row = rows[spec]
        assert row.latency_median_s == pytest.approx(median_s, rel=1e-12)
        assert (row.config, row.measured_at) == (config, 1.6e9 + line - 1)
        assert (row.source, row.conditions, row.citation) == (Source.PUBLISHED, HOT, CITATION)
        assert (row.device, row.device_name, row.arch, row.native) == ("t4", "Tesla T4", "sm_75", True)
        assert (row.tool_version, row.spec.epilogue) == ("tvm 0.7.0", Epilogue.NONE)
    assert [rows[EXPECTED[line][0]].samples for line in (3, 4)] == [1, 2]


def test_every_record_is_accounted_for() -> None:
    result = sample()
    *known, impossible = sorted(result.passed_over, key=lambda p: p.reason.startswith("no possible kernel"))
    assert set(known) == PASSED_OVER
    assert impossible.reason.startswith("no possible kernel: conv2d: a 3x3 kernel")
    assert (impossible.records, impossible.first_line) == (1, 23)
    text = SAMPLE.read_text().splitlines()
    assert result.records == sum(bool(line) and not line.startswith("#") for line in text)
    assert result.records == len(result.rows) + result.slower + sum(p.records for p in result.passed_over)
    assert result.slower == 2


def test_padding_that_stood_ahead_of_the_task_is_put_back_into_the_workload() -> None:
    padded = {row.spec for row in sample(padded_inputs=True).rows} - {row.spec for row in sample().rows}
    same = Workload(Op.CONV2D, 8, 56, 56, 64, 64, 3, 3, 2, 2, 1, 1, 1, 1)
    stem = Workload(Op.CONV2D, 8, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3, 3, 3)
    assert padded == {
        bare(same, 4, "hwnc_padded", "hwnc8n8c", signed=False),
        bare(stem, 8, "nhwc_padded", "nhwc"),
    }
    recorded = {spec.workload.macs for spec, _, _ in EXPECTED.values()}
    assert {spec.workload.macs for spec in padded} <= recorded


def test_padding_of_an_even_window_cannot_be_told() -> None:
    args = [["TENSOR", [1, 4, 8, 8], "int8"], ["TENSOR", [8, 4, 2, 2], "int8"], 1, 0, 1, "int32"]
    assert kernel_of("conv2d_nchw.cuda", args).workload == Workload(Op.CONV2D, 1, 8, 8, 4, 8, 2, 2)
    with pytest.raises(NotUsable, match="even extent"):
        kernel_of("conv2d_nchw.cuda", args, padded_inputs=True)


def test_int4_is_native_where_the_card_has_it() -> None:
    log = {row.spec.input_dtype.bits: row.native for row in sample("a100").rows}
    assert log == {8: True, 4: True}
    assert {row.spec.input_dtype.bits: row.native for row in sample("h200").rows} == {8: True, 4: False}


def test_two_imports_of_one_origin_are_one_instrument() -> None:
    assert sample() == sample()
    assert {row.fingerprint for row in sample().rows} == {sample().fingerprint.short}
    others = [sample(citation="Somebody else"), sample("a100")]
    assert len({sample().fingerprint.short, *(o.fingerprint.short for o in others)}) == 3
    with pytest.raises(FingerprintMismatch):
        merge(sample().rows, others[0].rows)


def test_a_compressed_log_is_the_same(tmp_path: Path) -> None:
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(SAMPLE.read_bytes()))
    assert import_autotvm(packed, "t4", CITATION) == sample()
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InvalidFile, match="whole gzip file"):
        import_autotvm(packed, "t4", CITATION)


def test_the_rows_are_a_sound_lut(tmp_path: Path) -> None:
    path = tmp_path / "t4.csv"
    write(path, sample().rows)
    assert read(path) == sample().rows


def first_record() -> dict[str, Any]:
    body: dict[str, Any] = json.loads(SAMPLE.read_text().splitlines()[1])
    return body


@pytest.mark.parametrize(
    "broken",
    [
        SAMPLE.read_text().splitlines()[1][:-40],
        "not a log",
        "[1, 2]",
        "{}",
        json.dumps({**first_record(), "input": ["cuda", "x", []]}),
        json.dumps({**first_record(), "config": None}),
        json.dumps({**first_record(), "result": [["fast"], 0, 1.0, 1.6e9]}),
        json.dumps({**first_record(), "result": [[1e-4], 0, 1.0, float("nan")]}),
        json.dumps({**first_record(), "result": [["1e-4"], 0, 1.0, 1.6e9]}),
        json.dumps({**first_record(), "result": [[1e-4], 0, 1.0, True]}),
        json.dumps({**first_record(), "tvm_version": "0.7\n"}),
        json.dumps({**first_record(), "input": ["cuda\x1b[2J", "x", [], {}]}),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, broken: str) -> None:
    log = tmp_path / "broken.log"
    log.write_text("# a log\n" + json.dumps(first_record()) + "\n" + broken.replace("\n", "") + "\n")
    with pytest.raises(InvalidFile, match=r"broken\.log, line 3: "):
        import_autotvm(log, "t4", CITATION)


@pytest.mark.parametrize("cost", [True, False, float("nan"), float("inf"), 1e308, 3600.1, -1e-4, 0])
def test_a_cost_that_is_no_time_is_passed_over(tmp_path: Path, cost: object) -> None:
    log = tmp_path / "costs.log"
    body = first_record()
    lines = [body, {**body, "result": [[1e-9, cost], 0, 1.0, 1.6e9]}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    imported = import_autotvm(log, "t4", CITATION)
    assert imported.passed_over == (PassedOver("no possible time", 1, 2),)
    assert [row.latency_median_s for row in imported.rows] == [1.1e-4]


def test_what_a_log_says_is_told_on_one_line(tmp_path: Path) -> None:
    log = tmp_path / "hostile.log"
    body = first_record()
    args = [["TENSOR", [1], "int\x1b[2J"], ["TENSOR", [1], "int8"], 1, 0, 1, "int32"]
    log.write_text(json.dumps({**body, "input": ["cuda", body["input"][1], args, {}]}) + "\n")
    with pytest.raises(InvalidFile, match="no record that gives a row") as caught:
        import_autotvm(log, "t4", CITATION)
    assert str(caught.value).isprintable()
    with pytest.raises(DeviceError) as unknown:
        import_autotvm(log, "t4\n\x1b[2J", CITATION)
    assert str(unknown.value).isprintable()


def test_a_kernel_too_large_to_be_read_again_is_named(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    body = first_record()
    huge = 10**20
    args = [["TENSOR", [huge, 4], "int8"], ["TENSOR", [8, 4], "int8"], None, "int32"]
    log.write_text(json.dumps({**body, "input": ["cuda", "dense_int8.cuda", args, {}]}) + "\n")
    with pytest.raises(InvalidFile, match=r"large\.log, line 1: batch"):
        import_autotvm(log, "t4", CITATION)


def test_a_gpu_s_name_in_capitals() -> None:
    assert sample(" T4 ") == sample("t4")


def test_a_log_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "cut.log"
    log.write_text("\n".join(SAMPLE.read_text().splitlines()[:10])[:-30])
    with pytest.raises(InvalidFile, match=r"cut\.log, line 10: not a record"):
        import_autotvm(log, "t4", CITATION)


@pytest.mark.parametrize(("keep", "why"), [(slice(0, 1), "it is empty"), (slice(11, 14), "2 of failed: runtime error")])
def test_a_log_without_a_usable_record_is_refused(tmp_path: Path, keep: slice, why: str) -> None:
    log = tmp_path / "useless.log"
    log.write_text("\n".join(SAMPLE.read_text().splitlines()[keep]))
    with pytest.raises(InvalidFile, match=rf"no record that gives a row \({why}"):
        import_autotvm(log, "t4", CITATION)


def test_records_of_two_compilers_are_two_instruments(tmp_path: Path) -> None:
    log = tmp_path / "two.log"
    log.write_text("\n".join(json.dumps({**first_record(), "tvm_version": v}) for v in ("0.7.0", "0.8.0")))
    with pytest.raises(InvalidFile, match=r"line 2: of tvm 0\.8\.0, but line 1 is of tvm 0\.7\.0"):
        import_autotvm(log, "t4", CITATION)


def test_what_the_user_must_say(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="unknown GPU 'gtx1080'; known are: t4"):
        sample("gtx1080")
    for citation in ("", "  ", "two\nlines"):
        with pytest.raises(InvalidFile, match="nobody is cited"):
            sample(citation=citation)
    with pytest.raises(InvalidFile, match=r"none\.log: cannot be read"):
        import_autotvm(tmp_path / "none.log", "t4", CITATION)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 1 << 70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(line=st.sampled_from([1, 3, 4, 7, 9]), data=st.data())
def test_no_line_brings_the_importer_down(
    tmp_path_factory: pytest.TempPathFactory, line: int, data: st.DataObject
) -> None:
    """One value of a sound record is replaced by any other: it is imported, passed over, or the line is named."""
    body: Any = json.loads(SAMPLE.read_text().splitlines()[line])
    place: Any = body
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(values)
    log = tmp_path_factory.getbasetemp() / "fuzz.log"
    log.write_text(json.dumps(body) + "\n")
    try:
        result = import_autotvm(log, "t4", CITATION, padded_inputs=data.draw(st.booleans()))
    except InvalidFile as error:
        named = str(error)
    else:
        named = ""
        assert len(result.rows) == result.records == 1
    assert named.startswith(f"{log}") == bool(named)


def test_the_published_table_is_made_from_the_facts() -> None:
    made: Imported = runpy.run_path(str(DATA / "autotvm_published.py"))["imported"]()
    assert (made.records, made.slower, made.passed_over) == (74, 9, ())
    assert PUBLISHED.read_bytes() == to_bytes(made.rows)


def test_the_published_table_has_the_fastest_time_of_each_workload() -> None:
    """Against the facts themselves, without the importer."""
    times: dict[tuple[object, ...], list[float]] = defaultdict(list)
    with open(DATA / "t4_hawqv3_tuning.csv", newline="") as file:
        for fact in csv.DictReader(file):
            names = ("batch", "height", "in_channels", "out_channels", "kernel", "stride")
            outputs = int(fact["out_height"]) ** 2 * int(fact["batch"]) * int(fact["out_channels"])
            macs = outputs * int(fact["in_channels"]) * int(fact["kernel"]) ** 2
            types = fact["activation_dtype"], fact["weight_dtype"]
            times[(*(int(fact[name]) for name in names), macs, *types)].append(float(fact["latency_mean_s"]))
    found = {}
    for row in read(PUBLISHED):
        w = row.spec.workload
        assert row.spec.weight_dtype is not None
        shape = (w.batch, w.in_height, w.in_channels, w.out_channels, w.kernel_h, w.stride_h, row.macs)
        found[(*shape, row.spec.input_dtype.value, row.spec.weight_dtype.value)] = row.latency_median_s
    assert found == {key: min(both) for key, both in times.items()}
    assert sorted(map(len, times.values())) == [1] * 56 + [2] * 9


def test_a_measured_row_goes_ahead_of_a_published_one_and_both_stay() -> None:
    published = sample().rows
    mine = measured_twin(published[0], latency_s=published[0].latency_median_s * 2)
    for rows in ([mine, *published], [*published, mine]):
        latency = prices(rows, HOT, sources=(Source.MEASURED, Source.PUBLISHED))
        assert latency[mine.spec] == mine.latency_median_s
        assert len(latency) == len(published)
        assert latency == {**{row.spec: row.latency_median_s for row in published}, mine.spec: mine.latency_median_s}
        assert prices(rows, HOT) == {mine.spec: mine.latency_median_s}
        assert prices(rows, HOT, sources=(Source.PUBLISHED,))[mine.spec] == published[0].latency_median_s
    assert mine.key != published[0].key
    with pytest.raises(FingerprintMismatch):  # two instruments: a file each
        merge(published, [mine])


def measured_twin(row: LutRow, latency_s: float) -> LutRow:
    """The same kernel, as a user's own card measured it."""
    return replace(
        row,
        source=Source.MEASURED,
        fingerprint="0123abcd",
        citation="",
        latency_median_s=latency_s,
        latency_q1_s=latency_s,
        latency_q3_s=latency_s,
        latency_ci95_low_s=latency_s,
        latency_ci95_high_s=latency_s,
        samples=30,
        artifact_sha256="ab" * 32,
        run_id="r1",
    )
