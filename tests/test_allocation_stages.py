"""Prices from rows and predictions, the table that is read, and allocations of real tables, as functions of files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from math import fsum
from pathlib import Path

import pytest

from profiler.allocation import bits_file
from profiler.allocation.limit_text import parse_limit
from profiler.allocation.problem import Quantity
from profiler.allocation_stages.allocate import AllocateRequest, allocate
from profiler.allocation_stages.prices import price_list, rows_of
from profiler.allocation_stages.which_lut import which_lut
from profiler.errors import FingerprintMismatch, InvalidFile, OutputError, ProfilerError
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.demand import Variant, conversion, demand, implementations, units
from profiler.lut.schema import LutRow, Source
from profiler.predictor import latency_model
from profiler.predictor.device_facts import facts_of
from profiler.predictor.latency_model import LatencyModel
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import observations
from profiler.record import CacheMode, Conditions
from profiler.workload import INT4, INT8, PRECISIONS, KernelSpec, Network

ROOT = Path(__file__).parents[1]
HOST = ROOT / "lut/recorded/cpu-8cfd341f.csv"
SHAPES = ROOT / "lut/recorded/cpu-8cfd341f-shapes.csv"
T4 = ROOT / "lut/published/t4_hawqv3.csv"


@pytest.fixture(scope="module")
def host_rows() -> tuple[LutRow, ...]:
    return store.read(HOST)


@pytest.fixture(scope="module")
def resnet18() -> Network:
    return load_network("resnet18", 1)


@pytest.fixture(scope="module")
def model(resnet18: Network) -> LatencyModel:
    """Of the same device, fitted to none of ResNet18's workloads."""
    own = {layer.workload for layer in resnet18.layers}
    rows = [row for row in store.read(SHAPES) if row.spec.workload not in own][::8]
    return latency_model.fit(observations(rows, rows[0].conditions), Origin.of(rows[0]), facts_of(rows))


def limit(quantity: Quantity, text: str) -> AllocateRequest:
    return AllocateRequest("resnet18", lut=HOST, limits=(parse_limit(quantity, text),))


SMALL = (parse_limit(Quantity.SIZE, "0.5"),)


# -- an allocation of the recorded table, counted again from its bits.json -------------------------------------------


def test_bits_of_resnet18_on_the_recorded_host_add_up(
    host_rows: tuple[LutRow, ...], resnet18: Network, tmp_path: Path
) -> None:
    """From bits.json alone: the precisions decide on every kernel, and the LUT on its latency."""
    out = tmp_path / "bits.json"
    found = allocate(replace(limit(Quantity.LATENCY, "4.2ms"), out=out))
    bits = bits_file.load(out)
    assert bits == found.bits
    bits.require_network(resnet18)
    latency = {row.spec: row.latency_median_s for row in host_rows}
    stored = {t.name: PRECISIONS[t.precision] for t in bits.tensors}
    specs: list[KernelSpec] = []
    for unit in units(resnet18):
        read = {name: stored[name] for name in unit.tensors if name in stored}
        if unit.layer.workload.op.has_weights:
            read[unit.layer.inputs[0]] = bits.precision_of(unit.layer.name)
        apart = unit.addition is not None and unit.addition.name in bits.separate
        ways = {way.variant: way for way in implementations(resnet18, unit, read)}
        variant = Variant.SEPARATE if apart else Variant.FUSED if unit.addition else Variant.PLAIN
        specs += [kernel.spec for kernel in ways[variant].kernels]
    for copy in bits.conversions:
        spec = conversion(resnet18, copy.tensor, PRECISIONS[copy.source], PRECISIONS[copy.target])
        assert spec is not None
        specs.append(spec)
    assert fsum(latency[spec] for spec in specs) == pytest.approx(bits.latency.total_s, rel=1e-12)
    assert bits.latency.measured_s == bits.latency.total_s == bits.latency.bound_s
    assert bits.latency.total_s <= 4.2e-3
    assert bits.limits[0].reached == pytest.approx(bits.latency.total_s)
    assert [layer.name for layer in bits.layers if layer.fixed] == ["conv1", "fc"]
    size = sum(resnet18.layer(b.name).workload.weights * PRECISIONS[b.precision].weight_bits / 8 for b in bits.layers)
    assert bits.size_bytes == size
    assert bits.status == "optimal"
    assert bits.gap == 0


def test_fractions_are_of_the_way_between_the_uniform_networks(
    host_rows: tuple[LutRow, ...], resnet18: Network, tmp_path: Path
) -> None:
    """With no layer kept these are the totals of the table of profile."""
    latency = {row.spec: row.latency_median_s for row in host_rows}
    totals = []
    for precision in (INT4, INT8):
        each = [implementations(resnet18, unit, dict.fromkeys(unit.tensors, precision)) for unit in units(resnet18)]
        totals.append(sum(min(sum(latency[k.spec] for k in way.kernels) for way in ways) for ways in each))
    file = tmp_path / "s.csv"
    file.write_text("layer,int8,int4\n" + "".join(f"{b.name},0,1\n" for b in resnet18.weighted_layers))
    found = allocate(replace(limit(Quantity.LATENCY, "0.5"), keep=(), sensitivity=str(file)))
    with pytest.raises(ProfilerError, match="has no entry for 'conv1', 'fc'"):
        allocate(replace(limit(Quantity.LATENCY, "0.5"), keep=()))
    (ends,) = found.ends
    # What is read by no layer with weights may be stored wider than it must be where that is faster.
    assert ends.narrow <= totals[0]
    assert ends.narrow == pytest.approx(totals[0], rel=0.01)
    assert ends.wide == pytest.approx(totals[1])


def test_front_of_the_host_is_monotone_and_holds_the_chosen_point() -> None:
    found = allocate(replace(limit(Quantity.LATENCY, "4.2ms"), front=Quantity.LATENCY))
    assert found.front is not None
    assert found.front.exact
    points = found.front.points
    assert all(a.sensitivity < b.sensitivity and a.latency_s > b.latency_s for a, b in pairwise(points))
    assert tuple(layer.precision for layer in found.bits.layers) in [point.precisions for point in points]
    assert points[-1].latency_s == pytest.approx(found.ends[0].least, rel=1e-9)


def test_published_rows_of_the_t4_price_bare_kernels_and_name_the_rest() -> None:
    request = AllocateRequest("resnet18", lut=T4, limits=(parse_limit(Quantity.LATENCY, "0.5"),))
    with pytest.raises(ProfilerError, match=r"2 of 31 layers have no price: maxpool, avgpool; .*--scope priced"):
        allocate(request)
    found = allocate(replace(request, only_priced=True))
    parts = found.bits.latency
    assert parts.unpriced == ("maxpool", "avgpool")
    assert parts.kernel_only
    assert (parts.measured_s, parts.predicted_s) == (0, 0)
    assert parts.published_s == parts.total_s
    (ends,) = found.ends
    assert parts.total_s <= ends.narrow + 0.5 * (ends.wide - ends.narrow)
    # Independently of views and tables: the published latencies of the workloads and widths that were chosen.
    fastest: dict[tuple[object, int], float] = {}
    for row in store.read(T4):
        key = (row.spec.workload, row.spec.weight_dtype.bits if row.spec.weight_dtype else 0)
        fastest[key] = min(row.latency_median_s, fastest.get(key, 1.0))
    network = load_network("resnet18", 8)
    total = sum(
        fastest[network.layer(layer.name).workload, PRECISIONS[layer.precision].weight_bits]
        for layer in found.bits.layers
    )
    assert parts.total_s == pytest.approx(total, rel=1e-12)
    assert not [note for note in found.notes if "cannot be all" in note]


def test_int8_is_chosen_where_int4_is_slower_and_nothing_else_is_limited(
    tmp_path: Path, host_rows: tuple[LutRow, ...]
) -> None:
    slow = [
        replace(row, latency_median_s=row.latency_median_s * 3, latency_q1_s=None, latency_q3_s=None,
                latency_ci95_low_s=None, latency_ci95_high_s=None, source=Source.PUBLISHED, citation="made up")
        if row.spec.input_dtype.bits == 4 else row
        for row in host_rows
    ]  # fmt: skip
    path = tmp_path / "slow.csv"
    store.write(path, slow)
    found = allocate(replace(limit(Quantity.LATENCY, "0.5"), lut=path))
    assert {layer.precision for layer in found.bits.layers} == {"int8"}
    assert "no faster in its narrowest precision" in " ".join(found.notes)
    assert {price.verdict for price in found.not_worth} == {"slower"}
    assert len(found.not_worth) == 21


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "text", "message"),
    [
        (Quantity.LATENCY, "1ms", r"latency of at most 1 ms asked, the least that is possible is 4\.1639 ms"),
        (Quantity.SIZE, "1MB", r"size of at most 1 MB asked, the least that is possible is 6\.1002 MB"),
        (Quantity.MEMORY, "1kB", r"memory of at most 1 kB asked, the least that is possible is "),
        (Quantity.ENERGY, "1mJ", r"the energy of (\d+) of \1 kernels is not known .*, e\.g\. \w+.*: measure it"),
    ],
)
def test_what_cannot_be_met_is_named_with_the_best_that_can_be(quantity: Quantity, text: str, message: str) -> None:
    with pytest.raises(ProfilerError, match=message):
        allocate(limit(quantity, text))


def test_limits_that_exclude_each_other_say_what_each_leaves() -> None:
    both = (parse_limit(Quantity.LATENCY, "4.164ms"), parse_limit(Quantity.SIZE, "6.2MB"))
    with pytest.raises(ProfilerError, match=r"cannot be met together: latency .* while the others hold .*; size .*"):
        allocate(replace(limit(Quantity.LATENCY, "1"), limits=both))


def test_memory_is_limited_by_narrowing_what_is_alive_at_the_peak() -> None:
    free = allocate(replace(limit(Quantity.MEMORY, "1"), limits=()))
    found = allocate(limit(Quantity.MEMORY, "1.1MB"))
    assert free.bits.activation_bytes > 1.1e6 >= found.bits.activation_bytes
    assert found.bindings[0].binds


# -- prices ----------------------------------------------------------------------------------------------------------


def test_missing_kernels_are_predicted_and_counted_with_their_bound(
    host_rows: tuple[LutRow, ...], resnet18: Network, model: LatencyModel
) -> None:
    specs = [wanted.spec for wanted in demand(resnet18, (INT8, INT4), mixed=True)]
    for kept, ends in ((host_rows[::2], True), (host_rows[:4], False)):
        found = price_list(resnet18, (INT8, INT4), kept, model, 0.95)
        assert set(found.prices) == set(specs)
        assert found.predicted_ends == ends
        sources = Counter(p.source for p in found.prices.values())
        assert sources[Source.MEASURED] >= len(set(specs) & {row.spec for row in kept})
        estimates = {e.spec: e for e in model.estimate(specs, 0.95)}
        rows = {row.spec: row for row in kept}
        for spec, price in found.prices.items():
            if spec in rows:
                assert price.bound_s == price.latency_s == rows[spec].latency_median_s
            elif price.source is Source.PREDICTED:
                wanted = estimates[spec].high_s if ends else estimates[spec].latency_s * model.factor(0.95)
                assert price.bound_s == pytest.approx(wanted)
        without = price_list(resnet18, (INT8, INT4), kept, model, None)
        assert all(price.bound_s == price.latency_s for price in without.prices.values())


def test_sources_are_told_apart(host_rows: tuple[LutRow, ...], resnet18: Network) -> None:
    row = host_rows[0]
    published = replace(row, source=Source.PUBLISHED, citation="someone", fingerprint=row.fingerprint)
    predicted = replace(row, source=Source.PREDICTED, samples=0)
    found = price_list(resnet18, (INT8, INT4), (predicted, published, row, *host_rows[1:]), None, None)
    assert found.prices[row.spec].latency_s == row.latency_median_s
    found = price_list(resnet18, (INT8, INT4), (predicted, published, *host_rows[1:]), None, None)
    assert found.prices[row.spec].source is Source.PUBLISHED
    with pytest.raises(ProfilerError, match="--confidence needs the model"):
        price_list(resnet18, (INT8, INT4), (predicted, *host_rows[1:]), None, 0.9)


def test_a_model_of_another_device_is_refused(
    host_rows: tuple[LutRow, ...], resnet18: Network, model: LatencyModel
) -> None:
    other = [replace(row, conditions=Conditions(2, CacheMode.NETWORK)) for row in host_rows]
    with pytest.raises(FingerprintMismatch, match=r"the model is of cpu .*1 thread, .* but the LUT of cpu .*2 threads"):
        price_list(resnet18, (INT8, INT4), other, model, None)


def test_rows_under_the_usual_conditions(host_rows: tuple[LutRow, ...]) -> None:
    other = replace(host_rows[0], conditions=Conditions(4, CacheMode.HOT))
    rows, conditions = rows_of((*host_rows, other), HOST, None, None)
    assert rows == host_rows
    assert conditions == host_rows[0].conditions
    assert rows_of((*host_rows, other), HOST, 4, None)[0] == (other,)
    with pytest.raises(InvalidFile, match="holds no row with the threads and cache mode"):
        rows_of(host_rows, HOST, 7, None)
    with pytest.raises(InvalidFile, match=r"holds no row$"):
        rows_of((), HOST, None, None)


def test_end_to_end_measurements_calibrate_the_limit(tmp_path: Path, host_rows: tuple[LutRow, ...]) -> None:
    """A network that takes 1 ms and 10% more than its kernels: 5.6 ms for it are 4.1818 ms for them."""
    path = tmp_path / "end_to_end.csv"
    fingerprint = host_rows[0].fingerprint
    lines = [f"resnet18,1,{fingerprint},{s!r},{1e-3 + 1.1 * s!r}" for s in (4e-3, 4.2e-3, 4.4e-3)]
    path.write_text("\n".join(["network,batch,fingerprint,lut_sum_s,latency_s", *lines]) + "\n")
    found = allocate(replace(limit(Quantity.LATENCY, "5.6ms"), end_to_end=path))
    parts = found.bits.latency
    assert found.bits.limits[0].most == pytest.approx((5.6e-3 - 1e-3) / 1.1)
    assert parts.network_s == pytest.approx(1e-3 + 1.1 * parts.total_s)
    assert parts.network_s <= 5.6e-3
    plain = allocate(limit(Quantity.LATENCY, f"{(5.6 - 1) / 1.1:.12f}ms"))
    assert plain.bits.layers == found.bits.layers
    with pytest.raises(ProfilerError, match=r"latency of at most 1\.5 ms asked, the least that is possible is 5\.58"):
        allocate(replace(limit(Quantity.LATENCY, "1.5ms"), end_to_end=path))
    other = load_network("resnet18", 2)
    rows = [replace(row, spec=replace(row.spec, workload=row.spec.workload.with_batch(2))) for row in host_rows]
    table = tmp_path / "batch2.csv"
    store.write(table, rows)
    assert {layer.workload for layer in other.layers} >= {row.spec.workload for row in rows if row.macs}
    with pytest.raises(InvalidFile, match="no measurement of resnet18, batch 2"):
        allocate(replace(limit(Quantity.LATENCY, "5ms"), end_to_end=path, batch=2, lut=table))


# -- files -----------------------------------------------------------------------------------------------------------


def test_layers_without_a_choice_need_no_sensitivity(tmp_path: Path, host_rows: tuple[LutRow, ...]) -> None:
    """Kept by the user, or for want of a price; what is listed for layers that are not there is told."""
    network = load_network("resnet18", 1)
    table, file = tmp_path / "some.csv", tmp_path / "s.csv"
    store.write(table, [row for row in host_rows if row.spec.workload != network.layer("layer4.0.downsample").workload])
    names = [
        layer.name for layer in network.weighted_layers if layer.name not in ("conv1", "fc", "layer4.0.downsample")
    ]
    file.write_text("layer,int8,int4\n" + "".join(f"{name},0,1\n" for name in [*names, "stranger"]))
    request = replace(limit(Quantity.SIZE, "0.5"), lut=table, sensitivity=str(file), only_priced=True)
    found = allocate(request)
    assert found.bits.latency.unpriced == ("layer4.0.downsample",)
    assert "that the network has not are not read: stranger" in " ".join(found.notes)


def test_rows_of_other_conditions_are_told(tmp_path: Path, host_rows: tuple[LutRow, ...]) -> None:
    path = tmp_path / "two.csv"
    store.write(path, (*host_rows, *(replace(row, conditions=Conditions(1, CacheMode.COLD)) for row in host_rows[:3])))
    found = allocate(replace(limit(Quantity.SIZE, "0.5"), lut=path))
    assert "3 rows of other conditions than 1 thread, cache mode network are not read" in " ".join(found.notes)


def test_bits_that_do_not_fit_their_network_are_refused(resnet18: Network) -> None:
    bits = allocate(limit(Quantity.LATENCY, "4.2ms")).bits
    bits.require_network(resnet18)
    conversion_of_nobody = bits_file.TensorConversion("maxpool", "int8", "int4", ("nobody",))
    narrow = tuple(replace(tensor, precision="int4") for tensor in bits.tensors)
    for broken, message in (
        (replace(bits, separate=("nobody",)), "no layer 'nobody'"),
        (replace(bits, conversions=(conversion_of_nobody,)), "no layer 'nobody'"),
        (replace(bits, tensors=narrow), "is int8, but reads"),
    ):
        with pytest.raises(InvalidFile, match=message):
            broken.require_network(resnet18)


def test_which_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shipped = which_lut("t4", tmp_path)
    assert shipped.path == Path("lut/published/t4_hawqv3.csv")
    assert shipped.partial
    assert "no run of your own" in shipped.note
    assert "published by others" in shipped.note
    assert which_lut("auto", tmp_path).path.parent == Path("lut/recorded")
    with pytest.raises(InvalidFile, match=r"h200\.csv: no such file; measure first \(make profile GPU=h200\)"):
        which_lut("h200", tmp_path)
    (tmp_path / "lut").mkdir()
    own = tmp_path / "lut/t4.csv"
    own.touch()
    for device in ("t4", "T4", "auto"):
        assert which_lut(device, tmp_path) == type(shipped)(own)
    (tmp_path / "lut/t4-12345678.csv").touch()
    with pytest.raises(InvalidFile, match="several tables to choose from"):
        which_lut("t4", tmp_path)


@pytest.mark.parametrize("device", ["aarch64", "aarch64-neon"])
def test_a_board_is_a_cpu_and_takes_one_image_unless_told(
    host_rows: tuple[LutRow, ...], tmp_path: Path, device: str
) -> None:
    """As `bundle` has it, which the table comes from."""
    rows = [replace(row, device=device, device_name="a board", arch="neon_dot") for row in host_rows]
    store.write(tmp_path / "lut" / f"{device}.csv", rows)
    found = allocate(AllocateRequest("resnet18", device=device, folder=tmp_path, limits=SMALL))
    assert (found.bits.batch, found.bits.device_name) == (1, "a board")


def test_a_table_whose_name_says_more_is_read_by_its_path_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own, recorded = Path("mine/lut"), Path("lut/recorded")
    for folder in (own, recorded):
        folder.mkdir(parents=True)
    for name in ("cpu-12345678-five", "cpu-12345678-shapes", "cpu-five", "cpux-12345678"):
        (recorded / f"{name}.csv").touch()
    for device in ("cpu", "auto"):
        with pytest.raises(InvalidFile, match=r"cpu\.csv: no such file"):
            which_lut(device, Path("mine"))
    (recorded / "cpu-12345678.csv").touch()
    for device in ("cpu", "auto"):
        assert which_lut(device, Path("mine")).path == recorded / "cpu-12345678.csv"
    # of one's own likewise: aarch64-neon is another device, not a table of aarch64
    for name in ("aarch64-neon", "aarch64-neon-12345678", "cpu-12345678-five"):
        (own / f"{name}.csv").touch()
    with pytest.raises(InvalidFile, match=r"aarch64\.csv: no such file"):
        which_lut("aarch64", Path("mine"))
    assert which_lut("cpu", Path("mine")).path == recorded / "cpu-12345678.csv"
    (own / "aarch64-87654321.csv").touch()
    assert which_lut("aarch64", Path("mine")).path == own / "aarch64-87654321.csv"
    with pytest.raises(InvalidFile, match="several tables"):
        which_lut("aarch64-neon", Path("mine"))


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"is not a bits\.json"):
        allocate(replace(limit(Quantity.LATENCY, "0.5"), out=out))
    assert out.read_text() == "mine"
    with pytest.raises(ProfilerError, match="a confidence lies between 0 and 1"):
        allocate(replace(limit(Quantity.LATENCY, "0.5"), confidence=95.0))


def test_the_same_request_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path in paths:
        allocate(replace(limit(Quantity.SIZE, "0.4"), out=path))
    assert paths[0].read_bytes() == paths[1].read_bytes()
