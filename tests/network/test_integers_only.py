"""Between the quantized input and the logits there is no floating point and no division: proven on the graph, on what
is launched of it, and on the machine code of the kernels and of the loop that calls them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import tirx
from tvm.ir import PrimType
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from profiler.allocation.bits_file import TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.artifact import Artifact, Role
from profiler.frontend import load_network
from profiler.hardware import GPUS, DotIsa, host_cpu
from profiler.kernels.backend import CpuBackend, CudaBackend
from profiler.kernels.cpu.build import Toolchain, _code_generation, assembly, build
from profiler.kernels.cpu.emit import Requantization, argument, flat_buffer, vector
from profiler.kernels.cpu.target import CpuTarget, target_of
from profiler.kernels.pool_build import BuildPool
from profiler.network.execute.planned import Memory, Place, Plan
from profiler.network.integer_network import IntegerNetwork, Step
from profiler.network.plan import parameter_bytes, plan
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.random_weights import random_weights
from profiler.network.ranges import TensorRange
from profiler.space.cpu import config_space
from profiler.space.cpu_default import default_config
from profiler.space.gpu import usual_config
from profiler.workload import INT4, INT8, DType, KernelSpec, Network, Op, Precision
from tests.kernels.cuda.tools import kernel, require
from tests.network.instructions import assembled, disassembled, finding, findings, reachable, sass_findings
from tests.network.integer_drafts import Draft, codeless

NETWORKS = (
    ("resnet18", "int8"),
    ("resnet18", "int4"),
    ("resnet18", "mixed"),
    ("resnet50", "mixed"),
    ("inceptionv3", "int8"),
    ("inceptionv3", "mixed"),
)
TARGETS = (
    (DotIsa.AVX512_VNNI, "x86_64"),
    (DotIsa.AVX_VNNI, "x86_64"),
    (DotIsa.AVX2, "x86_64"),
    (DotIsa.GENERIC, "x86_64"),
    (DotIsa.NEON_DOT, "aarch64"),
    (DotIsa.NEON, "aarch64"),
    (DotIsa.GENERIC, "aarch64"),
)
LIBRARY = {"memcpy", "memset", "memmove", "memcpy@plt", "memset@plt", "memmove@plt"}
"""What compilers call to move bytes."""


# -- the networks -----------------------------------------------------------------------------------------------------


@cache
def integers(name: str, bits: str) -> IntegerNetwork:
    """With drawn weights. Ranges are invented: what is computed is of no matter here."""
    network = load_network(name, 1)
    ranges = {t.name: TensorRange(-4.0 if t.signed else 0.0, 4.0) for t in network.tensors}
    trained = TrainedNetwork(network, weights(name), ranges)
    return integer_network(trained, mixed(network) if bits == "mixed" else uniform(network, bits))


@cache
def weights(name: str) -> Any:
    return random_weights(load_network(name, 1), 0)


def uniform(network: Network, bits: str) -> Deployment:
    return Deployment.uniform(network, Precision.parse(bits))


def mixed(network: Network) -> Deployment:
    """Tensors in either precision by turns, a copy in the other one for some layers, and half of the additions by
    themselves."""
    turn = random.Random(network.name)
    owners = {tensor.name: network.type_owner(tensor.name) for tensor in network.tensors}
    either = {owner: turn.choice((INT8, INT4)) for owner in dict.fromkeys(owners.values())}
    tensors = {name: either[owner] for name, owner in owners.items()}
    layers: dict[str, Precision] = {}
    readers: dict[tuple[str, Precision, Precision], list[str]] = {}
    for layer in network.weighted_layers:
        source = tensors[layer.inputs[0]]
        layers[layer.name] = turn.choice((source, source, INT8, INT4))
        if layers[layer.name] != source:
            readers.setdefault((layer.inputs[0], source, layers[layer.name]), []).append(layer.name)
    copies = tuple(TensorConversion(t, a.name, b.name, tuple(names)) for (t, a, b), names in readers.items())
    additions = [layer.name for layer in network.layers if layer.workload.op is Op.ADD]
    return Deployment(layers, tensors, copies, frozenset(additions[::2]))


# -- the graph --------------------------------------------------------------------------------------------------------


def no_integers(network: IntegerNetwork) -> list[str]:
    """Values, types of kernels and parameters that are none."""
    found = [f"value {value.name}: {value.dtype.value}" for value in network.values if not integer(value.dtype)]
    for step in network.steps:
        types = {f.name: getattr(step.spec, f.name) for f in fields(step.spec) if f.name.endswith("_dtype")}
        found += [f"step {step.name}: {name} {t.value}" for name, t in types.items() if t and not integer(t)]
        for name, values in step.parameters.items():
            if not np.issubdtype(np.asarray(values).dtype, np.integer):
                found.append(f"step {step.name}: parameter {name} {values.dtype}")
    return found


def integer(dtype: DType) -> bool:
    return re.fullmatch(r"u?int\d+", dtype.value) is not None


def way_back(network: IntegerNetwork) -> tuple[set[str], set[str]]:
    """From the outputs to whatever they depend on: the steps on the way, and the values that no step writes."""
    writers: dict[str, list[Step]] = {}
    for step in network.steps:
        writers.setdefault(step.writes, []).append(step)
    steps: set[str] = set()
    beginnings: set[str] = set()
    waiting, seen = list(network.outputs), set(network.outputs)
    while waiting:
        name = waiting.pop()
        if name not in writers:
            beginnings.add(name)
        for step in writers.get(name, ()):
            steps.add(step.name)
            waiting += [read for _, read in step.reads if read not in seen]
            seen |= {read for _, read in step.reads}
    return steps, beginnings


@pytest.mark.parametrize(("name", "bits"), NETWORKS)
def test_all_values_and_parameters_are_integers(name: str, bits: str) -> None:
    network = integers(name, bits)
    assert no_integers(network) == []
    steps, beginnings = way_back(network)
    assert steps == {step.name for step in network.steps}
    assert beginnings == set(network.inputs)
    (x,), (logits,) = network.inputs, network.outputs
    assert {network.value(x).dtype} <= {DType.INT8, DType.INT4}
    assert network.value(logits).dtype is DType.INT32
    if bits == "mixed":
        widths = {step.spec.weight_dtype for step in network.steps if step.spec.weight_dtype}
        assert widths == {DType.INT8, DType.INT4}
        assert any(step.spec.workload.op is Op.CONVERT for step in network.steps)


def foreign(network: IntegerNetwork, planned: Plan) -> list[str]:
    """What is launched or read besides the network's steps and values: of whatever a launch reads, the last to write
    there has to be the step that writes this value, or it is an input."""
    artifacts = codeless(network, workspace=1000)
    if [placed.name for placed in planned.steps] != [step.name for step in network.steps]:
        return ["other launches than there are steps"]
    found = []
    holds = {value.place: value.name for value in planned.inputs}
    for step, placed in zip(network.steps, planned.steps, strict=True):
        if planned.kernels[placed.kernel] != step.spec.key:
            found.append(f"{step.name}: another kernel")
        written = {placed.output}
        for arg, place in zip(artifacts[step.spec].args, placed.args, strict=True):
            if arg.role is Role.INPUT and holds.get(place) != dict(step.reads)[arg.name]:
                found.append(f"{step.name}: its {arg.name} is not what was written there")
            elif arg.role in (Role.OUTPUT, Role.INOUT) and not within(place, placed.output):
                found.append(f"{step.name}: writes elsewhere")
            elif arg.role is Role.PARAMETER and place.memory is not Memory.PARAMETERS:
                found.append(f"{step.name}: its {arg.name} is no parameter")
            elif arg.role is Role.WORKSPACE:
                written.add(place)
        holds = {held: value for held, value in holds.items() if not any(overlap(held, place) for place in written)}
        holds[placed.output] = step.writes
    return found + [f"{out.name}: written over" for out in planned.outputs if holds.get(out.place) != out.name]


@pytest.mark.parametrize(("name", "bits"), NETWORKS)
def test_a_network_is_its_launches_and_nothing_else(name: str, bits: str) -> None:
    network = integers(name, bits)
    planned = plan(network, codeless(network, workspace=1000))
    assert foreign(network, planned) == []
    assert len(planned.steps) == len(network.steps)


def test_what_no_step_wrote_is_found() -> None:
    draft = Draft()
    a = draft.conv(draft.input(4, 4, 8, DType.UINT8), 8)
    b = draft.conv(a, 8)
    network = draft.network([draft.dense(draft.add(b, a), 3)])
    planned = plan(network, codeless(network, workspace=1000))
    assert foreign(network, planned) == []
    assert foreign(network, replace(planned, steps=planned.steps[1:])) == ["other launches than there are steps"]
    first, second, *rest = planned.steps
    elsewhere = replace(second, args=(replace(second.args[0], offset=1 << 20), *second.args[1:]))
    assert foreign(network, replace(planned, steps=(first, elsewhere, *rest), arena_nbytes=1 << 21)) == [
        "layer1: its input is not what was written there"
    ]
    over = replace(second, output=first.output)
    found = foreign(network, replace(planned, steps=(first, over, *rest)))
    assert found[:2] == ["layer1: writes elsewhere", "layer2: its input is not what was written there"]


def within(inner: Place, outer: Place) -> bool:
    return outer.offset <= inner.offset and inner.offset + inner.nbytes <= outer.offset + outer.nbytes


def overlap(a: Place, b: Place) -> bool:
    return a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes


def test_scales_stand_beside_the_values() -> None:
    """With other scales the same is launched, on the same parameters."""
    network = integers("resnet18", "mixed")
    others = replace(network, values=tuple(replace(value, scale=(0.123,)) for value in network.values))
    artifacts = codeless(network)
    planned = plan(network, artifacts)
    assert plan(others, artifacts) == planned
    found = parameter_bytes(network, artifacts, planned)
    assert found.any()
    assert np.array_equal(found, parameter_bytes(others, artifacts, planned))


def test_a_float_in_the_graph_is_found() -> None:
    draft = Draft()
    network = draft.network([draft.dense(draft.conv(draft.input(4, 4, 8, DType.INT8), 8), 3)])
    assert no_integers(network) == []
    forced = replace(network.steps[0].spec)
    object.__setattr__(forced, "weight_dtype", DType.FLOAT16)
    value = replace(network.values[1])
    object.__setattr__(value, "dtype", DType.FLOAT32)
    real = {**network.steps[1].parameters, "bias": np.zeros(3)}
    broken = replace(network)
    object.__setattr__(broken, "values", (network.values[0], value, *network.values[2:]))
    steps = (replace(network.steps[0], spec=forced), replace(network.steps[1], parameters=real))
    object.__setattr__(broken, "steps", steps)
    assert no_integers(broken) == [
        "value v1: float32",
        "step layer0: weight_dtype float16",
        "step layer1: parameter bias float64",
    ]


def test_a_value_from_elsewhere_is_found() -> None:
    draft = Draft()
    x, y = draft.input(4, 4, 8, DType.INT8), draft.input(4, 4, 8, DType.UINT8)
    network = draft.network([draft.dense(draft.add(draft.conv(x, 8), y), 3)])
    broken = replace(network)
    object.__setattr__(broken, "inputs", (x,))
    assert way_back(broken)[1] != set(broken.inputs)


# -- the machine code -------------------------------------------------------------------------------------------------


def kernels() -> list[KernelSpec]:
    """All of ResNet18, and the concatenations and average pools of InceptionV3."""
    found = {s.spec: None for bits in ("int8", "int4", "mixed") for s in integers("resnet18", bits).steps}
    of_inception = [s.spec for bits in ("int8", "mixed") for s in integers("inceptionv3", bits).steps]
    found |= {spec: None for spec in of_inception if spec.workload.op in (Op.CONCAT, Op.AVG_POOL)}
    assert any(spec.workload.op is Op.AVG_POOL and spec.workload.has_padding for spec in found)
    return list(found)


def one_of_each(specs: Iterable[KernelSpec]) -> list[KernelSpec]:
    """One of each operator, window, and types."""
    found: dict[object, KernelSpec] = {}
    for spec in specs:
        work = spec.workload
        kind = (work.op, work.kernel_h, spec.input_dtype, spec.input2_dtype, spec.weight_dtype, spec.output_dtype)
        found.setdefault(kind, spec)
    return list(found.values())


def defects(artifact: Artifact, folder: Path, entry: str = "") -> list[str]:
    """What the code of a kernel holds besides integer instructions and moves, from its entry on."""
    functions, outside = reachable(disassembled(artifact.code, folder), entry or artifact.entry)
    machine = artifact.arch.partition("-")[0]
    bodies = [one for body in functions.values() for one in body]
    assert len(bodies) > 20, "there is more to a kernel"
    return [*findings(bodies, machine), *(f"calls {name}" for name in sorted(outside - LIBRARY))]


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    return Toolchain.prepare(tmp_path_factory.mktemp("toolchain"))


@pytest.mark.compile
@pytest.mark.slow
def test_kernels_of_this_machine_compute_in_integers(tmp_path: Path) -> None:
    """Their own bytes, disassembled."""
    cpu = host_cpu()
    requests = [(spec, default_config(spec, cpu)) for spec in kernels()]
    with BuildPool(CpuBackend(target_of(cpu)), workers=2) as pool:
        artifacts = [built for built in pool.build(requests) if isinstance(built, Artifact)]
    assert len(artifacts) == len(requests) >= 80
    found = {artifact.spec.key: defects(artifact, tmp_path) for artifact in artifacts}
    assert {key: what for key, what in found.items() if what} == {}
    assert {artifact.spec.workload.op for artifact in artifacts} == set(Op) - {Op.RELAYOUT}


@pytest.mark.compile
@pytest.mark.parametrize(("isa", "machine"), TARGETS)
def test_kernels_of_other_machines_compute_in_integers(isa: DotIsa, machine: str) -> None:
    """As the compiler writes them, with configs drawn from all valid ones."""
    for spec in one_of_each(kernels()):
        space = config_space(spec, isa, 1)
        config = space[random.Random(spec.key).randrange(len(space))]
        functions, outside = reachable(assembled(assembly(spec, config, CpuTarget(isa, machine))), "lowbit_kernel")
        assert outside <= LIBRARY, spec.key
        found = [text for body in functions.values() for text in findings(body, machine)]
        assert (spec.key, config, found) == (spec.key, config, [])


@pytest.mark.compile
def test_the_loop_over_the_kernels_only_calls_them(tmp_path: Path, toolchain: Toolchain) -> None:
    """What lies between two kernels when a network is timed: a call through a pointer, and the clock."""
    spec = integers("resnet18", "int8").steps[-1].spec
    artifact = build(spec, default_config(spec, host_cpu()), target_of(host_cpu()), 1, toolchain)
    functions, outside = reachable(disassembled(artifact.code, tmp_path), "lowbit_chain")
    assert outside == {"*", "clock_gettime@plt"}
    machine = artifact.arch.partition("-")[0]
    found = findings((one for body in functions.values() for one in body), machine)
    assert [text for text in found if not re.match(r"[lms]fence:", text)] == []


# -- the detector -----------------------------------------------------------------------------------------------------


@pytest.mark.compile
def test_a_kernel_that_rescales_in_floats_is_found(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template itself, with a requantization by a real factor."""
    spec = integers("resnet18", "int8").steps[0].spec
    config, target = default_config(spec, host_cpu()), target_of(host_cpu())
    assert defects(build(spec, config, target, 1, toolchain), tmp_path) == []

    def real(self: Requantization, value: Any, *, negative: bool) -> Any:
        return tirx.Cast(vector("int64", self.lanes), tirx.Cast(vector("float32", self.lanes), value * self.multiplier))

    monkeypatch.setattr(Requantization, "apply", real)
    found = defects(build(spec, config, target, 1, toolchain), tmp_path)
    assert any("cvt" in text and "neither an integer instruction nor a move" in text for text in found)


def tir(compute: Any) -> Any:
    """A kernel on 64 numbers of int32: ``compute`` of two of them."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("lowbit_kernel")
        pointers = [argument(name, "int32") for name in ("x", "y")]
        T.func_attr({"tirx.noalias": True})
        T.func_ret(PrimType("int32"))
        x, y = (flat_buffer(pointer, "int32", 512) for pointer in pointers)
        with T.serial(64) as i:
            T.buffer_store(y, compute(x[i], x[i + 64]), [i])
        T.Return(tirx.const(0, "int32"))
    return builder.get()


@pytest.mark.compile
@pytest.mark.parametrize(("isa", "machine"), TARGETS)
def test_floats_and_divisions_are_found_on_every_machine(isa: DotIsa, machine: str) -> None:
    def found(compute: Any) -> str:
        text = str(_code_generation(tir(compute), CpuTarget(isa, machine)).inspect_source("asm"))
        functions, _ = reachable(assembled(text), "lowbit_kernel")
        return " ".join(text for body in functions.values() for text in findings(body, machine))

    assert found(lambda a, b: (a * b + 7) >> 3) == ""
    assert found(lambda a, b: tirx.truncdiv(a, 7) + b) == "", "by a constant it is a multiplication"
    assert ": division" in found(lambda a, b: tirx.truncdiv(a, b))
    converts = found(lambda a, b: tirx.Cast("int32", tirx.Cast("float32", a) * tirx.Cast("float32", b)))
    assert {re.sub(r"^v|[sp][sd]$|dq$", "", word) for word in re.findall(r"(\w+): neither", converts)} >= (
        {"scvtf", "fmul", "fcvtzs"} if machine == "aarch64" else {"mul"}
    )


def x86_floats() -> Iterator[str]:
    """What SSE, AVX, AVX512 and FMA compute with floats; then conversions, x87, and what divides integers."""
    fused = [f"f{op}{order}" for op in ("madd", "msub", "nmadd", "nmsub") for order in (132, 213, 231)]
    for op, kind, v in product((*X86_FLOATS.split(), *fused), ("ss", "sd", "ps", "pd", "sh", "ph"), ("", "v")):
        yield f"{v}{op}{kind}"
    numbers = ("ss", "sd", "ps", "pd", "ph", "si", "si2", "usi", "dq", "udq", "qq", "uqq", "pi")
    for first, second, v, truncated in product(numbers, numbers, ("", "v"), ("", "t")):
        yield f"{v}cvt{truncated}{first}2{second}"
    yield from X87.split()
    yield from (f"{op}{width}" for op in ("div", "idiv") for width in ("", "b", "w", "l", "q"))


X86_FLOATS = """
    add sub mul div sqrt min max rcp rsqrt rcp14 rsqrt14 round rndscale reduce scalef getexp getmant range cmp dp hadd
    addsub comi ucomi
"""
X87 = "fld fldl flds fildl fadd fmulp fdiv fdivrp fistp fistpll fsqrt fsin fcom fucomi fxch"
ARM_FLOATS = """
    sdiv udiv fadd fsub fmul fnmul fdiv fmla fmls fmadd fmsub fnmadd fsqrt fcvt fcvtl fcvtn fcvtxn fcvtzs fcvtzu fcvtas
    fcvtms scvtf ucvtf fmax fmin fmaxnm fminnm fminv frinta frintm frecpe frecps frsqrte fabs fneg fcmp fcmpe fccmp
    fcmgt fcmeq fcsel faddp fmulx fabd bfdot bfcvt fjcvtzs
"""


def test_what_has_no_place_in_a_kernel() -> None:
    assert [one for one in x86_floats() if not finding(one, "x86_64")] == []
    assert [one for one in ARM_FLOATS.split() if not finding(one, "aarch64")] == []


def test_a_call_is_followed_and_an_unknown_one_told() -> None:
    text = "entry:\n\tmovl\t%eax, %ebx\n\tcallq\thelper\n\tretq\nhelper:\n\tdivss\t%xmm0, %xmm1\n\tjmp\troundf@PLT\n"
    functions, outside = reachable(assembled(text + "other:\n\tfld\t(%rax)\n"), "entry")
    assert set(functions) == {"entry", "helper"}
    assert outside == {"roundf"}
    assert findings(functions["helper"], "x86_64") == ["divss: division (1)"]


# -- a GPU's ----------------------------------------------------------------------------------------------------------


def cuda_specs() -> Iterator[KernelSpec]:
    """Of each operator and width one."""
    seen = set()
    for bits in ("int8", "int4", "mixed"):
        for step in integers("resnet18", bits).steps:
            spec = step.spec
            kind = (spec.workload.op, spec.workload.kernel_h, spec.weight_dtype or spec.input_dtype.bits)
            if kind not in seen and spec.workload.kernel_h != 1:
                seen.add(kind)
                yield spec


@pytest.mark.compile
def test_kernels_of_a_gpu_compute_in_integers() -> None:
    """As NVIDIA's disassembler reads them. There a division would be a reciprocal in floats."""
    require("12")
    gpu = GPUS["t4"]
    with BuildPool(CudaBackend(gpu), workers=2) as pool:
        results = pool.build([(spec, usual_config(spec, gpu)) for spec in cuda_specs()])
    artifacts = [built for built in results if isinstance(built, Artifact)]
    assert len(artifacts) == len(results) >= 6
    for artifact in artifacts:
        assert artifact.resources is not None
        assert (artifact.spec.key, sass_findings(artifact.resources.instructions)) == (artifact.spec.key, [])


@pytest.mark.compile
def test_floats_and_divisions_of_a_gpu_are_found() -> None:
    tools = require("12")

    def found(body: str) -> set[str]:
        listing = tools.disassembler.listing(tools.compiler.compile(kernel(body), "sm_75").code)
        return set(sass_findings(listing.count("k")))

    assert found("y[threadIdx.x] = x[threadIdx.x] * n / 7;") == set()
    assert found("y[threadIdx.x] = (int)((float)x[threadIdx.x] * 0.3f);") >= {"I2F", "FMUL", "F2I"}
    assert "MUFU.RCP" in found("y[threadIdx.x] = x[threadIdx.x] / n;")
    assert found("y[threadIdx.x] = (int)sqrt((double)x[threadIdx.x]);") & {"DFMA", "DMUL", "DADD"}
