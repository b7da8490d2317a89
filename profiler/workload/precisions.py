"""Element types, and the precisions that a layer can have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from profiler.errors import InvalidWorkload


class DType(str, Enum):
    """Element types, spelled as in the LUT.

    Signed integers are two's complement, but for ``int1``, which is the type of 1-bit weights: -1 or +1. A signed
    activation takes two bits at least.
    """

    INT1 = "int1"
    UINT1 = "uint1"
    INT2 = "int2"
    UINT2 = "uint2"
    INT3 = "int3"
    UINT3 = "uint3"
    INT4 = "int4"
    UINT4 = "uint4"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    FLOAT16 = "float16"
    FLOAT32 = "float32"

    @property
    def bits(self) -> int:
        return _BITS[self]

    @property
    def signed(self) -> bool:
        return not self.value.startswith("u")

    @property
    def is_integer(self) -> bool:
        return "int" in self.value

    @property
    def low(self) -> int:
        """Smallest representable integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def step(self) -> int:
        """From one representable integer to the next: 1, but for -1 and +1."""
        return 2 if self is DType.INT1 else 1

    @property
    def in_planes(self) -> bool:
        """Whether activations of the type are stored as bit planes (see quantize.planes)."""
        return self.bits < 4

    @property
    def high(self) -> int:
        """Largest representable integer."""
        if self is DType.INT1:
            return 1
        return (1 << (self.bits - (1 if self.signed else 0))) - 1

    @staticmethod
    def activation(bits: int, signed: bool) -> DType:
        """The type of activations in a precision of so many bits: two at least where they have a sign."""
        return DType.integer(max(bits, 2) if signed else bits, signed)

    @staticmethod
    def integer(bits: int, signed: bool) -> DType:
        """The integer type of that width, e.g. ``DType.integer(4, signed=False) is DType.UINT4``."""
        try:
            return DType(f"{'' if signed else 'u'}int{bits}")
        except ValueError:
            raise InvalidWorkload(f"there is no {'signed' if signed else 'unsigned'} {bits}-bit type") from None


def any_in_planes(*dtypes: DType | None) -> bool:
    """Whether activations of one of the types are stored as bit planes; None is none."""
    return any(dtype is not None and dtype.in_planes for dtype in dtypes)


_BITS = {dtype: int(re.sub(r"\D", "", dtype.value)) for dtype in DType}


@dataclass(frozen=True)
class Precision:
    """The pair of weight and input-activation widths of a layer: ``int8`` is W8A8, ``int4`` is W4A4, ``a2w1`` is W1A2.

    Weights are signed, those of one bit -1 or +1; activations are unsigned after a ReLU and signed otherwise, as
    HAWQ-V3 has it. A sign takes a bit and a value one more: signed activations of a 1-bit precision have two bits.
    """

    name: str
    weight_bits: int
    activation_bits: int

    @property
    def weight_dtype(self) -> DType:
        return DType.integer(self.weight_bits, signed=True)

    def activation_dtype(self, signed: bool) -> DType:
        return DType.activation(self.activation_bits, signed)

    @staticmethod
    def parse(name: str) -> Precision:
        """The precision of that name, or of an alias (``int2`` is ``a2w2``, ``a4w4`` is ``int4``).

        Raises `InvalidWorkload` with the known names.
        """
        text = name.strip().lower()
        try:
            return PRECISIONS[_ALIASES.get(text, text)]
        except KeyError:
            raise InvalidWorkload(f"unknown precision '{name}'; known are: {', '.join(PRECISIONS)}") from None


def widest_first(precisions: Iterable[Precision]) -> tuple[Precision, ...]:
    """Each once, by the bits of the activations, then by those of the weights."""
    return tuple(sorted(dict.fromkeys(precisions), key=lambda p: (-p.activation_bits, -p.weight_bits, p.name)))


INT8 = Precision("int8", 8, 8)
INT4 = Precision("int4", 4, 4)
_BELOW = tuple(
    Precision(f"a{activation}w{weight}", weight, activation)
    for activation in range(4, 0, -1)
    for weight in range(4, 0, -1)
    if (activation, weight) != (4, 4)
)
PRECISIONS: Mapping[str, Precision] = {p.name: p for p in (INT8, INT4, *_BELOW)}
_ALIASES = {"a8w8": "int8", "a4w4": "int4", "int3": "a3w3", "int2": "a2w2", "int1": "a1w1"}
