"""Runs one thread of a PTX kernel: the few instructions of `cuda_probes.ptx`, with their types checked.

Anything else is an error. Time passes with each instruction. A register has the type that it was declared with; an
instruction of another width is refused, as ptxas would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_WIDTHS = {"u32": 32, "b32": 32, "u64": 64, "pred": 1}
_INSTRUCTION = re.compile(r"(?:@%(\w+) )?([\w.]+)(?: (.*))?", re.DOTALL)


@dataclass
class Machine:
    """What a thread sees beside its registers.

    read, write : of memory, with address and bytes. instruction_ns : how long each takes. step_ns : of %globaltimer.
    clock_mhz : of %clock64.
    """

    read: Callable[[int, int], bytes]
    write: Callable[[int, bytes], None]
    special: Mapping[str, int] = field(default_factory=dict)
    instruction_ns: float = 5.0
    step_ns: int = 1
    clock_mhz: float = 1000.0
    begin_ns: float = 123456789.0
    elapsed_ns: float = 0.0

    def special_register(self, name: str) -> int:
        if name == "globaltimer":
            return int(self.begin_ns + self.elapsed_ns) // self.step_ns * self.step_ns
        if name == "clock64":
            return int((self.begin_ns + self.elapsed_ns) * self.clock_mhz * 1e-3)
        return self.special[name]


@dataclass(frozen=True)
class Kernel:
    """Parameters in order, types of the registers, and statements with the labels that stand before them."""

    name: str
    parameters: tuple[str, ...]
    registers: Mapping[str, str]
    statements: tuple[str, ...]
    labels: Mapping[str, int]


def parse(text: str) -> dict[str, Kernel]:
    """The kernels of a PTX text by name."""
    code = re.sub(r"//[^\n]*", "", text)
    found = {}
    for name, listed, body in re.findall(r"\.visible \.entry (\w+)\(([^)]*)\)\s*\{(.*?)\n\}", code, re.DOTALL):
        registers: dict[str, str] = {}
        statements: list[str] = []
        labels: dict[str, int] = {}
        for statement in re.sub(r"(\$\w+:)", r"\1;", body).split(";"):
            words = " ".join(statement.split())
            if words.startswith(".reg ."):
                kind, _, names = words[len(".reg .") :].partition(" ")
                registers.update(dict.fromkeys((n.strip().lstrip("%") for n in names.split(",")), kind))
            elif words.startswith("$"):
                labels[words.rstrip(":")] = len(statements)
            elif words:
                statements.append(words)
        parameters = tuple(re.findall(r"\.param \.u64 (\w+)", listed))
        found[name] = Kernel(name, parameters, registers, tuple(statements), labels)
    return found


class Thread:
    """Runs a kernel to its end. ``steps`` : how many instructions that took."""

    def __init__(self, kernel: Kernel, machine: Machine, arguments: Sequence[int]) -> None:
        assert len(arguments) == len(kernel.parameters)
        self._kernel = kernel
        self._machine = machine
        self._arguments = dict(zip(kernel.parameters, arguments, strict=True))
        self._values: dict[str, int] = {}
        self.steps = 0

    def run(self, most_steps: int = 1_000_000) -> None:
        at: int | None = 0
        while at is not None:
            self.steps += 1
            assert self.steps <= most_steps, f"{self._kernel.name} does not end"
            at = self._step(at)

    def _step(self, at: int) -> int | None:
        """Index of the next statement; None at the end."""
        match = _INSTRUCTION.fullmatch(self._kernel.statements[at])
        assert match, self._kernel.statements[at]
        condition, name, operands = match[1], match[2], match[3] or ""
        self._machine.elapsed_ns += self._machine.instruction_ns
        if condition and not self._get(condition, "pred"):
            return at + 1
        if name == "ret":
            return None
        if name == "bra":
            return self._kernel.labels[operands]
        parts = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", operands)
        kind, *suffixes = name.split(".")
        self._execute(kind, suffixes, parts)
        return at + 1

    def _execute(self, kind: str, suffixes: list[str], parts: list[str]) -> None:
        dtype = suffixes[-1]
        numbers = [] if kind in ("ld", "st", "mov") else [self._operand(part, dtype) for part in parts[1:]]
        if kind == "ld" and suffixes == ["param", "u64"]:
            self._set(parts[0], dtype, self._arguments[parts[1].strip("[]")])
        elif kind == "ld" and suffixes in (["volatile", "global", "u32"], ["global", "cg", "v4", "u32"]):
            self._load(parts, dtype)
        elif kind == "st" and suffixes in (["global", "u32"], ["global", "v2", "u64"]):
            self._store(parts, dtype)
        elif kind == "mov" and parts[1].lstrip("%") not in self._kernel.registers and parts[1].startswith("%"):
            self._set(parts[0], dtype, self._machine.special_register(parts[1][1:]))
        elif kind == "mov":
            self._set(parts[0], dtype, self._operand(parts[1], dtype))
        elif kind == "cvta" and suffixes == ["to", "global", "u64"]:
            self._set(parts[0], dtype, numbers[0])
        elif kind == "setp" and suffixes[0] in _COMPARISONS:
            self._set(parts[0], "pred", int(_COMPARISONS[suffixes[0]](*numbers)))
        elif (kind, *suffixes[:-1]) in _ARITHMETIC:
            wide = suffixes[0] == "wide"
            self._set(parts[0], "u64" if wide else dtype, _ARITHMETIC[(kind, *suffixes[:-1])](*numbers))
        else:
            raise AssertionError(f"unknown instruction {kind}.{'.'.join(suffixes)}")

    def _load(self, parts: list[str], dtype: str) -> None:
        names = [part.strip() for part in parts[0].strip("{}").split(",")]
        data = self._machine.read(self._address(parts[1], len(names), dtype), len(names) * _WIDTHS[dtype] // 8)
        each = _WIDTHS[dtype] // 8
        for index, name in enumerate(names):
            self._set(name, dtype, int.from_bytes(data[index * each : (index + 1) * each], "little"))

    def _store(self, parts: list[str], dtype: str) -> None:
        names = [part.strip() for part in parts[1].strip("{}").split(",")]
        values = [self._operand(name, dtype) for name in names]
        data = b"".join(value.to_bytes(_WIDTHS[dtype] // 8, "little") for value in values)
        self._machine.write(self._address(parts[0], len(names), dtype), data)

    def _address(self, part: str, count: int, dtype: str) -> int:
        address = self._get(part.strip("[]").lstrip("%"), "u64")
        assert address % (count * _WIDTHS[dtype] // 8) == 0, "misaligned"
        return address

    def _operand(self, part: str, dtype: str) -> int:
        if part.startswith("%"):
            return self._get(part[1:], dtype)
        return int(part)

    def _get(self, name: str, dtype: str) -> int:
        declared = self._kernel.registers[name]
        assert _WIDTHS[declared] == _WIDTHS[dtype], f"%{name} is .{declared}, not .{dtype}"
        return self._values[name]

    def _set(self, name: str, dtype: str, value: int) -> None:
        declared = self._kernel.registers[name.lstrip("%")]
        assert _WIDTHS[declared] == _WIDTHS[dtype], f"{name} is .{declared}, not .{dtype}"
        self._values[name.lstrip("%")] = value % (1 << _WIDTHS[dtype])


_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "ge": lambda a, b: a >= b,
}
_ARITHMETIC: Mapping[tuple[str, ...], Callable[..., int]] = {
    ("add",): lambda a, b: a + b,
    ("sub",): lambda a, b: a - b,
    ("xor",): lambda a, b: a ^ b,
    ("mul", "lo"): lambda a, b: a * b,
    ("mul", "wide"): lambda a, b: a * b,
    ("mad", "lo"): lambda a, b, c: a * b + c,
}
