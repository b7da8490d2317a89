"""Demand and table on networks small enough to list the kernels by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import InvalidWorkload
from profiler.frontend.builtin import BUILTINS
from profiler.lut.demand import Role, Variant, conversions, demand, units
from profiler.lut.schema import LutRow, Source
from profiler.lut.table import Joules, network_table, prices
from profiler.record import CacheMode, Conditions
from profiler.workload import INT4, INT8, Epilogue, KernelSpec, Layer, Network, Op, Precision, Tensor, Workload

BOTH = (INT8, INT4)


def conv(name: str, source: str, output: str, *, relu: bool = False, out: int = 4, channels: int = 4) -> Layer:
    return Layer(name, Workload(Op.CONV2D, 1, 8, 8, channels, out), (source,), output, relu)


def add(name: str, a: str, b: str, output: str, *, relu: bool = True) -> Layer:
    return Layer(name, Workload(Op.ADD, 1, 8, 8, 4, 4), (a, b), output, relu)


def network(*layers: Layer, unsigned: str = "") -> Network:
    """Tensors are signed but for those whose (one-letter) names are in ``unsigned``."""
    channels = {layer.inputs[0]: layer.workload.in_channels for layer in layers}
    channels |= {layer.output: layer.workload.out_channels for layer in layers}
    names = dict.fromkeys(name for layer in layers for name in (*layer.inputs, layer.output))
    tensors = tuple(Tensor(n, 8, 8, channels.get(n, 4), signed=n not in unsigned) for n in names)
    return Network("net", 1, tensors, layers)


def types(spec: KernelSpec) -> str:
    """The types of a spec in short: ``input[+input2][*weight]>output:epilogue``, e.g. ``u8+s8*s8>u8:add_requant``."""

    def short(dtype: object) -> str:
        text = getattr(dtype, "value", "")
        return text.replace("uint", "u").replace("int", "s")

    second = f"+{short(spec.input2_dtype)}" if spec.input2_dtype else ""
    weight = f"*{short(spec.weight_dtype)}" if spec.weight_dtype else ""
    return f"{short(spec.input_dtype)}{second}{weight}>{short(spec.output_dtype)}:{spec.epilogue.value}"


def listed(
    net: Network, precisions: tuple[Precision, ...] = BOTH, *, mixed: bool = False
) -> list[tuple[str, str, str]]:
    """(layers, types, role) of each demand, in order."""
    return [("+".join(d.layers), types(d.spec), d.role.value) for d in demand(net, precisions, mixed=mixed)]


def test_a_chain_ends_in_int32_logits() -> None:
    net = network(conv("a", "x", "t", relu=True), conv("b", "t", "y", out=10), unsigned="t")
    assert listed(net) == [
        ("a", "s8*s8>u8:requant_relu", "uniform"),
        ("a", "s4*s4>u4:requant_relu", "uniform"),
        ("b", "u8*s8>s32:bias", "uniform"),
        ("b", "u4*s4>s32:bias", "uniform"),
    ]


def test_a_chain_with_mixed_precisions() -> None:
    net = network(conv("a", "x", "t", relu=True), conv("b", "t", "y", out=10), unsigned="t")
    added = [entry for entry in listed(net, mixed=True) if entry[2] == "mixed"]
    assert added == [
        ("a", "s8*s8>u4:requant_relu", "mixed"),
        ("a", "s4*s4>u8:requant_relu", "mixed"),
    ]


BLOCK = network(
    conv("main1", "x", "a", relu=True),
    conv("main2", "a", "b"),
    conv("shortcut", "x", "s"),
    add("add", "b", "s", "y"),
    conv("next", "y", "z", out=10),
    unsigned="xay",
)


def test_a_downsampling_block() -> None:
    assert listed(BLOCK, (INT8,)) == [
        ("main1", "u8*s8>u8:requant_relu", "uniform"),
        ("main2", "u8+s8*s8>u8:add_requant_relu", "uniform"),
        ("main2", "u8*s8>s32:bias", "alternative"),
        ("add", "s32+s8>u8:requant_relu", "alternative"),
        ("shortcut", "u8*s8>s8:requant", "uniform"),
        ("next", "u8*s8>s32:bias", "uniform"),
    ]


def test_a_downsampling_block_mixed() -> None:
    plain, mixed = demand(BLOCK, BOTH, mixed=False), demand(BLOCK, BOTH, mixed=True)
    assert [d for d in mixed if d.role is not Role.MIXED] == list(plain)
    texts = [(d.layers, types(d.spec)) for d in mixed]
    fused = [text for layers, text in texts if "add_requant_relu" in text]
    assert sorted(fused) == sorted(
        f"u{p}+s{r}*s{p}>u{o}:add_requant_relu" for p in (8, 4) for r in (8, 4) for o in (8, 4)
    )
    separate = [text for layers, text in texts if layers == ("add",)]
    assert sorted(separate) == sorted(f"s32+s{r}>u{o}:requant_relu" for r in (8, 4) for o in (8, 4))
    assert [text for layers, text in texts if layers == ("main1", "shortcut")] == [  # the tie
        "u8>u4:requant",
        "u4>u8:requant",
    ]


def test_an_identity_block_reads_its_input_twice() -> None:
    net = network(conv("a", "x", "t", relu=True), conv("b", "t", "u"), add("add", "x", "u", "y"), unsigned="xty")
    assert ("b", "u8+u8*s8>u8:add_requant_relu", "uniform") in listed(net)
    assert ("add", "s32+u8>u8:requant_relu", "alternative") in listed(net)


def test_a_convolution_that_adds_its_own_input_has_one_type_for_both() -> None:
    net = network(conv("a", "x", "t"), add("add", "t", "x", "y"), unsigned="y")
    fused = {text for _, text, _ in listed(net, mixed=True) if "add_requant" in text}
    assert fused == {f"s{p}+s{p}*s{p}>u{o}:add_requant_relu" for p in (8, 4) for o in (8, 4)}


def test_an_addition_that_cannot_move() -> None:
    net = network(add("add", "x", "z", "y", relu=False), unsigned="z")
    assert listed(net) == [("add", "s8+u8>s8:requant", "uniform"), ("add", "s4+u4>s4:requant", "uniform")]
    assert len(listed(net, mixed=True)) == 8
    same = network(add("add", "x", "x", "y", relu=False))
    assert {text for _, text, _ in listed(same, mixed=True)} == {
        f"s{p}+s{p}>s{o}:requant" for p in (8, 4) for o in (8, 4)
    }
    wrong = network(replace(net.layers[0], inputs=("x", "z", "x")))
    with pytest.raises(InvalidWorkload, match="two operands"):
        demand(wrong, BOTH, mixed=False)


def test_the_table_of_kernel_counts_is_true() -> None:
    """That of docs/below_four_bits.md: of two precisions and of five, without mixtures and with them."""
    text = (Path(__file__).parents[2] / "docs" / "below_four_bits.md").read_text(encoding="utf-8")
    five = tuple(map(Precision.parse, ("int8", "int4", "a2w2", "a2w1", "a1w1")))
    for name in ("resnet18", "resnet50", "inceptionv3"):
        network = BUILTINS[name](1)
        counts = [len(demand(network, few, mixed=mixed)) for few in (five[:2], five) for mixed in (False, True)]
        assert f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |" in text


def test_pools_and_concats() -> None:
    pool = Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1)
    net = network(
        Layer("max", pool, ("x",), "p"),
        Layer("avg", replace(pool, op=Op.AVG_POOL), ("x",), "q"),
        Layer("cat.0", Workload(Op.CONCAT, 1, 8, 8, 4, 8), ("p",), "c"),
        Layer("cat.1", Workload(Op.CONCAT, 1, 8, 8, 4, 8), ("q",), "c"),
        unsigned="xpqc",
    )
    assert listed(net, (INT4,), mixed=True) == [
        ("max", "u4>u4:none", "uniform"),
        ("avg", "u4>u4:requant", "uniform"),
        ("cat.0+cat.1", "u4>u4:requant", "uniform"),
    ]
    assert [e for e in listed(net, mixed=True) if e[2] == "mixed"] == [
        ("avg", "u8>u4:requant", "mixed"),
        ("avg", "u4>u8:requant", "mixed"),
        ("cat.0+cat.1", "u8>u4:requant", "mixed"),
        ("cat.0+cat.1", "u4>u8:requant", "mixed"),
    ]
    with pytest.raises(InvalidWorkload, match=r"'max'.*no ReLU"):
        demand(network(replace(net.layers[0], relu=True)), BOTH, mixed=False)


def test_a_tie_behind_a_max_pool_can_be_undone_at_each_place_that_is_read() -> None:
    pool = Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1)
    net = network(Layer("p", pool, ("x",), "u"), conv("a", "u", "v"), conv("b", "x", "w"))
    converted = [(d.layers, types(d.spec)) for d in demand(net, BOTH, mixed=True) if d.spec.workload.op is Op.CONVERT]
    assert converted == [(("a", "b"), "s8>s4:requant"), (("a", "b"), "s4>s8:requant")]
    untied = network(Layer("p", pool, ("x",), "u"), conv("a", "u", "v"))
    assert all(d.spec.workload.op is not Op.CONVERT for d in demand(untied, BOTH, mixed=True))


def test_precisions_with_one_activation_type_need_no_conversion() -> None:
    w4a8 = Precision("w4a8", 4, 8)
    assert conversions(BLOCK, "x", (INT8, w4a8)) == ()
    assert len(conversions(BLOCK, "x", (INT8, INT4, w4a8))) == 2
    assert ("main1", "u8*s4>u8:requant_relu", "uniform") in listed(BLOCK, (w4a8,))


def test_a_layer_with_relu_that_nobody_reads_is_requantized() -> None:
    net = network(conv("a", "x", "y", relu=True), unsigned="y")
    assert listed(net, (INT8,)) == [("a", "s8*s8>u8:requant_relu", "uniform")]


def test_only_what_the_model_hands_out_is_left_in_int32() -> None:
    net = network(conv("a", "x", "t"), add("add", "t", "x", "y"), conv("b", "y", "z"))
    skipped = replace(net, outputs=(), skipped=("what read z",))
    assert listed(skipped, (INT8,))[-1] == ("b", "s8*s8>s8:requant", "uniform")
    handed_out = replace(net, outputs=("t", "z"))
    assert [text for _, text, role in listed(handed_out, (INT8,)) if role == "uniform"] == [
        "s8*s8>s8:requant",  # also read, so in the type that its reader wants
        "s8+s8>s8:requant_relu",
        "s8*s8>s32:bias",
    ]


def test_a_shared_kernel_is_demanded_once_with_its_strongest_role() -> None:
    net = network(conv("a", "x", "t"), add("add", "t", "x", "u"), conv("b", "u", "y"))
    (shared,) = [d for d in demand(net, (INT8,), mixed=False) if d.spec.epilogue is Epilogue.BIAS]
    assert (shared.layers, shared.role) == (("a", "b"), Role.UNIFORM)


def test_what_cannot_be_a_layer() -> None:
    move = Layer("m", Workload(Op.RELAYOUT, 1, 8, 8, 4, 4), ("x",), "y")
    with pytest.raises(InvalidWorkload, match="relayout"):
        demand(network(move), BOTH, mixed=False)


# -- table -------------------------------------------------------------------------------------------------------------


def price_of(net: Network, seconds: Mapping[tuple[str, str], float]) -> dict[KernelSpec, float]:
    """Prices by (layer, types); the rest has none."""
    return {
        d.spec: seconds[layer, types(d.spec)]
        for d in demand(net, BOTH, mixed=False)
        for layer in d.layers
        if (layer, types(d.spec)) in seconds
    }


BLOCK_PRICES = {
    ("main1", "u8*s8>u8:requant_relu"): 4.0,
    ("main1", "u4*s4>u4:requant_relu"): 2.0,
    ("main2", "u8+s8*s8>u8:add_requant_relu"): 6.0,
    ("main2", "u8*s8>s32:bias"): 4.0,
    ("add", "s32+s8>u8:requant_relu"): 1.0,
    ("main2", "u4+s4*s4>u4:add_requant_relu"): 3.0,
    ("add", "s32+s4>u4:requant_relu"): 0.5,
    ("shortcut", "u8*s8>s8:requant"): 3.0,
    ("next", "u4*s4>s32:bias"): 8.0,
}


def test_the_table_takes_the_cheaper_way_and_says_what_is_missing() -> None:
    table = network_table(BLOCK, BOTH, price_of(BLOCK, BLOCK_PRICES))
    assert [row.layers for row in table.rows] == [("main1",), ("main2", "add"), ("shortcut",), ("next",)]
    cells = [[(c.latency_s, c.variant) for c in row.cells] for row in table.rows]
    assert cells == [
        [(4.0, Variant.PLAIN), (2.0, Variant.PLAIN)],
        [(5.0, Variant.SEPARATE), (3.0, Variant.FUSED)],
        [(3.0, Variant.PLAIN), (None, None)],
        [(None, None), (8.0, Variant.PLAIN)],
    ]
    assert [row.speedup(1) for row in table.rows] == [2.0, pytest.approx(5 / 3), None, None]
    assert [types(s) for s in table.rows[2].cells[1].missing] == ["u4*s4>s4:requant"]
    int8, int4 = table.totals
    assert (int8.latency_s, int8.priced, int8.lines, int8.complete) == (12.0, 3, 4, False)
    assert (int4.latency_s, int4.priced, int4.compared) == (13.0, 3, 2)
    assert int4.speedup == pytest.approx(9 / 5)
    assert int8.speedup == 1.0
    assert (table.network, table.batch, table.precisions) == ("net", 1, BOTH)


def test_joules_are_those_of_the_way_that_is_taken() -> None:
    price = price_of(BLOCK, BLOCK_PRICES)
    joules = {spec: Joules(10 * latency_s, latency_s) for spec, latency_s in price.items()}
    table = network_table(BLOCK, BOTH, price, joules)
    for row in table.rows:
        for cell in row.cells:
            assert cell.joules == (None if cell.latency_s is None else Joules(10 * cell.latency_s, cell.latency_s))
    assert [total.joules for total in table.totals] == [Joules(120.0, 12.0), Joules(130.0, 13.0)]
    assert [total.metered for total in table.totals] == [3, 3]
    _, *others = joules
    assert Joules(1.0) + Joules(2.0, 3.0) == Joules(3.0, None), "what is above idle is known of both, or not at all"
    fewer = network_table(BLOCK, BOTH, price, {spec: joules[spec] for spec in others})
    assert sum(total.metered for total in fewer.totals) == 5
    plain = network_table(BLOCK, BOTH, price)
    assert [(total.joules, total.metered) for total in plain.totals] == [(None, 0)] * 2


def test_a_table_without_any_price() -> None:
    table = network_table(BLOCK, BOTH, {})
    assert [(t.latency_s, t.priced, t.speedup) for t in table.totals] == [(0, 0, None)] * 2


def test_a_table_with_all_prices_is_complete() -> None:
    table = network_table(BLOCK, BOTH, {d.spec: 1.0 for d in demand(BLOCK, BOTH, mixed=False)})
    assert all(total.complete and total.speedup == 1.0 and total.latency_s == 4.0 for total in table.totals)
    assert table.rows[1].cells[0].variant is Variant.FUSED  # one kernel, not two


def test_every_layer_is_in_one_unit() -> None:
    names = [name for unit in units(BLOCK) for name in unit.layers]
    assert sorted(names) == sorted(layer.name for layer in BLOCK.layers)


def test_prices_are_of_one_source_and_one_set_of_conditions() -> None:
    spec = demand(BLOCK, (INT8,), mixed=False)[0].spec
    published = LutRow(
        spec, Conditions(), Source.PUBLISHED, "0" * 8, "cpu", "A", "x", 2.0, 1.0, "0.1", citation="somebody, somewhere"
    )
    predicted = replace(published, source=Source.PREDICTED, latency_median_s=3.0)
    cold = replace(predicted, conditions=Conditions(cache_mode=CacheMode.COLD), latency_median_s=9.0)
    rows = [predicted, published, cold]
    assert prices(rows, Conditions()) == {}
    assert prices(rows, Conditions(), (Source.PREDICTED,)) == {spec: 3.0}
    for order in (rows, rows[::-1]):
        assert prices(order, Conditions(), (Source.MEASURED, Source.PUBLISHED, Source.PREDICTED)) == {spec: 2.0}
