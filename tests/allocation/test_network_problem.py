"""The problem of a network against trying all precisions of layers and tensors, with costs counted layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, inf

import numpy as np
import pytest

from profiler.allocation.freedom import Freedom, freedom
from profiler.allocation.network_problem import NetworkProblem, network_problem
from profiler.allocation.price import Price
from profiler.allocation.problem import Limit, Quantity
from profiler.allocation.solve import Solver
from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.lut.demand import Variant, conversion, demand, implementations, units
from profiler.workload import INT4, INT8, KernelSpec, Network, Op, Precision
from tests.allocation.networks import W4A8, branches, own_shortcut, price, random_prices, residual

Prices = dict[KernelSpec, Price]


@dataclass(frozen=True)
class Found:
    """One way to run a network: its costs, counted here."""

    sensitivity: float
    latency_s: float
    energy_j: float
    size_bytes: float
    bops: float
    peak_bytes: float


def everything(
    network: Network, precisions: Sequence[Precision], prices: Prices, costs: Mapping[tuple[str, str], float],
    allowed: Mapping[str, tuple[int, ...]], tied: bool,
) -> Iterator[Found]:  # fmt: skip
    """All that the rules of the house admit, written down without the code that is tested: a precision per layer with
    weights, one per tensor, and for each fused addition whether it runs apart."""
    weighted = [layer.name for layer in network.weighted_layers]
    inside = {network.layer(conv).output for conv in network.fusions().values()}
    logits = {
        layer.output
        for layer in network.weighted_layers
        if layer.output in network.outputs and not layer.relu and not network.readers(layer.output)
    }
    typed = [t.name for t in network.tensors if t.name not in inside and t.name not in logits]
    fused = [unit.addition.name for unit in units(network) if unit.addition is not None]
    for levels in product(*(allowed.get(name, range(len(precisions))) for name in weighted)):
        of_layer = dict(zip(weighted, (precisions[level] for level in levels), strict=True))
        for stored in storages(network, typed, of_layer, precisions, tied):
            # One kernel reads in one type what it convolves and what it adds.
            if any(
                unit.other in unit.layer.inputs and of_layer[unit.layer.name] is not stored[unit.layer.inputs[0]]
                for unit in units(network)
            ):
                continue
            for apart in product((False, True), repeat=len(fused)):
                found = count(network, of_layer, stored, dict(zip(fused, apart, strict=True)), prices, costs)
                if found is not None:
                    yield found


def storages(
    network: Network,
    typed: Sequence[str],
    of_layer: Mapping[str, Precision],
    precisions: Sequence[Precision],
    tied: bool,
) -> Iterator[dict[str, Precision]]:
    """The precisions in which tensors may be stored, given those of the layers."""
    choices = []
    for name in typed:
        readers = weighted_readers(network, name)
        if len(readers) == 1:
            choices.append([of_layer[readers[0]]])
        elif readers and tied:
            choices.append([of_layer[readers[0]]] if len({of_layer[r] for r in readers}) == 1 else [])
        elif not readers and network.producer(name) is None:
            choices.append([precisions[0]])
        else:
            choices.append(list(precisions))
    for combination in product(*choices):
        stored = dict(zip(typed, combination, strict=True))
        if all(fits(network, name, stored, of_layer, precisions) for name in typed):
            yield stored


def weighted_readers(network: Network, tensor: str) -> list[str]:
    """Of a tensor and of all that max pools make one with it."""
    source = network.producer(tensor)
    if source is not None and source.workload.op is Op.MAX_POOL:
        return weighted_readers(network, source.inputs[0])
    return list(dict.fromkeys(_behind(network, tensor)))


def _behind(network: Network, tensor: str) -> Iterator[str]:
    for layer in network.readers(tensor):
        if layer.workload.op.has_weights:
            yield layer.name
        if layer.workload.op is Op.MAX_POOL:
            yield from _behind(network, layer.output)


def fits(
    network: Network, tensor: str, stored: Mapping[str, Precision], of_layer: Mapping[str, Precision],
    precisions: Sequence[Precision],
) -> bool:  # fmt: skip
    """A max pool keeps the type; what no layer with weights reads is no narrower than what it is made from; slices of
    a concatenation begin on a byte."""
    writers = [layer for layer in network.layers if layer.output == tensor]
    slices = [layer.workload.in_channels for layer in writers if layer.workload.op is Op.CONCAT]
    if stored[tensor].activation_bits < 4 and any(sum(slices[:number]) % 8 for number in range(len(slices))):
        return False
    for layer in writers:
        if layer.workload.op is Op.MAX_POOL:
            if stored[tensor] is not stored[layer.inputs[0]]:
                return False
        elif not weighted_readers(network, tensor):
            made_from = [stored[name] for name in layer.inputs if name in stored]
            if layer.workload.op.has_weights:
                made_from = [of_layer[layer.name]]
            if layer.workload.op is Op.ADD and layer.name in network.fusions():
                made_from.append(of_layer[network.fusions()[layer.name]])
            if any(precisions.index(stored[tensor]) > precisions.index(other) for other in made_from):
                return False
    return True


def count(
    network: Network, of_layer: Mapping[str, Precision], stored: Mapping[str, Precision], apart: Mapping[str, bool],
    prices: Prices, costs: Mapping[tuple[str, str], float],
) -> Found | None:  # fmt: skip
    """None where a kernel has no price."""
    specs: list[KernelSpec] = []
    for unit in units(network):
        read = {name: stored[name] for name in unit.tensors if name in stored}
        if unit.layer.workload.op.has_weights:
            read[unit.layer.inputs[0]] = of_layer[unit.layer.name]
        ways = {way.variant: way for way in implementations(network, unit, read)}
        variant = Variant.PLAIN
        if unit.addition is not None:
            variant = Variant.SEPARATE if apart[unit.addition.name] else Variant.FUSED
        specs += [kernel.spec for kernel in ways[variant].kernels]
    copies = {
        (layer.inputs[0], conversion(network, layer.inputs[0], stored[layer.inputs[0]], of_layer[layer.name]))
        for layer in network.weighted_layers
    }
    specs += [spec for _, spec in copies if spec is not None]
    if any(spec not in prices for spec in specs):
        return None
    return Found(
        sensitivity=sum(costs[name, precision.name] for name, precision in of_layer.items()),
        latency_s=sum(prices[spec].latency_s for spec in specs),
        energy_j=sum(prices[spec].energy_j or 0 for spec in specs),
        size_bytes=sum(network.layer(n).workload.weights * p.weight_bits / 8 for n, p in of_layer.items()),
        bops=sum(
            network.layer(n).workload.macs / network.batch * p.weight_bits * p.activation_bits
            for n, p in of_layer.items()
        ),
        peak_bytes=peak(network, of_layer, stored, apart),
    )


def peak(
    network: Network, of_layer: Mapping[str, Precision], stored: Mapping[str, Precision], apart: Mapping[str, bool]
) -> float:
    """Bytes at hand, kernel by kernel, by who reads what when."""
    order: list[tuple[str, list[str], list[str]]] = []  # kernel, tensors read, tensors written
    for unit in units(network):
        layer, addition = unit.layer, unit.addition
        if addition is None:
            order.append((layer.name, list(layer.inputs), [layer.output]))
        elif apart[addition.name]:
            order.append((layer.name, list(layer.inputs), [layer.output]))
            order.append((addition.name, list(addition.inputs), [addition.output]))
        else:
            other = [name for name in addition.inputs if name != layer.output]
            order.append((layer.name, [*layer.inputs, *other], [addition.output]))

    def size(name: str) -> float:
        shape = network.tensor(name)
        if name not in stored:
            return network.batch * shape.height * shape.width * shape.channels * 4
        return stored_bytes(network, name, stored[name])

    first_written = {}
    last_read: dict[str, int] = {}
    for index, (_, reads, writes) in enumerate(order):
        for name in reads:
            first_written.setdefault(name, 0)
            last_read[name] = index
        for name in writes:
            first_written.setdefault(name, index)
            last_read[name] = max(index, last_read.get(name, 0))
    for name in network.outputs:
        last_read[name] = len(order) - 1
    kernels = [name for name, _, _ in order]
    most = 0.0
    for index in range(len(order)):
        at_hand = sum(size(name) for name in first_written if first_written[name] <= index <= last_read[name])
        for tensor in {layer.inputs[0] for layer in network.weighted_layers}:
            readers = [layer.name for layer in network.weighted_layers if layer.inputs[0] == tensor]
            places = [kernels.index(name) for name in readers]
            if min(places) <= index <= max(places):
                signed = network.tensor(tensor).signed
                copies = {of_layer[name].activation_dtype(signed): of_layer[name] for name in readers}
                copies.pop(stored[tensor].activation_dtype(signed), None)
                at_hand += sum(stored_bytes(network, tensor, precision) for precision in copies.values())
        most = max(most, at_hand)
    return most


def stored_bytes(network: Network, name: str, precision: Precision) -> float:
    """Below four bits: planes of 64-bit words; a signed tensor has two at least."""
    shape = network.tensor(name)
    pixels, bits = network.batch * shape.height * shape.width, precision.activation_bits
    if bits < 4:
        return pixels * (max(bits, 2) if shape.signed else bits) * 8 * ceil(shape.channels / 64)
    return pixels * ceil(shape.channels * bits / 8)


def random_costs(
    network: Network, precisions: Sequence[Precision], generator: np.random.Generator
) -> dict[tuple[str, str], float]:
    return {
        (layer.name, precision.name): float(generator.uniform(0, 1)) * 4 ** (8 - precision.weight_bits)
        for layer in network.weighted_layers
        for precision in precisions
    }


OF = {
    Quantity.LATENCY: lambda found: found.latency_s,
    Quantity.ENERGY: lambda found: found.energy_j,
    Quantity.SIZE: lambda found: found.size_bytes,
    Quantity.BOPS: lambda found: found.bops,
    Quantity.MEMORY: lambda found: found.peak_bytes,
}


@pytest.mark.parametrize("convertible", [True, False])
@pytest.mark.parametrize("precisions", [(INT8, INT4), (INT8, W4A8)], ids=lambda p: p[1].name)
@pytest.mark.parametrize("network", [residual(), branches(), own_shortcut()], ids=lambda n: n.name)
def test_optimum_is_that_of_trying_everything(
    network: Network, precisions: tuple[Precision, ...], convertible: bool
) -> None:
    generator = np.random.default_rng(len(network.layers) + 10 * convertible)
    for _ in range(2):
        prices = random_prices(network, precisions, generator, convertible)
        costs = random_costs(network, precisions, generator)
        free = Freedom(precisions, {"fc": (0,)})
        built = network_problem(network, prices, lambda a, b, c=costs: c[a, b], free, limits_memory=True)
        tied = not convertible and precisions[1] is INT4
        assert bool(built.choices.tied) == tied
        possible = list(everything(network, precisions, prices, costs, {"fc": (0,)}, tied))
        solver = Solver(built.problem)
        for quantity, of in OF.items():
            least = solver.least(quantity, ())
            assert least is not None
            assert solver.total(least, quantity) == pytest.approx(min(map(of, possible)), rel=1e-9), quantity
        for _ in range(12):
            limits = []
            for quantity, of in OF.items():
                values = sorted(map(of, possible))
                if generator.random() < 0.6:
                    limits.append(Limit(quantity, values[int(len(values) * generator.uniform(0.05, 0.9))] * (1 + 1e-7)))
            within = [f for f in possible if all(OF[limit.quantity](f) <= limit.most for limit in limits)]
            expected = min((found.sensitivity for found in within), default=inf)
            solution = solver.solve(limits)
            assert (inf if solution is None else solution.sensitivity) == pytest.approx(expected, rel=1e-9)


def test_three_precisions_of_which_two_have_the_same_activations() -> None:
    network, precisions = branches(), (INT8, W4A8, INT4)
    generator = np.random.default_rng(5)
    prices, costs = random_prices(network, precisions, generator), random_costs(network, precisions, generator)
    built = network_problem(network, prices, lambda a, b: costs[a, b], Freedom(precisions, {}), limits_memory=True)
    possible = list(everything(network, precisions, prices, costs, {}, tied=False))
    solver = Solver(built.problem)
    for share in (0.02, 0.1, 0.3, 0.6):
        latencies = sorted(found.latency_s for found in possible)
        most = latencies[int(share * len(latencies))] * (1 + 1e-7)
        expected = min(found.sensitivity for found in possible if found.latency_s <= most)
        solution = solver.solve([Limit(Quantity.LATENCY, most)])
        assert solution is not None
        assert solution.sensitivity == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("names", ["int8,a2w2,a2w1", "int4,a2w1,a1w1"])
@pytest.mark.parametrize("network", [residual(), own_shortcut()], ids=lambda n: n.name)
def test_precisions_below_four_bits(network: Network, names: str) -> None:
    """Some have the same type of a tensor: their readers share a copy, or need none."""
    precisions = tuple(map(Precision.parse, names.split(",")))
    generator = np.random.default_rng(7)
    prices, costs = random_prices(network, precisions, generator), random_costs(network, precisions, generator)
    held = {layer.name: (0,) for layer in network.weighted_layers[3:]}
    free = Freedom(precisions, held)
    built = network_problem(network, prices, lambda a, b: costs[a, b], free, limits_memory=True)
    possible = list(everything(network, precisions, prices, costs, held, tied=False))
    solver = Solver(built.problem)
    for quantity, of in OF.items():
        least = solver.least(quantity, ())
        assert least is not None
        assert solver.total(least, quantity) == pytest.approx(min(map(of, possible)), rel=1e-9), quantity
    for share in (0.02, 0.1, 0.3, 0.6):
        latencies = sorted(found.latency_s for found in possible)
        most = latencies[int(share * len(latencies))] * (1 + 1e-7)
        expected = min(found.sensitivity for found in possible if found.latency_s <= most)
        solution = solver.solve([Limit(Quantity.LATENCY, most)])
        assert solution is not None
        assert solution.sensitivity == pytest.approx(expected, rel=1e-9)


def problem_of(network: Network, prices: Prices, free: Freedom) -> NetworkProblem:
    return network_problem(network, prices, lambda layer, precision: 0.0 if precision == "int8" else 1.0, free)


def test_layers_without_a_price_are_named_or_left_out() -> None:
    network = residual()
    prices = random_prices(network, (INT8, INT4), np.random.default_rng(0))
    some = {spec: p for spec, p in prices.items() if spec.workload != network.layer("a").workload}
    free = freedom(network, (INT8, INT4))
    with pytest.raises(ProfilerError, match=r"^1 of 11 layers have no price: a; .*--scope priced"):
        problem_of(network, some, free)
    partly = problem_of(network, some, freedom(network, (INT8, INT4), only_priced=True))
    assert partly.unpriced == ("a",)
    assert partly.choices.choices[partly.choices.of_layer["a"]].allowed == (0,)
    assert "a" not in [table.unit.layer.name for table in partly.tables]
    with pytest.raises(ProfilerError, match="no layer of network 'residual' has a price"):
        problem_of(network, {}, freedom(network, (INT8, INT4), only_priced=True))


def test_a_precision_without_a_price_cannot_be_chosen_and_is_told() -> None:
    network = residual()
    prices = random_prices(network, (INT8, INT4), np.random.default_rng(0))
    stem = network.layer("stem").workload
    some = {s: p for s, p in prices.items() if not (s.workload == stem and s.weight_dtype is INT4.weight_dtype)}
    built = problem_of(network, some, freedom(network, (INT8, INT4)))
    assert built.gaps == (("stem", 2, 4),)
    solver = Solver(built.problem)
    found = solver.least(Quantity.SIZE, ())
    assert found is not None
    assert found.levels[built.choices.of_layer["stem"]] == 0


def test_kept_and_forbidden_layers() -> None:
    network = residual()
    free = freedom(network, (INT4, INT8), keep=("first", "last", "c*"), forbid=("a=int8",))
    assert free.precisions == (INT8, INT4)
    assert free.allowed == {"stem": (0,), "fc": (0,), "c": (0,), "a": (1,)}
    for keep, forbid, text in (
        (("nothing*",), (), "--keep: no convolution or dense layer of 'residual' is called 'nothing*'"),
        ((), ("a",), "--forbid a: write LAYER=PRECISION"),
        ((), ("a=int5",), "unknown precision 'int5'"),
        (("a",), ("a=int8",), "no precision is left for layer 'a'"),
    ):
        with pytest.raises(ProfilerError, match=text.replace("*", r"\*")):
            freedom(network, (INT8, INT4), keep, forbid)


def test_tied_layers_must_have_a_precision_in_common() -> None:
    network = residual()
    prices = random_prices(network, (INT8, INT4), np.random.default_rng(0), conversions=False)
    free = freedom(network, (INT8, INT4), keep=("a",), forbid=("shortcut=int8",))
    with pytest.raises(ProfilerError, match="the layers shortcut, a read one tensor"):
        problem_of(network, prices, free)


def test_energy_is_known_only_where_every_kernel_says_it() -> None:
    network = branches()
    prices = random_prices(network, (INT8, INT4), np.random.default_rng(0))
    assert problem_of(network, prices, freedom(network, (INT8, INT4))).unmetered == ()
    spec = next(spec for spec in prices if spec.workload.op is Op.CONV2D)
    assert problem_of(network, {**prices, spec: price(3.0)}, freedom(network, (INT8, INT4))).unmetered == (spec,)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "inceptionv3"])
def test_every_kernel_of_a_problem_is_one_that_profile_measures(name: str) -> None:
    """What profile measures by default is enough for an allocation: nothing is missing, nothing is tied."""
    network = load_network(name, 1)
    wanted = [d.spec for d in demand(network, (INT8, INT4), mixed=True)]
    prices = {spec: price(1.0) for spec in wanted}
    built = problem_of(network, prices, freedom(network, (INT8, INT4), keep=("first", "last")))
    assert (built.gaps, built.unpriced, built.choices.tied) == ((), (), ())
    used = {kernel.spec for table in built.tables for way in table.ways for kernel in way.kernels}
    used |= {spec for shared in built.choices.shared for spec in shared.kernels.values() if spec is not None}
    assert used <= set(wanted)
    solution = Solver(built.problem).solve([])
    assert solution is not None
    assert solution.sensitivity == 0
    assert solution.totals[Quantity.SIZE] == sum(layer.workload.weights for layer in network.weighted_layers)
