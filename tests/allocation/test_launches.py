"""The launches of a network with chosen bits, against what the allocation that chose them says they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path

import pytest

from profiler.allocation.bits_file import Bits
from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import Purpose, launches
from profiler.allocation.limit_text import LimitText
from profiler.allocation.problem import Quantity
from profiler.allocation_stages.allocate import AllocateRequest, allocate
from profiler.errors import InvalidFile
from profiler.frontend import load_network, network_file
from profiler.lut import store
from profiler.lut.demand import demand, units
from profiler.lut.schema import LutRow, Source
from profiler.sensitivity.files import write_sensitivity
from profiler.sensitivity.table import LayerSensitivity, Sensitivity
from profiler.workload import INT4, INT8, PRECISIONS, DType, KernelSpec, Network, Op, Precision
from tests.allocation.networks import own_shortcut, residual
from tests.report.stages.cases import row, without_measurement
from tests.tuning.simulation import hash_share

NETWORKS: Mapping[str, Callable[[], Network]] = {
    "resnet18": lambda: load_network("resnet18", 1),
    "resnet50": lambda: load_network("resnet50", 1),
    "inceptionv3": lambda: load_network("inceptionv3", 1),
    "residual": residual,
    "own_shortcut": own_shortcut,
}


@dataclass(frozen=True)
class Case:
    """A network, a table of all of its kernels, and what an allocation chose of it."""

    network: Network
    rows: tuple[LutRow, ...]
    bits: Bits

    def seconds(self, source: Source | None = None) -> float:
        """Of all launches; the table has one row of each kernel."""
        of = {one.spec: one for one in self.rows}
        found = [of[launch.spec] for launch in launches(self.network, self.bits)]
        return fsum(one.latency_median_s for one in found if source in (None, one.source))


def latency_s(spec: KernelSpec) -> float:
    """More work takes longer, with 8 bits twice as long; half of the fused additions are dear."""
    bits = (spec.weight_dtype or spec.input_dtype).bits
    work_s = 1e-6 + 1e-12 * spec.workload.macs * (1 if bits == 4 else 2)
    return work_s * (3 if spec.epilogue.adds and hash_share(spec.key) < 0.5 else 1) * (1 + hash_share("s", spec.key))


def table(network: Network) -> Iterator[LutRow]:
    """Measured, predicted and published rows."""
    for index, wanted in enumerate(demand(network, (INT8, INT4), mixed=True)):
        one = row(wanted.spec, latency_s(wanted.spec))
        source = (Source.MEASURED, Source.PREDICTED, Source.PUBLISHED)[index % 3]
        yield one if source is Source.MEASURED else without_measurement(one, source)


def allocated(network: Network, rows: tuple[LutRow, ...], folder: Path) -> Bits:
    """Somewhere between the uniform networks, by sensitivities that only look random."""
    model, lut, costs = folder / "model.json", folder / "cpu.csv", folder / "costs.csv"
    network_file.save(network, model)
    store.write(lut, rows)
    layers = tuple(
        LayerSensitivity(layer.name, {"int8": 0.01, "int4": 1 + 9 * hash_share("cost", layer.name)})
        for layer in network.weighted_layers
    )
    write_sensitivity(Sensitivity("invented", layers), costs)
    limit = LimitText(Quantity.LATENCY, fraction=0.3)
    asked = AllocateRequest(str(model), lut=lut, sensitivity=str(costs), limits=(limit,), keep=(), gap=0.1)
    return allocate(replace(asked, batch=network.batch)).bits


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Case]:
    found = {}
    for name, make in NETWORKS.items():
        network = make()
        rows = tuple(table(network))
        found[name] = Case(network, rows, allocated(network, rows, tmp_path_factory.mktemp(name)))
    return found


@pytest.fixture(params=list(NETWORKS))
def case(request: pytest.FixtureRequest, cases: Mapping[str, Case]) -> Case:
    return cases[request.param]


def test_they_take_what_the_allocation_says(case: Case) -> None:
    latency = case.bits.latency
    assert case.seconds() == pytest.approx(latency.total_s, rel=1e-12)
    assert case.seconds(Source.MEASURED) == pytest.approx(latency.measured_s, rel=1e-12)
    assert case.seconds(Source.PREDICTED) == pytest.approx(latency.predicted_s, rel=1e-12)
    assert case.seconds(Source.PUBLISHED) == pytest.approx(latency.published_s, rel=1e-12)


def test_every_layer_runs_once_and_reads_what_has_been_written(case: Case) -> None:
    """Of a fused pair the convolution's launch does both; a separate addition has a launch of its own."""
    network, bits = case.network, case.bits
    fused = {conv: network.layer(add) for add, conv in network.fusions().items() if add not in bits.separate}
    done = [launch.layer for launch in launches(network, bits) if launch.purpose is Purpose.LAYER]
    moved = {add.name for add in fused.values()}
    assert Counter(done) == Counter(layer.name for layer in network.layers if layer.name not in moved)
    missing = {layer.output for layer in network.layers}
    slices = Counter(layer.output for layer in network.layers)  # several layers write a concatenation
    for name in done:
        layer = network.layer(name)
        addition = fused.get(name)
        reads = {*layer.inputs, *(addition.inputs if addition else ())} - {layer.output}
        assert not reads & missing, name
        written = addition.output if addition else layer.output
        slices[written] -= 1
        if not slices[written]:
            missing.discard(written)


def test_each_kernel_has_the_types_that_the_bits_say(case: Case) -> None:
    """Weights and what is read are in the layer's precision; what is written is in that of its tensor."""
    network, bits = case.network, case.bits
    stored = {tensor.name: PRECISIONS[tensor.precision] for tensor in bits.tensors}
    weighted = {layer.name: PRECISIONS[layer.precision] for layer in bits.layers}
    for launch in launches(network, bits):
        layer = network.layer(launch.layer)
        if launch.purpose is Purpose.CONVERSION or layer.name not in weighted:
            continue
        precision = weighted[layer.name]
        assert launch.spec.weight_dtype is DType.integer(precision.weight_bits, signed=True)
        assert launch.spec.input_dtype.bits == precision.activation_bits
        if launch.spec.output_dtype is not DType.INT32:
            assert launch.spec.output_dtype.bits == stored[launch.unit.output].activation_bits


def test_conversions_stand_ahead_of_their_readers_once(case: Case) -> None:
    network, bits = case.network, case.bits
    found = launches(network, bits)
    assert sum(launch.purpose is Purpose.CONVERSION for launch in found) == len(bits.conversions)
    names = [layer.name for layer in network.layers]
    for copy in bits.conversions:
        first = min(copy.readers, key=names.index)
        places = [i for i, launch in enumerate(found) if (launch.purpose, launch.layer) == (Purpose.CONVERSION, first)]
        assert len(places) == 1
        spec, tensor = found[places[0]].spec, network.tensor(copy.tensor)
        assert spec.workload.op is Op.CONVERT
        assert (spec.workload.in_height, spec.workload.in_channels) == (tensor.height, tensor.channels)
        assert spec.input_dtype is DType.integer(PRECISIONS[copy.source].activation_bits, tensor.signed)
        assert spec.output_dtype is DType.integer(PRECISIONS[copy.target].activation_bits, tensor.signed)
        reading = [i for i, launch in enumerate(found) if launch.layer in copy.readers and i != places[0]]
        assert min(reading) > places[0]


def test_the_networks_have_what_is_hard(cases: Mapping[str, Case]) -> None:
    """Copies, additions of both kinds, and kernels that write another width than they read."""
    seen: Counter[str] = Counter()
    for case in cases.values():
        for launch in launches(case.network, case.bits):
            spec = launch.spec
            seen["copies"] += launch.purpose is Purpose.CONVERSION
            seen["fused"] += spec.epilogue.adds
            seen["separate"] += spec.workload.op is Op.ADD and spec.input_dtype is DType.INT32
            seen["mixed"] += spec.weight_dtype is not None and {spec.input_dtype.bits, spec.output_dtype.bits} == {4, 8}
    assert min(seen[kind] for kind in ("copies", "fused", "separate", "mixed")) >= 3


@pytest.mark.parametrize("precision", [INT8, INT4])
def test_a_uniform_network_launches_its_fused_kernels(precision: Precision) -> None:
    network = load_network("resnet18", 1)
    found = launches(network, Deployment.uniform(network, precision))
    assert Counter(launch.layer for launch in found) == Counter(unit.layer.name for unit in units(network))
    assert sum(launch.spec.epilogue.adds for launch in found) == 8  # two in each of four stages
    assert {(launch.spec.weight_dtype or launch.spec.input_dtype).bits for launch in found} == {precision.weight_bits}
    apart = launches(network, Deployment.uniform(network, precision, separate=["layer1.0.add"]))
    in_block = [launch.layer for launch in apart if launch.layer.startswith("layer1.0")]
    assert in_block == ["layer1.0.conv1", "layer1.0.conv2", "layer1.0.add"]


def test_bits_of_another_network_are_refused(cases: Mapping[str, Case]) -> None:
    with pytest.raises(InvalidFile, match="the bits are of network 'resnet18', not of 'resnet50'"):
        launches(cases["resnet50"].network, cases["resnet18"].bits)


def test_a_tensor_without_precision_is_named(cases: Mapping[str, Case]) -> None:
    case = cases["resnet18"]
    torn = replace(case.bits, tensors=tuple(t for t in case.bits.tensors if t.name != case.bits.tensors[5].name))
    with pytest.raises(InvalidFile, match=f"no precision of tensor '{case.bits.tensors[5].name}'"):
        launches(case.network, torn)
