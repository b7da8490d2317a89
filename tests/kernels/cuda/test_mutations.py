"""Kernels broken on purpose: the emulator must name what is wrong with the changed text, or its output must differ.

Each mutation changes one place of the generated source, or all places of a piece of arithmetic. Left alone are places
without effect: variables that TVM binds and nobody reads, the move to a step of K behind the last, and guards of loads
whose values are thrown away (weights for no thread, channels behind the last).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import pytest

from profiler.hardware import GPUS, GpuSpec
from profiler.kernels.cuda.lower import CudaKernel, lower
from profiler.quantize.samples import sample_arguments
from profiler.space.config import GpuConfig, parse_config
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.emulator import Fault, compile_kernels
from tests.emulator.launch import Array
from tests.emulator.verify import check
from tests.kernels.cuda.cases import conv, dense, same

pytestmark = pytest.mark.compile

BATCH = 24
S4, U4, S8, U8 = DType.INT4, DType.UINT4, DType.INT8, DType.UINT8


@dataclass(frozen=True)
class Subject:
    """A kernel that is right, before it is broken."""

    spec: KernelSpec
    config: GpuConfig
    gpu: GpuSpec


SUBJECTS = {
    # Padding, tails of pixels and channels, two stages, swizzle, K in two splits.
    "turing": Subject(
        KernelSpec(conv(1, (9, 9), 16, 20, (3, 3), pads=same(1)), U4, S4, S4, epilogue=Epilogue.REQUANT),
        parse_config("mma(block_m=32,block_n=16,block_k=8,warp_m=16,warp_n=16,stages=2,load_bytes=8,split_k=2)"),
        GPUS["t4"],
    ),
    # Odd channels gathered byte by byte, one stage, rows of weights, a residual.
    "ampere": Subject(
        KernelSpec(
            conv(2, (5, 6), 7, 11, (3, 2), stride=(1, 2), pads=(1, 0, 1, 1)), S8, U8, S8, S8, Epilogue.ADD_REQUANT_RELU
        ),
        parse_config(
            "mma(block_m=32,block_n=16,block_k=8,warp_m=16,warp_n=8,stages=1,load_bytes=1,weight_layout=rows)"
        ),
        GPUS["a100"],
    ),
    "dense": Subject(
        KernelSpec(dense(9, 72, 24), U8, U8, S8, epilogue=Epilogue.REQUANT_RELU),
        parse_config("mma(block_m=16,block_n=32,block_k=8,warp_m=8,warp_n=16,stages=2,load_bytes=8,shared_layout=pad)"),
        GPUS["t4"],
    ),
    # Planes: XOR with the sum of the activations, two planes each, planes and their end written, a residual in planes.
    "planes": Subject(
        KernelSpec(
            conv(1, (6, 5), 72, 20, (3, 3), pads=same(1)),
            DType.UINT2,
            DType.UINT2,
            DType.INT2,
            DType.INT3,
            Epilogue.ADD_REQUANT_RELU,
        ),
        parse_config("mma(block_m=16,block_n=16,block_k=8,warp_m=8,warp_n=16,stages=2,load_bytes=8,split_k=2)"),
        GPUS["t4"],
    ),
    "hopper": Subject(
        KernelSpec(
            conv(1, (6, 6), 40, 24, (3, 3), pads=same(1)),
            DType.UINT1,
            DType.UINT1,
            DType.INT1,
            epilogue=Epilogue.REQUANT,
        ),
        parse_config("mma(block_m=32,block_n=8,block_k=8,warp_m=16,warp_n=8,stages=1,load_bytes=8)"),
        GPUS["h200"],
    ),
    "direct": Subject(
        KernelSpec(conv(1, (6, 6), 9, 15, (3, 3), pads=same(1), groups=3), U8, S8, S8, epilogue=Epilogue.REQUANT),
        parse_config("simt_direct(threads=64,channels=2)"),
        GPUS["t4"],
    ),
    "depthwise": Subject(
        KernelSpec(
            conv(1, (7, 7), 12, 12, (3, 3), stride=(2, 2), pads=same(1), groups=12),
            U4,
            S4,
            S4,
            epilogue=Epilogue.REQUANT_RELU,
        ),
        parse_config("simt_depthwise(threads=64,channels=4,pixels=2)"),
        GPUS["t4"],
    ),
    # Sums of two tensors in planes, whose last block of channels is cut, and zeros behind it.
    "bit_add": Subject(
        KernelSpec(Workload(Op.ADD, 1, 9, 8, 36, 36), DType.INT3, DType.UINT3, None, DType.INT2, Epilogue.REQUANT_RELU),
        parse_config("simt_vector(threads=64,channels=16)"),
        GPUS["t4"],
    ),
    "avg_pool": Subject(
        KernelSpec(Workload(Op.AVG_POOL, 1, 5, 5, 9, 9, 3, 3, 2, 2, 1, 1, 1, 1), S4, S4, epilogue=Epilogue.REQUANT),
        parse_config("simt_vector(threads=64,channels=4)"),
        GPUS["t4"],
    ),
}
TENSOR_CORES = ("turing", "ampere", "dense", "planes", "hopper")


@cache
def kernel(name: str) -> CudaKernel:
    subject = SUBJECTS[name]
    return lower(subject.spec, subject.config, subject.gpu)


def arguments(spec: KernelSpec) -> list[dict[str, Array]]:
    """Shifts as they are in networks; and short ones, for which the epilogues have a path of their own, with results
    of twice the size."""
    drawn = sample_arguments(spec, 0)
    short = {
        name: values >> 9 if "multiplier" in name else values - 10 if "shift" in name else values
        for name, values in drawn.items()
    }
    assert all((short[name] < 32).any() for name in short if "shift" in name)
    return [drawn, short]


def defects(name: str, sources: list[str]) -> list[Exception | None]:
    """What is found wrong with the kernel under each of the texts; None where nothing is."""
    spec, right = SUBJECTS[name].spec, kernel(name)
    drawn = arguments(spec)

    def of_batch(first: int) -> list[Exception | None]:
        kernels = [replace(right, source=source) for source in sources[first : first + BATCH]]
        library = compile_kernels(kernels)
        return [of_one(library, position, broken) for position, broken in enumerate(kernels)]

    def of_one(library: object, position: int, broken: CudaKernel) -> Exception | None:
        try:
            for given in drawn:
                check(library, position, broken, spec, given)
        except (Fault, AssertionError) as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        return [found for batch in pool.map(of_batch, range(0, len(sources), BATCH)) for found in batch]


Mutation = Callable[[str], Iterator[str]]


def each(pattern: str, replacement: str) -> Mutation:
    """One mutant for each match in the kernel's body, or in the device functions ahead of it."""

    def mutants(source: str) -> Iterator[str]:
        for match in re.finditer(pattern, source, re.MULTILINE):
            yield source[: match.start()] + match.expand(replacement) + source[match.end() :]

    return mutants


def all_of(pattern: str, replacement: str) -> Mutation:
    """One mutant with every match replaced."""

    def mutants(source: str) -> Iterator[str]:
        mutant = re.sub(pattern, replacement, source, flags=re.MULTILINE)
        if mutant != source:
            yield mutant

    return mutants


def swapped_operands(source: str) -> Iterator[str]:
    for match in re.finditer(r"(lb_mma_\w+\(\(&\(\w+\[\d+\]\)\), )(.*)(\);)", source):
        operands = match[2].split(", ")
        swapped = ", ".join((operands[-1], *operands[1:-1], operands[0]))
        yield source[: match.start()] + match[1] + swapped + match[3] + source[match.end() :]


def wrong_strides(source: str) -> Iterator[str]:
    """Each factor of an index of global or shared memory."""
    for line in re.finditer(
        r"^.*(?:\w+ \+ \(|\b(?:output|workspace)\[|\*\)_ptr\)\[|&\(_ptr\[).*$", source, re.MULTILINE
    ):
        for factor in re.finditer(r" \* (\d+)\)", line[0]):
            at = line.start() + factor.start()
            yield f"{source[:at]} * {int(factor[1]) + 1}){source[line.start() + factor.end() :]}"


def missing_predicates(source: str) -> Iterator[str]:
    """Each condition right ahead of a load of activations or a store of the output."""
    for match in re.finditer(r"if \((?=.*\) \{\n.*(?:= .*\binput\b|\boutput\b))", source):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            end += 1
        yield f"{source[: match.start()]}if (true){source[end:]}"


ADDRESSES = r"(?:input|weight|bias|multiplier|shift|residual\w*|workspace)"
EVERYWHERE: dict[str, Mutation] = {
    "vector access one element off": each(rf"\((?:{ADDRESSES}|output) \+ (?=\()", r"\g<0>1 + "),
    "load one element off": each(rf"\b{ADDRESSES}\[", r"\g<0>1 + "),
    "store one element off": each(r"\boutput\[", r"\g<0>1 + "),
    "wrong stride": wrong_strides,
    "missing predicate": missing_predicates,
    "half is rounded down": all_of(r"\(1LL << \(shift - 1\)\)|1LL << \(shift - 1\)", "0"),
    "half is another bit": all_of(r"1LL << \(shift - 1\)", "1LL << shift"),
    "shift too short": all_of(r">> shift;", ">> (shift - 1);"),
    "clamp too high": all_of(r"x > high \? high", "x > high + 1 ? high + 1"),
    "clamp too low": all_of(r"x < low \? low", "x < low - 1 ? low - 1"),
}
ON_TENSOR_CORES: dict[str, Mutation] = {
    "missing barrier": each(r"__syncthreads\(\);", ""),
    "swapped operands": swapped_operands,
    "another fragment": each(r"(lb_mma_\w+\(\(&\(\w+\[\d+\]\)\), \w+)\[0\]", r"\1[1]"),
    "another sum": each(r"(lb_mma_\w+\(\(&\(\w+)\[0\]", r"\1[2]"),
    "another row of ldmatrix": each(r"&\(_ptr\[", r"\g<0>4 + "),
    "shared store elsewhere": each(r"^(\s*\*\(int\d?\*\)\(_ptr \+ )", r"\g<1>4 + "),
    "missing bias": all_of(r"(lb_rescale\w*\(\(\w+\[\d+\]) \+ \w+\[\d+\]|(lb_addend\()\w+\[\d+\]", r"\1\2 + 0"),
    "sums that start anywhere": all_of(r"(\w+\[v\w*\]) = 0;", ";"),
    "long shift too short": all_of(r">> \(shift - 32\)", ">> (shift - 33)"),
    "one step too few": each(r"(for \(int v_\d+ = 0; v_\d+ < )(?=_ptr|\d+; \+\+v_\d+\) \{\n    if)", r"\g<1>-1 + "),
}


def mutants(name: str, mutations: dict[str, Mutation]) -> dict[str, list[str]]:
    return {title: list(mutation(kernel(name).source)) for title, mutation in mutations.items()}


def assert_all_caught(name: str, mutations: dict[str, Mutation]) -> None:
    right = kernel(name).source
    broken = [(title, source) for title, found in mutants(name, mutations).items() for source in found]
    assert all(source != right for _, source in broken)
    found = defects(name, [source for _, source in broken])
    missed = [
        f"{title}: {changed_line(right, source)}"
        for (title, source), defect in zip(broken, found, strict=True)
        if defect is None
    ]
    assert not missed, f"{len(missed)} of {len(broken)} mutants of {name} pass:\n" + "\n".join(missed)


def changed_line(right: str, source: str) -> str:
    return next((b.strip() for a, b in zip(right.splitlines(), source.splitlines(), strict=True) if a != b), "")


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_kernel_itself_is_right(name: str) -> None:
    assert defects(name, [kernel(name).source]) == [None]


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_wrong_index_or_rounding_is_caught(name: str) -> None:
    assert_all_caught(name, EVERYWHERE)


@pytest.mark.parametrize("name", TENSOR_CORES)
def test_a_broken_exchange_between_threads_is_caught(name: str) -> None:
    assert_all_caught(name, ON_TENSOR_CORES)


def test_missing_swizzle_is_caught() -> None:
    unswizzled = list(each(r"\((v_\d+) \^ \w+\[0\]\)", r"\1")(kernel("turing").source))
    assert len(unswizzled) == 2
    assert None not in defects("turing", unswizzled)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (", 2);", ", 3);"),  # the last of three is awaited
        ("if (((int)threadIdx.x) == 0) {", "if (true) {"),  # everybody arrives
    ],
)
def test_splits_that_miscount_are_caught(old: str, new: str) -> None:
    right = kernel("turing").source
    at = right.index(old, right.index("workspace[") if old != ", 2);" else right.index("lb_arrive((&"))
    (found,) = defects("turing", [right[:at] + new + right[at + len(old) :]])
    assert found is not None


@pytest.mark.parametrize("title", {**EVERYWHERE, **ON_TENSOR_CORES})
def test_every_mutation_applies(title: str) -> None:
    """To one kernel at least."""
    everything = {**EVERYWHERE, **ON_TENSOR_CORES}
    assert any(mutants(name, {title: everything[title]})[title] for name in SUBJECTS)
