"""What memory does not admit below 8 bits: every allocation that is offered can be planned, what is kept out cannot."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.allocation.bits_file import Bits, LatencyParts, LayerBits, TensorBits
from profiler.allocation.deployment import Deployment
from profiler.allocation.freedom import Freedom
from profiler.allocation.network_problem import NetworkProblem, network_problem
from profiler.allocation.problem import Assignment, violations
from profiler.allocation_stages import outcome
from profiler.errors import InvalidFile, ProfilerError, UnsupportedModel
from profiler.frontend import BUILTINS
from profiler.hardware import DotIsa
from profiler.lut.demand import Role, demand
from profiler.lut.narrow_tensors import misfits, uniform_precisions
from profiler.network.calibrate import calibrate
from profiler.network.plan import plan
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.random_weights import random_images, random_weights
from profiler.network_stages.deployments import uniform_deployment
from profiler.space.cpu import reason_unsupported
from profiler.workload import INT4, INT8, Layer, Network, Op, Precision, Tensor, Workload
from tests.allocation.networks import branches, own_shortcut, random_prices, residual
from tests.network.integer_drafts import codeless


class Draft:
    """A network that grows layer by layer; methods give the name of the tensor that is written."""

    def __init__(self, size: int, channels: int) -> None:
        self.tensors = {"x": Tensor("x", size, size, channels, True)}
        self.layers: list[Layer] = []

    def conv(self, source: str, channels: int) -> str:
        t = self.tensors[source]
        work = Workload(Op.CONV2D, 1, t.height, t.width, t.channels, channels)
        return self._emit(work, (source,), signed=False, relu=True)

    def max_pool(self, source: str) -> str:
        t = self.tensors[source]
        work = Workload(Op.MAX_POOL, 1, t.height, t.width, t.channels, t.channels)
        return self._emit(work, (source,), t.signed)

    def grouped(self, source: str, channels: int, groups: int) -> str:
        t = self.tensors[source]
        work = Workload(Op.CONV2D, 1, t.height, t.width, t.channels, channels, groups=groups)
        return self._emit(work, (source,), signed=False, relu=True)

    def dense(self, source: str, features: int = 4) -> str:
        t = self.tensors[source]
        work = Workload(Op.DENSE, 1, 1, 1, t.height * t.width * t.channels, features)
        return self._emit(work, (source,), signed=True)

    def concat(self, sources: list[str], flat: bool = False) -> str:
        parts = [self.tensors[source] for source in sources]
        shapes = [(1, 1, t.height * t.width * t.channels) if flat else (t.height, t.width, t.channels) for t in parts]
        output, total = f"t{len(self.tensors)}", sum(shape[2] for shape in shapes)
        for source, shape in zip(sources, shapes, strict=True):
            signed = any(t.signed for t in parts)
            self._emit(Workload(Op.CONCAT, 1, *shape, total), (source,), signed, output=output)
        return output

    def network(self) -> Network:
        return Network("draft", 1, tuple(self.tensors.values()), tuple(self.layers))

    def _emit(self, work: Workload, inputs: tuple[str, ...], signed: bool, relu: bool = False, output: str = "") -> str:
        output = output or f"t{len(self.tensors)}"
        self.tensors[output] = Tensor(output, work.out_height, work.out_width, work.out_channels, signed)
        self.layers.append(Layer(f"l{len(self.layers)}", work, inputs, output, relu))
        return output


def odd_slices() -> Network:
    """The second slice begins at channel 3, behind a pool; an even one does not."""
    d = Draft(2, 4)
    a, b = d.conv("x", 3), d.conv("x", 4)
    odd, even = d.max_pool(d.concat([a, b])), d.concat([b, a])
    d.dense(d.conv(odd, 2))
    d.dense(d.conv(even, 2))
    return d.network()


def byte_slices() -> Network:
    """A second slice that begins at channel 8, and one that begins at channel 4; the last ones end within a byte."""
    d = Draft(2, 4)
    a, b = d.conv("x", 8), d.conv("x", 4)
    d.dense(d.conv(d.max_pool(d.concat([a, b])), 2))
    d.dense(d.conv(d.concat([b, a]), 2))
    return d.network()


def odd_rows() -> Network:
    """Images of 3 channels, flattened by a dense layer that reads alone, by one that does not, and side by side."""
    d = Draft(2, 4)
    alone, shared, a, b = d.conv("x", 3), d.conv("x", 3), d.conv("x", 3), d.conv("x", 2)
    d.dense(alone)
    d.dense(d.max_pool(shared))
    d.dense(d.conv(shared, 4))
    d.dense(d.concat([b, a], flat=True))
    return d.network()


def whole_words() -> Network:
    """Images of 64 channels, flattened: unsigned ones, behind a pool, and signed ones."""
    d = Draft(2, 64)
    d.dense("x")
    d.dense(d.max_pool(d.conv("x", 64)))
    return d.network()


def groups() -> Network:
    """Groups of 2 and of 8 output channels, and a depthwise convolution."""
    d = Draft(2, 8)
    narrow, wide, depthwise = d.grouped("x", 8, 4), d.grouped("x", 16, 2), d.grouped("x", 8, 8)
    for name in (narrow, wide, depthwise):
        d.dense(d.conv(name, 64))
    return d.network()


def trained(network: Network) -> TrainedNetwork:
    weights, images = random_weights(network, 0), random_images(network, 1, 0)
    return TrainedNetwork(network, weights, calibrate(network, weights, images))


def can_run(real: TrainedNetwork, deployment: Deployment) -> bool:
    """Whether quantizer and plan take it and every step has a kernel; they know nothing of what is tested here."""
    integers = integer_network(real, deployment)
    if any(reason_unsupported(step.spec, isa) for step in integers.steps for isa in DotIsa):
        return False
    reason = ""
    try:
        plan(integers, codeless(integers))
    except UnsupportedModel as error:
        reason = str(error)
    assert not reason or any(known in reason for known in ("in the middle of a byte", "cannot be read as one row"))
    return not reason


def problem_of(
    network: Network, precisions: tuple[Precision, ...] = (INT8, INT4), converts: bool = True
) -> NetworkProblem:
    prices = random_prices(network, precisions, np.random.default_rng(0), converts)
    return network_problem(network, prices, lambda layer, precision: 1.0, Freedom(precisions))


def offered(found: NetworkProblem) -> Iterator[Assignment]:
    """All assignments that the problem admits."""
    problem = found.problem
    for levels in product(*(choice.allowed for choice in problem.choices)):
        wanted = [tuple(levels[choice] for choice in table.choices) for table in problem.tables]
        options = [
            [option.levels for option in table.options].index(chosen)
            for table, chosen in zip(problem.tables, wanted, strict=True)
        ]
        assignment = Assignment(levels, tuple(options))
        if not violations(problem, assignment):
            yield assignment


def bits_of(network: Network, layers: tuple[LayerBits, ...], tensors: tuple[TensorBits, ...], **fields: object) -> Bits:
    kinds = {name: fields.get(name, ()) for name in ("conversions", "separate")}
    return Bits(
        network.name, 1, layers, tensors, **kinds, limits=(), sensitivity=0.0, sensitivity_source="", bound=0.0,
        gap=0.0, status="optimal", latency=LatencyParts(0, 0, 0, 0, 0), size_bytes=0.0, bops=0.0, activation_bytes=0.0,
        energy_j=None, device="", device_name="", fingerprint="", lut="",
    )  # fmt: skip


def bits(found: NetworkProblem, assignment: Assignment) -> Bits:
    return bits_of(
        found.network,
        outcome.layer_bits(found, assignment),
        outcome.tensor_bits(found, assignment),
        conversions=outcome.tensor_conversions(found, assignment),
        separate=outcome.separate_additions(found, assignment),
    )


@pytest.mark.parametrize("names", ["int8,int4", "int8,a2w2", "int8,a2w1,a1w1"])
@pytest.mark.parametrize("converts", [True, False])
@pytest.mark.parametrize("make", [odd_slices, odd_rows, branches, own_shortcut, groups])
def test_every_allocation_that_is_offered_can_be_planned(make: object, converts: bool, names: str) -> None:
    network: Network = make()  # type: ignore[operator]
    found = problem_of(network, tuple(map(Precision.parse, names.split(","))), converts)
    real = trained(network)
    count = 0
    for assignment in islice(offered(found), 150):
        chosen = bits(found, assignment)
        chosen.require_network(network)
        assert can_run(real, Deployment.of(chosen))
        count += 1
    assert count > 1


@pytest.mark.parametrize("precision", ["int4", "a4w2", "a3w1", "a2w2", "a1w1"])
@pytest.mark.parametrize("make", [odd_slices, byte_slices, odd_rows, whole_words, groups])
def test_nothing_is_kept_out_that_can_be_planned(make: object, precision: str) -> None:
    """Without conversions, every type of every tensor: those that can run are those that no reason speaks against."""
    network: Network = make()  # type: ignore[operator]
    few = Precision.parse(precision)
    real, narrow = trained(network), misfits(network, few.activation_bits)
    owners = list(dict.fromkeys(network.type_owner(tensor.name) for tensor in network.tensors))
    free = [name for name in owners if any(network.type_owner(layer.inputs[0]) == name for layer in network.layers)]
    runs = 0
    for chosen in product((INT8, few), repeat=len(free)):
        of_owner = dict.fromkeys(owners, INT8) | dict(zip(free, chosen, strict=True))
        tensors = {tensor.name: of_owner[network.type_owner(tensor.name)] for tensor in network.tensors}
        layers = {layer.name: tensors[layer.inputs[0]] for layer in network.weighted_layers}
        fits = not any(tensors[name] is few for name in narrow.tensors)
        fits = fits and not any(layers[name] is few for name in narrow.layers)
        assert can_run(real, Deployment(layers, tensors)) is fits
        runs += fits
    assert runs > 0
    assert (runs < 2 ** len(free)) is bool(narrow.tensors or narrow.layers)


def test_which_tensors_and_why() -> None:
    slices, rows = odd_slices(), odd_rows()
    (pool,) = [layer for layer in slices.layers if layer.workload.op is Op.MAX_POOL]
    found = misfits(slices, 4)
    assert set(found.tensors) == {pool.inputs[0], pool.output}
    assert set(found.tensors.values()) == {"the slice of layer 'l3' begins at channel 3 of 't3', in a byte"}
    assert not found.layers
    found = misfits(rows, 4)
    assert set(found.layers) == {"l4", "l6"}
    assert found.layers["l4"] == "layer 'l4' reads 't1' flattened, and its 3 channels fill no whole bytes"
    assert set(found.tensors) == {"t3", *(c.output for c in rows.layers if c.output == "t3")}
    for bits_of_eight in (8, 16, 32):
        assert not misfits(slices, bits_of_eight).tensors
        assert not misfits(rows, bits_of_eight).layers


def test_below_four_bits_the_reasons_say_so() -> None:
    found = misfits(byte_slices(), 2)
    assert set(found.tensors.values()) == {"the slice of layer 'l8' begins at channel 4 of 't7', in a byte"}
    assert not misfits(byte_slices(), 4).tensors
    words = misfits(whole_words(), 1)
    assert not words.tensors
    assert words.layers == {
        "l0": "layer 'l0' reads 'x' flattened, and the bit planes of its pixels (int2, 64 channels) do not follow each "
        "other"
    }  # one plane of whole words is a row; a signed tensor has two
    assert set(misfits(whole_words(), 2).layers) == {"l0", "l3"}
    assert misfits(groups(), 1).tensors == {
        "t1": "groups of 2 output channels of layer 'l0' would share bytes of bit planes (1 bits)"
    }
    assert not misfits(groups(), 4).tensors


@pytest.mark.parametrize("precision", ["int4", "a2w2", "a1w1"])
@pytest.mark.parametrize("make", [odd_slices, byte_slices, odd_rows, whole_words, groups])
def test_a_uniform_network_is_wide_where_it_has_to_be(make: object, precision: str) -> None:
    network: Network = make()  # type: ignore[operator]
    few = Precision.parse(precision)
    real, found = trained(network), uniform_precisions(network, few)
    assert set(uniform_precisions(network, INT8).values()) == {INT8}
    chosen = uniform_deployment(network, few, {})
    assert can_run(real, chosen)
    if few is INT4 and make in (byte_slices, whole_words, groups):
        assert set(found.values()) == {INT4}
        return
    assert set(found.values()) == {few, INT8}
    assert INT8 in chosen.layers.values()
    for owner in {network.type_owner(name) for name, precision in found.items() if precision is INT8}:
        if not any(network.type_owner(layer.inputs[0]) == owner for layer in network.layers):
            continue
        narrower = {name: few if network.type_owner(name) == owner else p for name, p in found.items()}
        layers = {layer.name: narrower[layer.inputs[0]] for layer in network.weighted_layers}
        assert not can_run(real, Deployment(layers, narrower))  # it is wide for a reason


@pytest.mark.parametrize("make", [*BUILTINS.values()])
def test_networks_of_the_house_are_narrow_throughout(make: object) -> None:
    network: Network = make(1)  # type: ignore[operator]
    assert set(uniform_precisions(network, INT4).values()) == {INT4}


def test_the_kernels_of_a_uniform_network_are_asked_for() -> None:
    for network in (odd_slices(), odd_rows(), residual(), branches()):
        real = trained(network)
        wanted = {entry.spec: entry.role for entry in demand(network, (INT8, INT4), mixed=False)}
        for precision in (INT8, INT4):
            specs = {step.spec for step in integer_network(real, uniform_deployment(network, precision, {})).steps}
            assert specs <= set(wanted)
            assert {wanted[spec] for spec in specs} == {Role.UNIFORM}


@pytest.mark.parametrize("make", [odd_slices, odd_rows, branches, own_shortcut, residual])
def test_the_kernels_of_every_allocation_are_asked_for(make: object) -> None:
    network: Network = make()  # type: ignore[operator]
    wanted = {entry.spec for entry in demand(network, (INT8, INT4), mixed=True)}
    found = problem_of(network)
    for table in found.tables:
        assert {kernel.spec for way in table.ways for kernel in way.kernels} <= wanted
    assert {spec for shared in found.choices.shared for spec in shared.kernels.values() if spec} <= wanted


def test_a_network_that_may_only_be_narrow_is_refused() -> None:
    with pytest.raises(
        ProfilerError, match=r"tensor 't3': no precision is left: the slice of .*; allow int8"
    ) as caught:
        problem_of(branch_without_weights(), (INT4,))
    assert "\n" not in str(caught.value)
    with pytest.raises(ProfilerError, match=r"l4: no precision is left: layer 'l4' reads 't1' flattened.*; allow int8"):
        problem_of(odd_rows(), (INT4,))


def branch_without_weights() -> Network:
    d = Draft(1, 4)
    d.concat([d.conv("x", 3), d.conv("x", 4)])
    return d.network()


def test_hand_made_bits_that_do_not_fit_are_refused() -> None:
    network = odd_rows()
    narrow = [LayerBits(layer.name, "int4" if layer.name == "l4" else "int8") for layer in network.weighted_layers]
    with pytest.raises(InvalidFile, match="layer 'l4' cannot be int4: layer 'l4' reads 't1' flattened, and its 3 chan"):
        bits_of(network, tuple(narrow), (TensorBits("t1", "int4"),)).require_network(network)
    wide = tuple(LayerBits(layer.name, "int8") for layer in network.weighted_layers)
    with pytest.raises(InvalidFile, match="tensor 't3' cannot be int4: layer 'l10' reads 't3' flattened"):
        bits_of(network, wide, (TensorBits("t3", "int4"),)).require_network(network)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_random_networks(data: st.DataObject) -> None:
    """Of any concatenations and flattenings: uniform and random allocations can be planned."""
    d = Draft(data.draw(st.integers(1, 2)), data.draw(st.integers(1, 4)))
    for _ in range(data.draw(st.integers(1, 4))):
        images = [name for name, t in d.tensors.items() if (t.height, t.width) == (d.tensors["x"].height,) * 2]
        source = data.draw(st.sampled_from(images))
        kind = data.draw(st.sampled_from(["conv", "conv", "pool", "concat"]))
        if kind == "conv":
            d.conv(source, data.draw(st.integers(1, 4)))
        elif kind == "pool":
            d.max_pool(source)
        else:
            d.concat([source, data.draw(st.sampled_from(images))])
    names = list(d.tensors)
    d.dense(names[-1])
    d.dense(d.concat([names[-1], data.draw(st.sampled_from(names))], flat=True))
    network = d.network()
    real = trained(network)
    assert can_run(real, uniform_deployment(network, INT4, {}))
    found = problem_of(network, converts=data.draw(st.booleans()))
    for index, assignment in enumerate(offered(found)):
        if index == 20:
            break
        chosen = bits(found, assignment)
        chosen.require_network(network)
        assert can_run(real, Deployment.of(chosen))
