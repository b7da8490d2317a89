"""What Linux tells of an Arm CPU, from recorded texts."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest

from profiler.arm_cpus import core_names, emulated_on, vector_features

CORE = """\
processor\t: {number}
BogoMIPS\t: 48.00
Features\t: fp asimd
CPU implementer\t: {implementer}
CPU architecture: 8
CPU variant\t: 0x{variant}
CPU part\t: {part}
CPU revision\t: {revision}

"""


def core(number: int, part: str, variant: int, revision: int, implementer: str = "0x41") -> str:
    return CORE.format(number=number, implementer=implementer, variant=variant, part=part, revision=revision)


def test_one_kind_of_core() -> None:
    assert core_names("".join(core(n, "0xd08", 0, 3) for n in range(4))) == "Cortex-A72 r0p3"


def test_kinds_in_the_order_of_the_processors() -> None:
    text = "".join(core(n, "0xd05", 2, 0) for n in range(4)) + "".join(core(n, "0xd0b", 4, 0) for n in range(4, 8))
    assert core_names(text + "Hardware\t: a board\n") == "Cortex-A55 r2p0 + Cortex-A76 r4p0"


def test_a_core_that_is_not_known_goes_by_its_numbers() -> None:
    assert core_names(core(0, "0x001", 1, 2, "0xff")) == "0xff-0x001 r1p2"
    assert core_names("processor\t: 0\nCPU implementer\t: 0x41\n") == ""
    assert core_names("processor\t: 0\nmodel name\t: another kind\n") == ""


def auxv(folder: Path, *entries: tuple[int, int]) -> Path:
    path = folder / "auxv"
    path.write_bytes(b"".join(struct.pack("=QQ", *entry) for entry in (*entries, (0, 0))))
    return path


def test_features_of_the_auxiliary_vector(tmp_path: Path) -> None:
    """Bits as in Linux's hwcap.h: ASIMD is bit 1, ATOMICS 8, ASIMDRDM 12, ASIMDDP 20 of HWCAP; I8MM 13 of HWCAP2."""
    bits = 1 << 0 | 1 << 1 | 1 << 8 | 1 << 12 | 1 << 20
    found = vector_features(auxv(tmp_path, (6, 4096), (16, bits), (26, 1 << 13)))
    assert found == {"fp", "asimd", "atomics", "asimdrdm", "asimddp", "i8mm"}
    assert vector_features(auxv(tmp_path, (16, 0x8FB))) == {
        "fp",
        "asimd",
        "aes",
        "pmull",
        "sha1",
        "sha2",
        "crc32",
        "cpuid",
    }


def test_an_auxiliary_vector_that_cannot_be_read(tmp_path: Path) -> None:
    assert vector_features(tmp_path / "none") == frozenset()
    (tmp_path / "half").write_bytes(b"\1\0\0")
    assert vector_features(tmp_path / "half") == frozenset()


@pytest.mark.parametrize(
    ("machine", "kind", "expected"),
    [("aarch64", "x86", "x86"), ("aarch64", "aarch64", ""), ("x86_64", "x86", ""), ("x86_64", "aarch64", "aarch64"),
     ("riscv64", "x86", "")],
)  # fmt: skip
def test_emulation_is_seen(tmp_path: Path, machine: str, kind: str, expected: str) -> None:
    (tmp_path / "modalias").write_text(f"cpu:type:{kind},ven0002fam0019mod0011:feature:,0000\n")
    assert emulated_on(machine, tmp_path / "modalias") == expected


def test_a_system_that_does_not_tell_its_kind(tmp_path: Path) -> None:
    assert emulated_on("aarch64", tmp_path / "none") == ""
    (tmp_path / "modalias").write_text("something else")
    assert emulated_on("aarch64", tmp_path / "modalias") == ""
    assert emulated_on(platform.machine()) == ""
