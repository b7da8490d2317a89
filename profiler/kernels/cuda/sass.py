"""Machine code of a kernel (SASS), read with NVIDIA's disassembler: what a kernel does, and what its main loop does.

cubin --nvdisasm--> text --parse--> Listing: instructions by function --count--> class -> number
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from profiler.errors import CompilerError

Counts = Mapping[str, int]
"""Class of instructions (see `Instruction.kind`) -> how many there are."""

_RECIPROCAL = "MUFU.RCP"
DIVISION = (_RECIPROCAL, "I2F", "F2I")
"""What an integer division is made of: a reciprocal in floating point, and the way there and back. There is none in
hardware."""

_BINARY = "BMMA"
_TENSOR_CORE = ("IMMA", "IGMMA", _BINARY)
_MEMORY = ("LDG", "STG", "LDS", "STS")
_WIDTHS = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128}
_INSTRUCTION = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")
_LABEL = re.compile(r"([\w$.]+):")
_TARGET = re.compile(r"`\(([^)]+)\)")


@dataclass(frozen=True)
class Instruction:
    """``address`` in bytes; ``target`` is the label that a branch or call goes to, empty for all others."""

    address: int
    opcode: str
    target: str = ""

    @property
    def kind(self) -> str:
        """The class that it is counted as: its name, with shape and types of tensor-core instructions
        (``IMMA.8832.U4.S4``, ``BMMA.88128.XOR.POPC``), the bits of loads and stores (``LDG.128``), and the function of
        ``MUFU``.
        """
        name, *modifiers = self.opcode.split(".")
        if name in _TENSOR_CORE:
            return ".".join((name, *modifiers[:3]))
        if name in _MEMORY:
            return f"{name}.{next((_WIDTHS[m] for m in modifiers if m in _WIDTHS), 32)}"
        if name == "MUFU":
            return ".".join((name, *modifiers[:1]))
        if name == "CALL" and self.target.startswith(".L"):
            return "BRA"  # ptxas writes some far jumps as calls that never return
        return name


Body = tuple[Instruction, ...]


@dataclass(frozen=True)
class Listing:
    """``functions`` by name, the kernel and the routines that it calls; ``labels`` are addresses in their function."""

    functions: Mapping[str, Body]
    labels: Mapping[str, int]

    def count(self, entry: str) -> Counts:
        """All instructions of a kernel, those of a called routine once for each call."""
        return self._count(self._kernel(entry))

    def count_main_loop(self, entry: str) -> Counts:
        """Those of the innermost loop with the most tensor-core instructions, or of all if no loop has any."""
        kernel = self._kernel(entry)
        loops = [loop for loop in sorted(self._loops(kernel), key=len) if tensor_core(self._count(loop))]
        innermost = [loop for i, loop in enumerate(loops) if not any(_within(inner, loop) for inner in loops[:i])]
        return self._count(max(innermost, key=lambda loop: tensor_core(self._count(loop)), default=kernel))

    def _loops(self, kernel: Body) -> list[Body]:
        """From where a branch goes back to, as far as the last branch that does."""
        ends: dict[int, int] = {}
        for one in kernel:
            begin = self.labels.get(one.target)
            if one.kind == "BRA" and begin is not None and begin < one.address:
                ends[begin] = one.address
        return [tuple(one for one in kernel if begin <= one.address <= end) for begin, end in ends.items()]

    def _kernel(self, entry: str) -> Body:
        if entry not in self.functions:
            raise CompilerError(f"the cubin has no kernel '{entry}'; it has {', '.join(self.functions) or 'none'}")
        return self.functions[entry]

    def _count(self, instructions: Iterable[Instruction], depth: int = 0) -> Counter[str]:
        counts: Counter[str] = Counter()
        for instruction in instructions:
            counts[instruction.kind] += 1
            if instruction.kind == "CALL" and depth < 4:
                counts += self._count(self.functions.get(instruction.target, ()), depth + 1)
        return counts


def tensor_core(counts: Counts) -> int:
    """How many of the instructions are for tensor cores."""
    return sum(_of_tensor_cores(counts).values())


def most_frequent_tensor_core(counts: Counts) -> tuple[str, int]:
    """The class of tensor-core instructions of which there are most, and how many; ``("", 0)`` if there is none."""
    return max(_of_tensor_cores(counts).items(), key=lambda item: item[1], default=("", 0))


def divisions(counts: Counts) -> int:
    """How many integer divisions there are, by their reciprocals; one of 64 bits counts twice (it has a short way)."""
    return counts.get(_RECIPROCAL, 0)


def multiplies(counts: Counts, bits: int) -> bool:
    """Whether an instruction multiplies numbers of that width: one of tensor cores (of single bits the binary one), or
    for 8 bits dp4a (IDP)."""
    if bits == 1:
        return any(kind.partition(".")[0] == _BINARY for kind in counts)
    tensor_cores = re.compile(rf"(IMMA|IGMMA)\.\w+\.[SU]{bits}\.[SU]{bits}")
    return any(tensor_cores.fullmatch(kind) or (bits == 8 and kind.partition(".")[0] == "IDP") for kind in counts)


def parse(text: str) -> Listing:
    """From nvdisasm's text."""
    functions: dict[str, list[Instruction]] = {}
    labels: dict[str, int] = {}
    waiting: list[str] = []
    current: list[Instruction] = []
    for line in text.splitlines():
        if label := _LABEL.match(line):
            if label[1].startswith("."):
                waiting.append(label[1])
            else:
                current = functions.setdefault(label[1], [])
        elif found := _INSTRUCTION.match(line):
            address, opcode, operands = int(found[1], 16), found[2], found[3]
            labels |= dict.fromkeys(waiting, address)
            waiting.clear()
            target = _TARGET.search(operands)
            current.append(Instruction(address, opcode, target[1] if target else ""))
    return Listing({name: _without_padding(body, labels) for name, body in functions.items()}, labels)


def _without_padding(body: list[Instruction], labels: Mapping[str, int]) -> Body:
    """Less what stands behind the last instruction that is reached: a branch to itself, and NOPs."""
    end = len(body)
    while end and (body[end - 1].kind == "NOP" or labels.get(body[end - 1].target) == body[end - 1].address):
        end -= 1
    return tuple(body[:end])


def _of_tensor_cores(counts: Counts) -> Counts:
    return {kind: n for kind, n in counts.items() if kind.partition(".")[0] in _TENSOR_CORE}


def _within(inner: Body, outer: Body) -> bool:
    return outer[0].address <= inner[0].address and inner[-1].address <= outer[-1].address
