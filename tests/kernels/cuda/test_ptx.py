"""The PTX of our headers that the emulator does not run: instruction, types, and the order of the operands.

What is expected is written out from the PTX ISA ("Warp Level Matrix Multiply-Accumulate Instructions", "ldmatrix",
"dp4a"); what is there is read from NVRTC's output for a kernel that calls each function with arguments it can be
recognised by.
"""

from __future__ import annotations

import ctypes
import re

import pytest

from profiler.kernels.cuda.codegen import header_text
from profiler.kernels.cuda.nvrtc import Nvrtc
from tests.kernels.cuda.tools import require

pytestmark = pytest.mark.compile

SUMS, OPERANDS = (1000, 1001, 1002, 1003), (2000, 2001, 2002, 2003, 2004, 2005)
SHAPES = {
    "lb_mma_m8n8k16_s8": "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32",
    "lb_mma_m8n8k16_u8": "mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32",
    "lb_mma_m8n8k32_s4": "mma.sync.aligned.m8n8k32.row.col.s32.s4.s4.s32",
    "lb_mma_m8n8k32_u4": "mma.sync.aligned.m8n8k32.row.col.s32.u4.s4.s32",
    "lb_mma_m16n8k32_s8": "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32",
    "lb_mma_m16n8k32_u8": "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32",
    "lb_mma_m16n8k64_s4": "mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32",
    "lb_mma_m16n8k64_u4": "mma.sync.aligned.m16n8k64.row.col.s32.u4.s4.s32",
    "lb_mma_m8n8k128_xor": "mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc",
    "lb_mma_m16n8k256_xor": "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc",
    "lb_mma_m16n8k256_and": "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc",
}


def ptx(body: str, arch: str) -> str:
    """NVRTC's PTX of a kernel with that body, behind all of our headers."""
    compiler = require("12", "t4").compiler
    assert isinstance(compiler, Nvrtc)
    library = ctypes.CDLL(str(compiler.library))
    names = ("types.h", "integer.h", "mma.h", "bit_mma.h", "split.h", "simt.h")
    source = "".join(map(header_text, names)) + f'extern "C" __global__ void k(int* out) {{\n{body}\n}}\n'
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"k.cu", 0, None, None) == 0
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture={arch}".encode())
    assert library.nvrtcCompileProgram(program, 1, options) == 0
    assert library.nvrtcGetPTXSize(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert library.nvrtcGetPTX(program, text) == 0
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return text.value.decode()


def constants(text: str) -> dict[str, int]:
    """What is moved into each register, where it is moved once."""
    return {name: int(value) for name, value in re.findall(r"mov\.[bu]32\s+(%r\d+), (\d+);", text)}


def instruction(text: str, name: str) -> list[str]:
    """The groups of operands of the only instruction of that name."""
    (found,) = re.findall(rf"{re.escape(name)} ([^;]*);", text)
    return re.findall(r"\{([^}]*)\}", found) or [found]


@pytest.mark.parametrize("name", SHAPES)
def test_an_mma_has_the_types_and_the_order_of_the_isa(name: str) -> None:
    tall = "m16" in name
    sums, operands = SUMS[: 4 if tall else 2], OPERANDS[: 6 if tall else 2]
    array = ", ".join(map(str, sums))
    stores = " ".join(f"out[{i}] = c[{i}];" for i in range(len(sums)))
    text = ptx(f"int c[] = {{{array}}}; {name}(c, {', '.join(map(str, operands))}); {stores}", "compute_80")
    known = constants(text)
    to, a, b, c = ([r.strip() for r in group.split(",")] for group in instruction(text, SHAPES[name]))
    count = 4 if tall else 1
    assert [known[r] for r in a] == list(operands[:count])
    assert [known[r] for r in b] == list(operands[count:])
    assert len(to) == len(c) == len(sums)
    stored = dict(re.findall(r"st\.global\.[bu]32\s+\[%rd\d+(?:\+(\d+))?\], (%r\d+);", text))
    assert [stored[str(4 * i) if i else ""] for i in range(len(sums))] == to, "sums come back where they were"
    assert [known.get(r, known_through_copy(text, known, r)) for r in c] == list(sums)


def known_through_copy(text: str, known: dict[str, int], register: str) -> int | None:
    """A sum that is read and written by one asm operand is copied ahead of it."""
    copies = re.findall(rf"mov\.[bu]32\s+{re.escape(register)}, (%r\d+|\d+);", text)
    return next((known.get(c, int(c) if c.isdigit() else None) for c in copies), None)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix_fills_its_registers_in_order(count: int) -> None:
    stores = " ".join(f"out[{i}] = d[{i}];" for i in range(count))
    body = f"__shared__ int tile[256]; tile[threadIdx.x] = out[threadIdx.x]; __syncthreads(); int d[{count}];"
    text = ptx(f"{body} lb_ldmatrix_x{count}(d, tile + 4 * threadIdx.x); {stores}", "compute_75")
    name = f"ldmatrix.sync.aligned.m8n8.x{count}.shared.b16"
    (registers,) = instruction(text, name)
    stored = dict(re.findall(r"st\.global\.[bu]32\s+\[%rd\d+(?:\+(\d+))?\], (%r\d+);", text))
    assert [stored[str(4 * i) if i else ""] for i in range(count)] == [r.strip() for r in registers.split(",")]
    assert "ldmatrix" not in text.replace(name, ""), "no other form, nothing transposed"


def test_dp4a_has_the_sign_of_its_activations() -> None:
    for function, name in (("lb_dp4a_s", "dp4a.s32.s32"), ("lb_dp4a_u", "dp4a.u32.s32")):
        text = ptx(f"out[0] = {function}(1000, 2000, 3000);", "compute_75")
        known = constants(text)
        (operands,) = instruction(text, name)
        given = [known.get(r.strip()) or int(r) for r in operands.split(",")[1:]]
        assert given == [1000, 2000, 3000]


def test_an_arrival_is_fenced_on_both_sides() -> None:
    text = ptx("out[1] = lb_arrive(out, 5);", "compute_75")
    fence, atomic = r"(?:fence|membar)\.\S+;", r"atom\.(?:\S+\.)?inc\.u32\s+%r\d+, \[%rd\d+\], (%r\d+|\d+);"
    order = re.search(rf"{fence}.*?{atomic}.*?{fence}", text, re.DOTALL)
    assert order is not None
    wrap = order[1]
    assert (int(wrap) if wrap.isdigit() else constants(text)[wrap]) == 4
