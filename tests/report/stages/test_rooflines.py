"""Roofs and limits of devices by arithmetic that is written out here, on tables that ship and invented ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd
import pytest

from profiler.hardware import parse_cpuinfo
from profiler.lut import store
from profiler.lut.schema import LutRow
from profiler.predictor.device_facts import ObservedPeaks, facts_of, observed_peaks
from profiler.record import Conditions, Fingerprint
from profiler.report.content.roofline import Roof, Roofline, RooflinePoint, table_of
from profiler.report_stages.rates import Rates, rates_of
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.rooflines import roofline_of, roofline_section
from profiler.report_stages.subject import Subject, subject_of
from profiler.space.traffic import moved_bytes
from profiler.workload import INT4, INT8, PRECISIONS, DType, Epilogue, KernelSpec, Op, Precision, Workload
from tests.report.stages.cases import CARD, DEVICE, HOST, SHAPES, T4, chain, place, row, rows_of_network


def rates(rows: tuple[LutRow, ...], conditions: Conditions | None = None) -> Rates:
    return rates_of(rows, facts_of(rows), conditions or rows[0].conditions, (INT8, INT4))


def roofline(about: Subject) -> Roofline:
    return roofline_of(about, rates(about.rows, about.conditions))


UNKNOWN = Fingerprint("rtx9999", "A card", "sm_75", "0", "1", "invented")
CONV = Workload(Op.CONV2D, 8, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1)


def bare(bits: int) -> KernelSpec:
    activation = DType.INT8 if bits == 8 else DType.UINT4
    return KernelSpec(CONV, activation, DType.INT32, DType.integer(bits, signed=True), epilogue=Epilogue.NONE)


# -- a GPU with a data sheet -----------------------------------------------------------------------------------------


def test_the_roofs_of_a_t4_are_those_of_its_data_sheet() -> None:
    found = rates(store.read(T4))
    assert found.ops_per_s == (130.2e12, 260.5e12)  # TOPS of INT8 and INT4
    assert found.bytes_per_s == 320e9
    assert found.origins == ("data sheet, at 1590 MHz",) * 2
    assert found.memory_origin == "the data sheet's bandwidth"


def limit_s(found: Rates, spec: KernelSpec, precision: Precision) -> float:
    return found.limit_s(2 * spec.workload.macs, moved_bytes(spec), precision)


def test_the_limit_of_a_kernel_on_a_t4() -> None:
    """924,844,032 products: at 65.1e12 a second 14.2 us, while the 3.4 MB that it moves take 10.5 us of the memory."""
    found = rates(store.read(T4))
    macs = 8 * 7 * 7 * 512 * 512 * 9
    assert limit_s(found, bare(8), INT8) == pytest.approx(macs / 65.1e12)
    assert limit_s(found, bare(4), INT4) == pytest.approx(macs / 130.25e12)
    narrow = replace(CONV, in_height=1, in_width=1)  # the pixels of one: the bytes are what takes time
    small = KernelSpec(narrow, DType.INT8, DType.INT32, DType.INT8, epilogue=Epilogue.NONE)
    assert limit_s(found, small, INT8) == pytest.approx((512 * 512 * 9 + 8 * 512 + 8 * 512 * 4) / 320e9)


def test_a_limit_is_the_longer_of_two_times() -> None:
    found = rates(store.read(T4))
    assert found.limit_s(130.2e12, 1.0, INT8) == 1.0
    assert found.limit_s(260.5e12, 1.0, INT4) == 1.0
    assert found.limit_s(1.0, 640e9, INT8) == found.limit_s(1.0, 640e9, INT4) == 2.0


def test_the_points_of_a_t4() -> None:
    """Of ResNet18 at batch 8: operations, bytes once (int32 results of bare kernels), and the published latency."""
    found = roofline(subject_of(ReportRequest(lut=T4)))
    names = ("layer4.0.conv2 + layer4.0.add", "INT4")
    point = next(p for p in found.points if (p.layer, p.precision) == names)
    frame = pd.read_csv(T4)
    mine = frame[(frame.in_channels == 512) & (frame.out_channels == 512) & (frame.kernel_h == 3)]
    assert point.latency_s == float(mine[mine.weight_dtype == "int4"].latency_median_s.min())
    assert point.ops == 2 * 8 * 7 * 7 * 512 * 512 * 9
    assert point.moved_bytes == 8 * 7 * 7 * 512 / 2 + 8 * 7 * 7 * 512 * 4 + 512 * 512 * 9 / 2
    assert found.bound(point) == "compute"  # 888 operations a byte, and the knee is at 260.5e12 / 320e9 = 814
    assert found.memory_name == "memory"


def test_int4_of_a_card_without_it_has_the_roof_of_int8() -> None:
    card = Fingerprint("h200", "NVIDIA H200", "sm_90", "0", "1", "invented")
    found = rates((row(bare(8), 1e-5, card), row(bare(4), 1e-5, card, native=False)))
    assert found.ops_per_s == pytest.approx((0.629 * 1979e12,) * 2)  # mma.sync reaches so much of it
    assert found.origins == (
        "data sheet, at 1830 MHz, 63% of it, which mma.sync reaches",
        "data sheet, at 1830 MHz, 63% of it, which mma.sync reaches, INT4 being emulated",
    )


@pytest.mark.parametrize(
    ("name", "times_int4"),
    # a pair of planes at four times the rate of INT4; weights of fewer bits are stored in 4 beside activations of 4
    [("a1w1", 4), ("a2w1", 2), ("a2w2", 1), ("a3w3", 4 / 9), ("a4w1", 1), ("a1w4", 1)],
)
def test_planes_have_the_roof_of_the_binary_instruction(name: str, times_int4: float) -> None:
    card = Fingerprint("a100", "NVIDIA A100", "sm_80", "0", "1", "invented")
    rows = (row(bare(8), 1e-5, card),)
    found = rates_of(rows, facts_of(rows), Conditions(), (INT8, PRECISIONS[name]))
    assert found.ops_per_s == pytest.approx((624e12, times_int4 * 1248e12), rel=0.01)
    assert "emulated" not in found.origins[1]


def test_memory_bound_is_left_of_the_knee() -> None:
    """On a T4 with INT8: 130.2e12 / 320e9 = 407 operations a byte."""
    found = rates(store.read(T4))
    for channels, bound in ((64, True), (2048, False)):
        work = Workload(Op.CONV2D, 8, 56, 56, channels, channels)
        spec = KernelSpec(work, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)
        moved = 2 * 8 * 56 * 56 * channels + channels**2
        assert (2 * 8 * 56 * 56 * channels**2 / moved < 130.2e12 / 320e9) == bound
        assert found.memory_bound(spec, INT8) == bound


# -- a host ----------------------------------------------------------------------------------------------------------


def test_the_peak_of_a_host_is_lanes_by_ports_by_clock() -> None:
    """AVX512-VNNI: 16 lanes of four products, two instructions a clock; a multiply-accumulate is two operations."""
    rows = store.read(HOST)
    frame = pd.read_csv(HOST)
    found = rates(rows)
    assert found.ops_per_s == pytest.approx((2 * 16 * 4 * 2 * 1e6 * frame.sm_clock_mhz_high.max(),) * 2)
    twice = rates(rows, Conditions(threads=2))
    assert twice.ops_per_s == pytest.approx((2 * found.ops_per_s[0],) * 2)


@pytest.mark.parametrize(("extension", "products"), [("", 4), (" avx512vbmi", 6)])
def test_lookups_add_as_many_products_as_a_table_has_channels(extension: str, products: int) -> None:
    """64 bytes of a vector, two instructions a clock, for each bit of the weights."""
    rows = store.read(HOST)
    flags = "avx2 avx512f avx512bw avx512vl avx512dq avx512_vnni" + extension
    cpu = parse_cpuinfo(f"processor : 0\nflags : {flags}\n", "x86_64")
    found = rates_of(rows, cpu, Conditions(), (Precision.parse("a2w1"), Precision.parse("a2w2")))
    each = 2 * 2 * 64 * products * 1e6 * pd.read_csv(HOST).sm_clock_mhz_high.max()
    assert found.ops_per_s == pytest.approx((each, each / 2))
    assert f"each of {'six' if products == 6 else 'four'} products" in found.origins[0]


def test_the_memory_of_a_host_is_the_most_that_a_row_moves() -> None:
    """A max pool of ResNet18: it reads 112x112x64 bytes and writes 56x56x64."""
    frame = pd.read_csv(HOST)
    pool = frame[(frame.op == "max_pool") & (frame.input_dtype == "uint8")].iloc[0]
    assert rates(store.read(HOST)).bytes_per_s == pytest.approx((112 * 112 + 56 * 56) * 64 / pool.latency_median_s)


@pytest.mark.parametrize("path", [HOST, SHAPES])
def test_no_row_beats_its_limit(path: Path) -> None:
    """By definition of the peak, and of the most bytes that a row moves."""
    rows = store.read(path)
    found = rates(rows)
    for one in rows:
        assert limit_s(found, one.spec, precision_of(one)) <= one.latency_median_s * (1 + 1e-9), one.spec.key


def test_rows_of_a_card_beat_their_limit_only_where_they_need_not_read_it_all() -> None:
    """The published kernels had their images in the cache; and a stride leaves three quarters of the pixels unread."""
    rows = store.read(T4)
    found = rates(rows)
    beaten = [one for one in rows if one.latency_median_s < limit_s(found, one.spec, precision_of(one))]
    assert beaten
    for one in beaten:
        work = one.spec.workload
        assert (work.kernel_h, work.kernel_w, work.stride_h, work.stride_w) == (1, 1, 2, 2)
        assert one.latency_median_s > 2 * work.macs / found.peak(precision_of(one))


def precision_of(one: LutRow) -> Precision:
    return INT4 if (one.spec.weight_dtype or one.spec.input2_dtype or one.spec.input_dtype).bits == 4 else INT8


def test_without_a_clock_one_is_assumed_and_that_is_said() -> None:
    rows = tuple(replace(one, sm_clock_mhz_low=None, sm_clock_mhz_high=None) for one in rows_of_network(chain()))
    found = rates(rows)
    assert found.ops_per_s[0] == pytest.approx(2 * 16 * 4 * 2 * 3.5e9)
    assert "3.5 GHz assumed" in found.origins[0]


# -- a device of which nothing is known ------------------------------------------------------------------------------


def test_a_device_without_a_data_sheet_has_the_roofs_that_its_rows_reach() -> None:
    card = Fingerprint("rtx9999", "A card", "sm_75", "0", "1", "invented")
    rows = tuple(row(bare(bits), latency_s, card) for bits, latency_s in ((8, 2e-4), (4, 1e-4)))
    assert isinstance(facts_of(rows), ObservedPeaks)
    found = rates(rows)
    assert found.ops_per_s == pytest.approx((2 * CONV.macs / 2e-4, 2 * CONV.macs / 1e-4))
    assert found.origins == ("the most that a row reaches",) * 2
    moved = 8 * 7 * 7 * 512 / 2 + 8 * 7 * 7 * 512 * 4 + 512 * 512 * 9 / 2
    assert found.bytes_per_s == pytest.approx(max(moved / 1e-4, 0.5 * moved / 2e-4))
    for one in rows:
        precision = INT4 if one.spec.input_dtype.bits == 4 else INT8
        assert limit_s(found, one.spec, precision) <= one.latency_median_s * (1 + 1e-9)


# -- the section -----------------------------------------------------------------------------------------------------


def test_the_section_says_which_share_of_the_peak_is_reached() -> None:
    about = subject_of(ReportRequest(lut=HOST))
    found = roofline(about)
    shares = {
        p: [q.ops_per_s / found.roof(p).ops_per_s for q in found.points if q.precision == p] for p in ("INT8", "INT4")
    }
    text = ", ".join(f"{name} {median(mine):.0%} (at best {max(mine):.0%})" for name, mine in shares.items())
    section = roofline_section(found)
    assert section.lead == f"Share of the peak that a layer reaches, in the median: {text}."
    assert len(found.points) == 2 * 21
    lines = pd.DataFrame(table_of(found).rows, columns=[column.name for column in table_of(found).columns])
    assert (lines.share_of_peak_percent <= 100).all()
    assert (lines.share_of_limit_percent <= 100).all()
    assert lines.ops_per_s.to_numpy() == pytest.approx((lines.ops / lines.latency_s).to_numpy())


def test_a_layer_counts_with_its_addition() -> None:
    """Of the recorded host, by its lines: fused one kernel, which reads the other operand as well; apart two. Both ways
    are there: INT8 fused and INT4 apart, or the other way round."""
    found = roofline(subject_of(ReportRequest(lut=HOST)))
    frame = pd.read_csv(HOST)
    images = {"in_height": 56, "in_channels": 64}
    block = frame[(frame[["op", "out_channels", "kernel_h"]] == ["conv2d", 64, 3]).all(axis=1)]
    block = block[(block[list(images)] == list(images.values())).all(axis=1)]
    pixels, ways = 56 * 56 * 64, set()
    for bits in (8, 4):
        one = pixels * bits / 8
        line = block[(block.weight_dtype == f"int{bits}") & (block.input_dtype == f"uint{bits}")]
        fused = line[(line.epilogue == "add_requant_relu") & (line.input2_dtype == f"uint{bits}")]
        fused = fused[fused.output_dtype == f"uint{bits}"]
        sums = line[line.epilogue == "bias"]
        add = frame[(frame.op == "add") & (frame.input_dtype == "int32") & (frame.output_dtype == f"uint{bits}")]
        add = add[(add[list(images)] == list(images.values())).all(axis=1) & (add.input2_dtype == f"uint{bits}")]
        assert (len(fused), len(sums), len(add)) == (1, 1, 1)
        together = float(fused.latency_median_s.iloc[0])
        apart = float(sums.latency_median_s.iloc[0] + add.latency_median_s.iloc[0])
        weights = 64 * 64 * 9 * bits / 8
        least = 3 * one + weights  # reads both operands, writes the result, without the vectors of the channels
        both = least + 2 * 4 * pixels  # and the int32 sums are written and read
        point = next(
            p for p in found.points if (p.layer, p.precision) == ("layer1.0.conv2 + layer1.0.add", f"INT{bits}")
        )
        assert point.ops == 2 * 56 * 56 * 64 * 64 * 9
        assert point.latency_s == pytest.approx(min(together, apart))
        assert point.moved_bytes == pytest.approx(least if together < apart else both, rel=0.01)
        ways.add(together < apart)
    assert ways == {True, False}


def test_without_a_data_sheet_the_memory_is_called_what_it_is() -> None:
    section = roofline_section(roofline(subject_of(ReportRequest(lut=HOST))))
    assert any(
        note == "Most bytes moved: the most that a row of this table moves, which is no figure of the memory itself."
        for note in section.notes
    )
    assert isinstance(section.figure, Roofline)
    assert section.figure.memory_name == "most bytes moved"
    card = roofline_section(roofline(subject_of(ReportRequest(lut=T4))))
    assert "Memory: the data sheet's bandwidth." in card.notes


def above(about: Subject) -> list[str]:
    return [note for note in roofline_section(roofline(about)).notes if note.startswith("Above the roof")]


def test_points_above_the_roof_are_named_with_what_lets_them(tmp_path: Path) -> None:
    """A card's classifier takes half of what its memory would need, and its convolutions half of what the peak would:
    130.2e12 and 260.5e12 operations and 320e9 bytes a second."""
    wide, narrow = 130.2e12, 260.5e12

    def price(spec: KernelSpec) -> float:
        ops, peak = 2 * spec.workload.macs, narrow if spec.input_dtype.bits == 4 else wide
        if spec.workload.op is Op.CONV2D:
            return max(0.5 * ops / peak if about_ops else 2 * moved_bytes(spec) / 320e9, 1e-12)
        return (0.5 if spec.workload.op is Op.DENSE and not about_ops else 2) * moved_bytes(spec) / 320e9

    network = chain(("one", "two"))
    about_ops = False
    cached = place(tmp_path / "a", network, rows_of_network(network, price, CARD)).subject()
    why = "not all of their bytes coming from the memory (caches, strides)"
    assert above(cached) == [f"Above the roof, {why}: classifier (INT8), classifier (INT4)."]
    about_ops = True
    fast = place(tmp_path / "b", network, rows_of_network(network, price, CARD)).subject()
    assert above(fast) == [
        "Above the roof, the peak being higher than assumed: one (INT8), one (INT4), two (INT8) and 1 more."
    ]


@pytest.mark.parametrize("path", [HOST, T4])
def test_no_layer_of_the_tables_that_ship_is_above_the_peak(path: Path) -> None:
    assert not any("higher than assumed" in note for note in above(subject_of(ReportRequest(lut=path))))


def test_a_roof_that_was_read_off_a_row_is_not_beaten_by_it() -> None:
    """Whatever the last digit of a quotient says: for a hundred latencies."""
    for index in range(100):
        rows = [row(one.spec, one.latency_median_s * (1 + index / 97), UNKNOWN) for one in rows_of_network(chain())]
        facts = observed_peaks([(one.spec, one.latency_median_s) for one in rows])
        peak = 2 * facts.macs_rate(8)
        points = [
            RooflinePoint("a", "INT8", 2 * one.spec.workload.macs, moved_bytes(one.spec), one.latency_median_s, limit)
            for one in rows
            if one.spec.input_dtype.bits == 8 and one.spec.workload.macs
            for limit in [max(2 * one.spec.workload.macs / peak, moved_bytes(one.spec) / facts.bytes_per_s)]
        ]
        found = Roofline((Roof("INT8", peak, "read off"),), facts.bytes_per_s, "read off", tuple(points))
        assert not any("Above the roof" in note for note in roofline_section(found).notes)


def test_a_layer_without_a_row_is_no_point(tmp_path: Path) -> None:
    rows = [
        one
        for one in rows_of_network(chain())
        if not (one.spec.workload.op is Op.DENSE and one.spec.input_dtype.bits == 4)
    ]
    found = roofline(place(tmp_path, rows=rows).subject())
    assert {(p.layer, p.precision) for p in found.points} == {
        (layer, precision) for layer in ("one", "two", "three", "classifier") for precision in ("INT8", "INT4")
    } - {("classifier", "INT4")}


def test_a_table_of_pools_alone_has_no_figure(tmp_path: Path) -> None:
    pools = [one for one in rows_of_network(chain()) if one.spec.workload.op is Op.AVG_POOL]
    for instrument in (DEVICE, Fingerprint("rtx9999", "A card", "sm_75", "0", "1", "invented")):
        rows = [row(one.spec, one.latency_median_s, instrument) for one in pools]
        about = place(tmp_path / instrument.device, rows=rows).subject()
        section = roofline_section(roofline(about))
        assert section.figure is None
        assert section.notes == ("The table has no latency of any layer with weights.",)
