"""TIR in a few words: constants, vectors, loads and stores, loops. For templates of any target."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T

Expr = Any
"""A TIR expression; TVM's Python classes carry no useful static types."""
Buffer = Any


def const(value: int, dtype: str = "int32", lanes: int = 1) -> Expr:
    """A constant, broadcast to ``lanes``."""
    scalar = tirx.const(value, dtype)
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def at(offset: Expr, lanes: int) -> Expr:
    """The index of ``lanes`` consecutive elements."""
    return offset if lanes == 1 else tirx.Ramp(offset, 1, lanes)


def load(buffer: Buffer, offset: Expr, lanes: int = 1) -> Expr:
    return buffer[at(offset, lanes)]


def store(buffer: Buffer, offset: Expr, value: Expr, lanes: int = 1) -> None:
    T.buffer_store(buffer, value, [at(offset, lanes)])


def local(count: int, dtype: str = "int32") -> Buffer:
    """An array in registers."""
    return T.alloc_buffer((count,), dtype, scope="local")


def value(expression: Expr) -> Buffer:
    """A register that holds the expression; read it as ``[0]``."""
    register = local(1)
    store(register, 0, expression)
    return register


def barrier() -> None:
    """All threads of a block, and their writes to shared memory."""
    T.evaluate(T.tvm_storage_sync("shared"))
