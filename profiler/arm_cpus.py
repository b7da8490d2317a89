"""What Linux tells of an Arm CPU: its instructions, the names of its cores, and whether it is one at all."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from pathlib import Path

_AT_HWCAP, _AT_HWCAP2 = 16, 26

# Names of the bits as /proc/cpuinfo has them (arch/arm64/include/uapi/asm/hwcap.h and kernel/cpuinfo.c of Linux).
_HWCAP = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc "
    "dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"
)
_HWCAP2 = (
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm "
    "svebf16 i8mm bf16 dgh rng bti mte"
)

# (implementer, part) of MIDR_EL1, as in the technical reference manuals.
_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
}
_CORE_FACT = re.compile(r"^CPU (implementer|part|variant|revision)\s*:\s*(0x[0-9a-fA-F]+|\d+)\s*$", re.MULTILINE)
_KERNEL_TYPES = {"x86_64": "x86", "aarch64": "aarch64"}


def vector_features(auxv: Path = Path("/proc/self/auxv")) -> frozenset[str]:
    """What the kernel tells this process that it may use, named as in /proc/cpuinfo; empty if that cannot be read.

    /proc/cpuinfo says the same, but for a process that an emulator runs: there it describes the emulator's machine.
    """
    found: set[str] = set()
    with suppress(OSError, struct.error):
        for kind, bits in struct.iter_unpack("=QQ", auxv.read_bytes()):
            names = {_AT_HWCAP: _HWCAP, _AT_HWCAP2: _HWCAP2}.get(kind, "")
            found.update(name for bit, name in enumerate(names.split()) if bits >> bit & 1)
    return frozenset(found)


def core_names(cpuinfo: str) -> str:
    """The kinds of cores in a /proc/cpuinfo, in its order, e.g. ``Cortex-A55 r2p0 + Cortex-A76 r4p0``.

    Cores that are not known go by their numbers; empty if it names none.
    """
    kinds: dict[str, None] = {}
    for processor in re.split(r"^processor\s*:", cpuinfo, flags=re.MULTILINE)[1:]:
        facts = {name: int(value, 0) for name, value in _CORE_FACT.findall(processor)}
        if "implementer" in facts and "part" in facts:
            key = (facts["implementer"], facts["part"])
            name = _CORES.get(key, f"0x{key[0]:02x}-0x{key[1]:03x}")
            step = f" r{facts['variant']}p{facts['revision']}" if {"variant", "revision"} <= set(facts) else ""
            kinds[name + step] = None
    return " + ".join(kinds)


def emulated_on(machine: str, modalias: Path = Path("/sys/devices/system/cpu/modalias")) -> str:
    """The kind of CPU that imitates a ``machine`` for this process (as QEMU's user emulation does), as its kernel names
    it; empty where nothing says so."""
    with suppress(OSError):
        said = re.match(r"cpu:type:(\w+)", modalias.read_text())
        expected = _KERNEL_TYPES.get(machine)
        if said and expected and said[1] != expected:
            return said[1]
    return ""
