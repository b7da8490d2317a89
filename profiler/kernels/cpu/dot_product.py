"""One step of a dot product on each instruction set: lane l of the sum gains sum over j < 4 of a[j] * w[l][j].

Activations come as four consecutive bytes, broadcast to all lanes; weights as a vector of ``lanes`` x 4 signed bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tvm import tirx

from profiler.errors import CompilerError
from profiler.hardware import DotIsa
from profiler.kernels.cpu.emit import vector
from profiler.kernels.tir import Expr, const
from profiler.quantize.packed_weights import DOT_WIDTH


class DotProduct(Protocol):
    """How an instruction set takes its operands. Operands are prepared once and used for a whole register tile."""

    @property
    def lanes(self) -> int: ...

    def activation(self, word: Expr, signed: bool) -> Expr:
        """Prepare an int32 scalar that holds four activation bytes."""

    def weights(self, words: Expr) -> Expr:
        """Prepare an int32 vector of lanes, each of which holds four signed weight bytes."""

    def step(self, total: Expr, activation: Expr, weights: Expr) -> Expr:
        """The sum after one step, an int32 vector."""


@dataclass(frozen=True)
class Vnni:
    """x86 VNNI: unsigned activations, signed weights, no saturation (``vpdpbusd``)."""

    lanes: int
    intrinsic: str

    def activation(self, word: Expr, signed: bool) -> Expr:
        return tirx.reinterpret(vector("uint8", 4 * self.lanes), tirx.Broadcast(word, self.lanes))

    def weights(self, words: Expr) -> Expr:
        return tirx.reinterpret(vector("int8", 4 * self.lanes), words)

    def step(self, total: Expr, activation: Expr, weights: Expr) -> Expr:
        return tirx.call_llvm_pure_intrin(vector("int32", self.lanes), self.intrinsic, total, activation, weights)


@dataclass(frozen=True)
class Sdot:
    """Arm's dot product: both operands signed (``sdot``)."""

    lanes: int = 4

    def activation(self, word: Expr, signed: bool) -> Expr:
        return tirx.reinterpret("int8x16", tirx.Broadcast(word, 4))

    def weights(self, words: Expr) -> Expr:
        return tirx.reinterpret("int8x16", words)

    def step(self, total: Expr, activation: Expr, weights: Expr) -> Expr:
        return tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", total, activation, weights)


@dataclass(frozen=True)
class WideningPairs:
    """AVX2 without VNNI: bytes widened to 16 bits, products of pairs summed to 32 bits (``vpmaddwd``), exactly.

    Even and odd bytes of each 32-bit lane are two operands each. (``vpmaddubsw`` would need half the steps, but
    saturates at 16 bits: 2 * 255 * 127 > 32767.)
    """

    lanes: int = 8

    def activation(self, word: Expr, signed: bool) -> tuple[Expr, Expr]:
        halves = tirx.reinterpret(vector("int16", 2 * self.lanes), tirx.Broadcast(word, self.lanes))
        return self._even(halves, signed), self._odd(halves, signed)

    def weights(self, words: Expr) -> tuple[Expr, Expr]:
        halves = tirx.reinterpret(vector("int16", 2 * self.lanes), words)
        return self._even(halves, True), self._odd(halves, True)

    def step(self, total: Expr, activation: Expr, weights: Expr) -> Expr:
        for a, w in zip(activation, weights, strict=True):
            total = total + tirx.call_llvm_pure_intrin(vector("int32", self.lanes), "llvm.x86.avx2.pmadd.wd", a, w)
        return total

    def _even(self, halves: Expr, signed: bool) -> Expr:
        if not signed:
            return tirx.bitwise_and(halves, const(255, "int16", 2 * self.lanes))
        return self._odd(tirx.shift_left(halves, const(8, "int16", 2 * self.lanes)), True)

    def _odd(self, halves: Expr, signed: bool) -> Expr:
        eight = const(8, "int16", 2 * self.lanes)
        shifted = tirx.shift_right(halves, eight)
        return shifted if signed else tirx.bitwise_and(shifted, const(255, "int16", 2 * self.lanes))


@dataclass(frozen=True)
class PairwiseSums:
    """Arm without ``sdot``: products of bytes in 16 bits (``smull``), added up in pairs twice, exactly."""

    lanes: int = 4

    def activation(self, word: Expr, signed: bool) -> Expr:
        return tirx.reinterpret("int8x8", tirx.Broadcast(word, 2))

    def weights(self, words: Expr) -> tuple[Expr, Expr]:
        halves = (tirx.Shuffle([words], [const(i), const(i + 1)]) for i in (0, 2))
        low, high = (tirx.reinterpret("int8x8", half) for half in halves)
        return low, high

    def step(self, total: Expr, activation: Expr, weights: Expr) -> Expr:
        pairs = []
        for half in weights:
            products = tirx.call_llvm_pure_intrin("int16x8", "llvm.aarch64.neon.smull.v8i16", activation, half)
            pairs.append(tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products))
        return total + tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.addp.v4i32", *pairs)


@dataclass(frozen=True)
class Multiplying:
    """Any CPU: four 32-bit multiplications a step."""

    lanes: int = 4

    def activation(self, word: Expr, signed: bool) -> tuple[Expr, ...]:
        words = tirx.Broadcast(word, self.lanes)
        return tuple(self._byte(words, j, signed) for j in range(DOT_WIDTH))

    def weights(self, words: Expr) -> tuple[Expr, ...]:
        return tuple(self._byte(words, j, True) for j in range(DOT_WIDTH))

    def step(self, total: Expr, activation: Expr, weights: Expr) -> Expr:
        for a, w in zip(activation, weights, strict=True):
            total = total + a * w
        return total

    def _byte(self, words: Expr, index: int, signed: bool) -> Expr:
        top = tirx.shift_left(words, const(24 - 8 * index, lanes=self.lanes))
        value = tirx.shift_right(top, const(24, lanes=self.lanes))
        return value if signed else tirx.bitwise_and(value, const(255, lanes=self.lanes))


def dot_product(isa: DotIsa) -> DotProduct:
    """The steps of an instruction set."""
    if isa is DotIsa.AVX512_VNNI:
        return Vnni(16, "llvm.x86.avx512.vpdpbusd.512")
    if isa is DotIsa.AVX_VNNI:
        return Vnni(8, "llvm.x86.avx512.vpdpbusd.256")
    if isa is DotIsa.AVX2:
        return WideningPairs()
    if isa is DotIsa.NEON_DOT:
        return Sdot()
    if isa is DotIsa.NEON:
        return PairwiseSums()
    if isa is DotIsa.GENERIC:
        return Multiplying()
    raise CompilerError(f"no dot product is known for instruction set '{isa}'")
