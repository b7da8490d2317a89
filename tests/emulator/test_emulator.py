"""The emulator itself: small kernels by hand, each with one defect that it must name, and right ones that must pass."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from profiler.artifact import ArgSpec, Launch, Role
from profiler.hardware import GPUS
from profiler.kernels.cuda.codegen import header_text
from profiler.kernels.cuda.lower import CudaKernel
from profiler.quantize.packing import Packing
from profiler.workload import DType, KernelSpec, Op, Workload
from tests.emulator import Fault, NotEmulated, Order, compile_kernels, emulate, verify_all
from tests.emulator.build import _compiler

pytestmark = pytest.mark.compile

verification = sys.modules["tests.emulator.verify"]  # the package exports a function of that name
THREADS = 64
SHARED = "extern __shared__ __align__(64) int _ptr[];"
T = "((int)threadIdx.x)"
B = "((int)blockIdx.x)"


def kernel(
    body: str,
    *,
    blocks: int = 1,
    threads: int = THREADS,
    shared_bytes: int = 4 * THREADS,
    inputs: tuple[int, ...] = (4 * THREADS,),
    output_bytes: int = 4 * THREADS,
    role: Role = Role.OUTPUT,
    scratch: tuple[ArgSpec, ...] = (),
) -> CudaKernel:
    """A kernel of int32 words around a body; its arguments are input, input2, ..., output and scratch."""
    names = ["input", *(f"input{i}" for i in range(2, len(inputs) + 1))]
    args = (
        *(ArgSpec(name, Role.INPUT, size) for name, size in zip(names, inputs, strict=True)),
        ArgSpec("output", role, output_bytes),
        *scratch,
    )
    parameters = ", ".join(f"int* __restrict__ {a.name}" for a in args)
    source = (
        header_text("types.h")
        + header_text("integer.h")
        + header_text("split.h")
        + f'extern "C" __global__ void __launch_bounds__({threads}) k({parameters}) {{\n{SHARED}\n{body}\n}}\n'
    )
    return CudaKernel(source, "k", args, Packing("plain"), Launch((blocks, 1, 1), threads, shared_bytes))


def words(values: object) -> np.ndarray:
    return np.asarray(values, "<i4").reshape(-1).view(np.uint8)


def outputs(built: CudaKernel, **contents: np.ndarray) -> list[np.ndarray]:
    given = {name: words(values) for name, values in ({"input": np.arange(THREADS)} | contents).items()}
    return [emulate(built, given, order)["output"].view("<i4") for order in Order]


def fault(built: CudaKernel, order: Order = Order.FORWARD) -> Fault:
    contents = {a.name: words(np.arange(a.nbytes // 4)) for a in built.args if a.role in (Role.INPUT, Role.INOUT)}
    with pytest.raises(Fault) as caught:
        emulate(built, contents, order)
    return caught.value


REVERSED = f"_ptr[{T}] = input[{T}];\n__syncthreads();\noutput[{T}] = _ptr[(63 - {T})];"


def test_threads_exchange_through_shared_memory() -> None:
    for out in outputs(kernel(REVERSED)):
        assert out.tolist() == list(range(63, -1, -1))


def test_blocks_have_their_index() -> None:
    body = f"output[(({B} * 64) + {T})] = ({B} + input[{T}]);"
    for out in outputs(kernel(body, blocks=3, output_bytes=3 * 256)):
        assert (out.reshape(3, 64) == np.arange(3)[:, None] + np.arange(64)).all()


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(
    ("body", "kind", "where", "offset"),
    [
        (f"output[{T}] = input[({T} + 1)];", "out_of_bounds", "input", 256),
        (f"output[{T}] = input[({T} - 1)];", "out_of_bounds", "input", -4),
        (f"output[({T} + 1)] = input[{T}];", "out_of_bounds", "output", 256),
        (f"_ptr[({T} * 2)] = 1; output[{T}] = 0;", "out_of_bounds", "shared", None),
        (f"if ({T} < 15) *(int4*)(output + (({T} * 4) + 1)) = make_int4(0, 0, 0, 0);", "misaligned", "output", None),
        (f"output[{T}] = _ptr[{T}];", "uninitialised", "shared", None),
        (f"if ({T} < 63) output[{T}] = 0;", "unwritten", "output", 252),
        (f"output[({T} / 2)] = 0;", "write_conflict", "output", None),
        (f"output[{T}] = 0; input[{T}] = 0;", "read_only", "input", None),
        (f"output[{T}] = (output[{T}] + 1);", "uninitialised", "output", None),
        (REVERSED.replace("__syncthreads();\n", ""), None, "shared", None),
        (f"_ptr[0] = {T}; output[{T}] = 0;", "race", "shared", 0),
        (f"{REVERSED}\n_ptr[{T}] = 0;", "race", "shared", None),
        (f"if ({T} < 32) __syncthreads(); output[{T}] = 0;", "divergent_barrier", "", None),
        (f"if ({T} < 7) return; __syncthreads(); output[{T}] = 0;", "divergent_barrier", "", None),
        (f"if ({T} < 7) {{ __syncthreads();\n}} else {{ __syncthreads(); }}", "divergent_barrier", "", None),
        (f"output[{T}] = (input[{T}] + 2147483647);", "overflow", "", None),
        (f"output[{T}] = ((input[{T}] + 1) * -2147483647);", "overflow", "", None),
        (f"if ({T} < 7) output[{T}] = __shfl_xor_sync(0xffffffff, 1, 2, 32);", "divergent_barrier", "", None),
        (f"alignas(64) int _ptr_1[4];\noutput[{T}] = _ptr_1[({T} / 8)];", "out_of_bounds", "", None),
        (f"for (int i = 0; i < 1; i += 0) {{ output[{T}] = i; }}", "endless", "output", None),
    ],
)
def test_a_defect_is_named(body: str, kind: str | None, where: str, offset: int | None, order: Order) -> None:
    found = fault(kernel(body), order)
    # Without the barrier a thread reads what is not there yet, or what another wrote just now: both are right.
    assert found.kind in ((kind,) if kind else ("race", "uninitialised"))
    assert found.where == where
    assert offset is None or found.offset == offset


def test_a_missing_barrier_ahead_of_the_next_write_is_a_race() -> None:
    """Write after read, a warp apart: what runs first in the emulator makes the result right in one order."""
    body = f"""for (int i = 0; i < 2; ++i) {{
      _ptr[{T}] = (input[{T}] + i);
      __syncthreads();
      if (i == 1) {{ output[{T}] = _ptr[({T} ^ 32)]; }} else {{ int unused = _ptr[({T} ^ 32)]; }}
      __syncthreads();
    }}"""
    for out in outputs(kernel(body)):
        assert out.tolist() == [(i ^ 32) + 1 for i in range(64)]
    first, second = (m.start() for m in re.finditer("__syncthreads", body))
    for order in Order:
        late = body[:second] + body[second:].replace("__syncthreads();", "", 1)
        assert fault(kernel(late), order).kind == "race"
        early = body[:first] + body[first:].replace("__syncthreads();", "", 1)
        assert fault(kernel(early), order).kind in ("race", "uninitialised")


def test_two_blocks_that_write_one_word_conflict() -> None:
    found = fault(kernel(f"output[{T}] = 0;", blocks=2))
    assert (found.kind, found.where, found.block) == ("write_conflict", "output", (1, 0, 0))
    assert fault(kernel(f"output[{T}] = 0;", blocks=2), Order.REVERSE).block == (0, 0, 0)


def test_a_warp_may_exchange_behind_syncwarp() -> None:
    body = f"_ptr[{T}] = input[{T}];\n__syncwarp();\noutput[{T}] = _ptr[({T} ^ 3)];"
    for out in outputs(kernel(body)):
        assert out.tolist() == [i ^ 3 for i in range(64)]
    assert fault(kernel(body.replace("__syncwarp();\n", ""))).kind in ("race", "uninitialised")
    assert fault(kernel(body.replace("^ 3", "^ 35"))).kind in ("race", "uninitialised")


def test_part_of_an_inout_argument_may_stay() -> None:
    built = kernel(f"if ({T} < 32) output[{T}] = (output[({T} + 32)] + 1);", role=Role.INOUT)
    for out in outputs(built, output=np.arange(64)):
        assert out.tolist() == [*range(33, 65), *range(32, 64)]


SPLIT = f"""
  workspace[(({B} * 64) + {T})] = (input[{T}] + {B});
  __syncthreads();
  if ({T} == 0) {{
    _ptr[0] = lb_arrive((&(counters[0])), 3);
  }}
  __syncthreads();
  if (_ptr[0] == 2) {{
    output[{T}] = ((workspace[{T}] + workspace[({T} + 64)]) + workspace[({T} + 128)]);
  }}
"""


def split_kernel(body: str) -> CudaKernel:
    scratch = (ArgSpec("workspace", Role.WORKSPACE, 3 * 256), ArgSpec("counters", Role.COUNTERS, 4))
    return kernel(body, blocks=3, scratch=scratch)


def test_blocks_share_a_sum_through_a_counter() -> None:
    for order in Order:
        written = emulate(split_kernel(SPLIT), {"input": words(np.arange(64))}, order)
        assert (written["output"].view("<i4") == 3 * np.arange(64) + 3).all()
        assert not written["counters"].any()


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("__syncthreads();\n  if (((int)threadIdx.x) == 0)", "if (((int)threadIdx.x) == 0)"),
        ("}\n  __syncthreads();", "}"),
        ("_ptr[0] = lb_arrive((&(counters[0])), 3);", "_ptr[0] = 2;"),
        ("lb_arrive((&(counters[0])), 3)", "((int)atomicInc((&(counters[0])), 2))"),
        ("lb_arrive((&(counters[0])), 3)", "(counters[0] + 1)"),
    ],
)
def test_blocks_that_share_without_order_race(old: str, new: str, order: Order) -> None:
    assert old in SPLIT
    found = fault(split_kernel(SPLIT.replace(old, new)), order)
    assert found.kind in ("race", "uninitialised", "write_conflict")


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("__threadfence();  // this block's sums", "// this block's sums"),
        ("__threadfence();  // the others' sums", "// the others' sums"),
        ("(unsigned)splits - 1", "(unsigned)splits"),
    ],
)
def test_an_arrival_without_its_fences_or_with_another_wrap_is_caught(old: str, new: str, order: Order) -> None:
    right = split_kernel(SPLIT)
    assert right.source.count(old) == 1
    broken = replace(right, source=right.source.replace(old, new))
    if "splits" in old:
        assert emulate(broken, {"input": words(np.arange(64))}, order)["counters"].any()
    else:
        assert fault(broken, order).kind == "race"


def fragments(values: np.ndarray, bits: int) -> np.ndarray:
    """Rows of elements as rows of words, the first element lowest."""
    fields = (values.astype(np.int64) & ((1 << bits) - 1)).reshape(len(values), -1, 32 // bits)
    return (fields << (bits * np.arange(32 // bits))).sum(-1).astype("<u4").view("<i4")


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [8, 4])
def test_multiply_of_turing(bits: int, signed: bool) -> None:
    """Two 8 x 4-word matrices through shared memory and ldmatrix.x2 to m8n8k16 or m8n8k32."""
    rng = np.random.default_rng(bits)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    a = rng.integers(low, high, (8, 128 // bits))
    b = rng.integers(-(1 << bits - 1), 1 << bits - 1, (8, 128 // bits))
    name = f"lb_mma_m8n8k{128 // bits}_{'s' if signed else 'u'}{bits}"
    body = f"""
      alignas(64) int _ptr_1[2];
      alignas(64) int _ptr_2[2];
      *(int2*)(_ptr_2 + 0) = make_int2({T}, 1);
      *(int2*)(_ptr + ({T} * 2)) = *(int2*)(input + ({T} * 2));
      __syncthreads();
      lb_ldmatrix_x2((&(_ptr_1[0])), (&(_ptr[(({T} & 15) * 4)])));
      {name}((&(_ptr_2[0])), _ptr_1[0], _ptr_1[1]);
      *(int2*)(output + ({T} * 2)) = *(int2*)(_ptr_2 + 0);
    """
    contents = np.concatenate([fragments(a, bits), fragments(b, bits)])
    start = np.stack([np.arange(32), np.ones(32, int)], -1).reshape(8, 8)
    for out in outputs(kernel(body, threads=32), input=contents):
        assert (out.reshape(8, 8) == a @ b.T + start).all()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [8, 4])
def test_multiply_of_ampere(bits: int, signed: bool) -> None:
    """A 16 x 8-word matrix through ldmatrix.x4, an 8 x 8-word one through two .x1, to m16n8k32 or m16n8k64."""
    rng = np.random.default_rng(bits)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    a = rng.integers(low, high, (16, 256 // bits))
    b = rng.integers(-(1 << bits - 1), 1 << bits - 1, (8, 256 // bits))
    name = f"lb_mma_m16n8k{256 // bits}_{'s' if signed else 'u'}{bits}"
    body = f"""
      alignas(64) int _ptr_1[4];
      alignas(64) int _ptr_2[2];
      alignas(64) int _ptr_3[4];
      *(int4*)(_ptr_3 + 0) = make_int4(0, 0, 0, 0);
      *(int4*)(_ptr + ({T} * 4)) = *(int4*)(input + ({T} * 4));
      if ({T} < 16) {{
        *(int4*)(_ptr + (({T} * 4) + 128)) = *(int4*)(input + (({T} * 4) + 128));
      }}
      __syncthreads();
      lb_ldmatrix_x4((&(_ptr_1[0])), (&(_ptr[((({T} & 15) * 8) + (({T} >> 4) * 4))])));
      lb_ldmatrix_x1((&(_ptr_2[0])), (&(_ptr[((({T} & 7) * 8) + 128)])));
      lb_ldmatrix_x1((&(_ptr_2[1])), (&(_ptr[((({T} & 7) * 8) + 132)])));
      {name}((&(_ptr_3[0])), _ptr_1[0], _ptr_1[1], _ptr_1[2], _ptr_1[3], _ptr_2[0], _ptr_2[1]);
      *(int2*)(output + ({T} * 2)) = make_int2(_ptr_3[0], _ptr_3[1]);
      *(int2*)(output + (({T} * 2) + 64)) = make_int2(_ptr_3[2], _ptr_3[3]);
    """
    contents = np.concatenate([fragments(a, bits).ravel(), fragments(b, bits).ravel()])
    built = kernel(body, threads=32, shared_bytes=768, inputs=(768,), output_bytes=512)
    for out in outputs(built, input=contents):
        assert (out.reshape(16, 8) == a @ b.T).all()


def bit_rows(words_: np.ndarray) -> np.ndarray:
    """Rows of words as rows of bits."""
    return np.unpackbits(np.ascontiguousarray(words_).view(np.uint8), axis=-1, bitorder="little").astype(int)


def counted(a: np.ndarray, b: np.ndarray, operation: str) -> np.ndarray:
    """Of every row of a and of b: how many bits they share, or in how many they differ."""
    rows, columns = bit_rows(a), bit_rows(b)
    shared = rows @ columns.T
    return shared if operation == "and" else rows.sum(1)[:, None] + columns.sum(1) - 2 * shared


def test_counting_bits_of_turing() -> None:
    """Two 8 x 4-word matrices through shared memory and ldmatrix.x2 to m8n8k128."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-(1 << 31), 1 << 31, (8, 4)).astype("<i4") for _ in range(2))
    body = f"""
      alignas(64) int _ptr_1[2];
      alignas(64) int _ptr_2[2];
      *(int2*)(_ptr_2 + 0) = make_int2({T}, 1);
      *(int2*)(_ptr + ({T} * 2)) = *(int2*)(input + ({T} * 2));
      __syncthreads();
      lb_ldmatrix_x2((&(_ptr_1[0])), (&(_ptr[(({T} & 15) * 4)])));
      lb_mma_m8n8k128_xor((&(_ptr_2[0])), _ptr_1[0], _ptr_1[1]);
      *(int2*)(output + ({T} * 2)) = *(int2*)(_ptr_2 + 0);
    """
    start = np.stack([np.arange(32), np.ones(32, int)], -1).reshape(8, 8)
    for out in outputs(kernel(body, threads=32), input=np.concatenate([a, b])):
        assert (out.reshape(8, 8) == counted(a, b, "xor") + start).all()


@pytest.mark.parametrize("operation", ["and", "xor"])
def test_counting_bits_of_ampere(operation: str) -> None:
    """A 16 x 8-word matrix through ldmatrix.x4, an 8 x 8-word one through two .x1, to m16n8k256."""
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-(1 << 31), 1 << 31, (rows, 8)).astype("<i4") for rows in (16, 8))
    body = f"""
      alignas(64) int _ptr_1[4];
      alignas(64) int _ptr_2[2];
      alignas(64) int _ptr_3[4];
      *(int4*)(_ptr_3 + 0) = make_int4(0, 0, 0, 0);
      *(int4*)(_ptr + ({T} * 4)) = *(int4*)(input + ({T} * 4));
      if ({T} < 16) {{
        *(int4*)(_ptr + (({T} * 4) + 128)) = *(int4*)(input + (({T} * 4) + 128));
      }}
      __syncthreads();
      lb_ldmatrix_x4((&(_ptr_1[0])), (&(_ptr[((({T} & 15) * 8) + (({T} >> 4) * 4))])));
      lb_ldmatrix_x1((&(_ptr_2[0])), (&(_ptr[((({T} & 7) * 8) + 128)])));
      lb_ldmatrix_x1((&(_ptr_2[1])), (&(_ptr[((({T} & 7) * 8) + 132)])));
      lb_mma_m16n8k256_{operation}((&(_ptr_3[0])), _ptr_1[0], _ptr_1[1], _ptr_1[2], _ptr_1[3], _ptr_2[0], _ptr_2[1]);
      *(int2*)(output + ({T} * 2)) = make_int2(_ptr_3[0], _ptr_3[1]);
      *(int2*)(output + (({T} * 2) + 64)) = make_int2(_ptr_3[2], _ptr_3[3]);
    """
    built = kernel(body, threads=32, shared_bytes=768, inputs=(768,), output_bytes=512)
    for out in outputs(built, input=np.concatenate([a.ravel(), b.ravel()])):
        assert (out.reshape(16, 8) == counted(a, b, operation)).all()


def test_shuffles_and_dot_products() -> None:
    body = f"""
      alignas(64) int _ptr_1[1];
      _ptr_1[0] = __shfl_xor_sync(0xffffffff, {T}, 5, 32);
      _ptr_1[0] = (_ptr_1[0] + __shfl_down_sync(0xffffffff, {T}, 1, 32));
      output[{T}] = __dp4a(-1, 0x01020304, _ptr_1[0]);
    """
    lanes = np.arange(64)
    down = np.where(lanes % 32 == 31, lanes, lanes + 1)
    for out in outputs(kernel(body)):
        assert (out == (lanes ^ 5) + down - 10).all()


def test_a_fault_is_one_readable_line() -> None:
    line = str(fault(kernel(f"output[{T}] = input[({T} + 1)];")))
    assert line == "out_of_bounds input+256, block (0, 0, 0) thread 63: 4 bytes at 256 of 256"
    divergent = str(fault(kernel(f"if ({T} < 32) {{\n__syncthreads();\n}}\noutput[{T}] = 0;")))
    assert re.fullmatch(
        r"divergent_barrier, block \(0, 0, 0\) thread 0: waits at __syncthreads of line \d+, but thread 32 has ended",
        divergent,
    )


@pytest.mark.parametrize(
    "body",
    [
        "int* raw = (int*)input; output[0] = raw[0];",
        "int* raw = (int*)(input + 4); output[0] = raw[0];",
        "int v = reinterpret_cast<int*>(&(input[0]))[0];",
        "int v = reinterpret_cast<const signed char*>(&(input))[0];",
        "int* raw = input;",
        "int* raw = &(input[0]);",
        "int* raw = &(_ptr[0]);",
        "int v = *(input + 1).data;",
        "__shared__ int other[4];",
        "int v = unknown_function(1);",
        'asm volatile("bar.sync 0;");',
    ],
)
def test_what_cannot_be_checked_is_refused(body: str) -> None:
    with pytest.raises(NotEmulated):
        compile_kernels([kernel(body)])


def test_other_parameters_than_the_arguments_are_refused() -> None:
    built = kernel("output[0] = 0;")
    swapped = CudaKernel(built.source, built.entry, built.args[::-1], built.packing, built.launch)
    with pytest.raises(NotEmulated, match="the kernel takes"):
        compile_kernels([swapped])


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    _compiler.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"install g\+\+"):
            compile_kernels([kernel("output[0] = 0;")])
    finally:
        _compiler.cache_clear()


def test_failures_are_listed_case_by_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value, a counter that stays, a fault and a text that does not compile, among right ones."""
    right = f"output[{T}] = input[{T}];"
    bodies = {
        "right": right,
        "wrong": f"output[{T}] = (input[{T}] + ({T} == 9));",
        "counts": f"{right} if ({T} == 0) atomicAdd((&(counters[0])), 1);",
        "faulty": f"output[{T}] = input[({T} + 1)];",
        "unknown": f"{right} unknown_function();",
        "right again": right,
    }
    scratch = (ArgSpec("counters", Role.COUNTERS, 4),)
    spec = KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, 1, 1), DType.INT32, DType.INT32)
    monkeypatch.setattr(verification, "lower", lambda spec, body, gpu: kernel(bodies[body], scratch=scratch))
    monkeypatch.setattr(verification, "to_text", str)
    assert verify_all([(spec, "right", GPUS["t4"])]) == 1
    with pytest.raises(AssertionError) as caught:
        verify_all([(spec, body, GPUS["t4"]) for body in bodies])
    first, *lines = str(caught.value).splitlines()
    assert first == "4 of 6 cases failed:"
    assert [line.split()[1] for line in lines] == ["wrong", "counts", "faulty", "unknown"]
    assert "output[0, 1, 1, 0] is" in lines[0]
    assert "counters is not zero again" in lines[1]
    assert "out_of_bounds input+256" in lines[2]
    assert "unknown_function" in lines[3]
