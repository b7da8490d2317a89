"""Device facts, and the host CPU from recorded /proc/cpuinfo and sysfs texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from profiler.hardware import ARM_CPUS, GPUS, DotIsa, dot_isa, host_cpu, is_cpu, parse_cpuinfo

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz
stepping\t: 7
microcode\t: 0x5003604
flags\t\t: fpu sse4_2 avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni
power management:

processor\t: 1
model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz
flags\t\t: fpu sse4_2 avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd asimdhp asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd0c
"""


def test_peaks_equal_the_data_sheets() -> None:
    assert GPUS["t4"].int8_peak_ops == pytest.approx(130e12, rel=0.01)
    assert GPUS["t4"].int4_peak_ops == pytest.approx(260e12, rel=0.01)
    assert GPUS["a100"].int8_peak_ops == pytest.approx(624e12, rel=0.01)
    assert GPUS["a100"].int4_peak_ops == pytest.approx(1248e12, rel=0.01)
    assert GPUS["h200"].int8_peak_ops == pytest.approx(1979e12, rel=0.01)
    assert [spec.native_int4 for spec in GPUS.values()] == [True, True, False]
    assert all(slug == spec.slug for slug, spec in GPUS.items())


def test_a_peak_that_does_not_follow_from_the_units_is_refused() -> None:
    with pytest.raises(ValueError, match="INT4 peak"):
        replace(GPUS["t4"], int4_peak_ops=130e12)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shared_bytes_reserved": 1024}, "do not fill"),
        ({"l2_bytes_per_s": 300e9}, "faster than the one before"),
        ({"shared_bytes_per_clock": 16}, "faster than the one before"),
        ({"dram_latency_clocks": 100}, "longer to answer"),
        ({"mma_fraction": 1.5}, "fraction"),
        ({"l1_bytes": 32 << 10}, "part of L1"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(change: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=f"t4: .*{reason}"):
        replace(GPUS["t4"], **change)


def test_rates_that_other_figures_imply() -> None:
    """Published figures that were not put in: FP32 lanes as wide as the integer ones, and what one SM can do."""
    t4, a100, h200 = (GPUS[slug] for slug in ("t4", "a100", "h200"))
    assert 2 * t4.int32_lanes * t4.sms * t4.clock_hz == pytest.approx(8.1e12, rel=0.01)  # FP32 of the data sheet
    assert t4.shared_bytes_per_s == pytest.approx(4070e9, rel=0.01)
    assert [gpu.capability for gpu in (t4, a100, h200)] == [(7, 5), (8, 0), (9, 0)]
    for gpu in GPUS.values():
        assert gpu.registers_per_sm == 64 << 10
        assert gpu.threads_per_sm % gpu.threads_per_block == 0


def test_an_x86_cpu() -> None:
    cpu = parse_cpuinfo(X86, "x86_64")
    assert cpu.model == "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz (6/85/7)"
    assert (cpu.isa, cpu.cores, cpu.microcode) == (DotIsa.AVX512_VNNI, 2, "0x5003604")


def test_an_arm_cpu_has_no_model_name() -> None:
    cpu = parse_cpuinfo(ARM, "aarch64")
    assert (cpu.model, cpu.isa, cpu.cores, cpu.microcode) == ("Neoverse-N1", DotIsa.NEON_DOT, 1, "")


def test_an_empty_cpuinfo_still_gives_a_cpu() -> None:
    cpu = parse_cpuinfo("", "riscv64")
    assert (cpu.model, cpu.isa, cpu.cores) == ("riscv64", DotIsa.GENERIC, 1)


@pytest.mark.parametrize(
    ("features", "machine", "expected"),
    [
        ("avx2 avx512f avx512bw avx512vl avx512dq avx512_vnni avx_vnni", "x86_64", DotIsa.AVX512_VNNI),
        ("avx2 avx512f avx512bw avx512dq avx512_vnni", "x86_64", DotIsa.AVX2),  # no 256-bit forms
        ("avx2 avx_vnni", "x86_64", DotIsa.AVX_VNNI),
        ("avx2 avx512f avx512bw avx512vl avx512dq", "x86_64", DotIsa.AVX2),
        ("sse4_2", "x86_64", DotIsa.GENERIC),
        ("asimd", "aarch64", DotIsa.NEON),
        ("asimd asimddp", "arm64", DotIsa.NEON_DOT),
        ("", "aarch64", DotIsa.GENERIC),
    ],
)
def test_the_best_dot_product(features: str, machine: str, expected: DotIsa) -> None:
    assert dot_isa(frozenset(features.split()), machine) is expected


def test_vector_registers() -> None:
    assert [(i.lanes, i.registers, i.unsigned_activations) for i in DotIsa] == [
        (16, 32, True),
        (8, 16, True),
        (8, 16, None),
        (4, 32, False),
        (4, 32, False),
        (4, 32, None),
    ]


def cache(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def test_cache_sizes(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86)
    cache(tmp_path / "c/index0", type="Data", level="1", size="32K", coherency_line_size="128")
    cache(tmp_path / "c/index1", type="Instruction", level="1", size="48K")
    cache(tmp_path / "c/index2", type="Unified", level="2", size="1024K")
    cache(tmp_path / "c/index3", type="Unified", level="3", size="28M")
    cpu = host_cpu(tmp_path / "cpuinfo", tmp_path / "c")
    assert (cpu.l1d_bytes, cpu.l2_bytes, cpu.l3_bytes, cpu.line_bytes) == (32 << 10, 1 << 20, 28 << 20, 128)
    assert cpu.features == parse_cpuinfo(X86, "x86_64").features


def test_a_machine_that_does_not_say_its_cache_sizes(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(ARM)
    cache(tmp_path / "c/index0", type="Data", level="1")
    cache(tmp_path / "c/index1", shared_cpu_map="1")
    cpu = host_cpu(tmp_path / "cpuinfo", tmp_path / "c")
    assert (cpu.l1d_bytes, cpu.l2_bytes, cpu.l3_bytes, cpu.line_bytes) == (None, None, None, 64)
    assert host_cpu(tmp_path / "cpuinfo", tmp_path / "none").l2_bytes is None


def test_this_machine_can_be_read() -> None:
    cpu = host_cpu()
    assert cpu.model
    assert cpu.cores >= 1
    assert cpu.slug == "cpu"


def test_binary_rates_are_the_published_one_and_its_ratio() -> None:
    """NVIDIA publishes A100's alone: 4992 TOPS."""
    a100 = GPUS["a100"]
    assert 2 * a100.mma_macs_per_s(1) == pytest.approx(4992e12, rel=0.01)
    for spec in (a100, GPUS["t4"]):
        assert spec.mma_macs_per_s(1) == 4 * spec.mma_macs_per_s(4) == 8 * spec.mma_macs_per_s(8)
    h200 = GPUS["h200"]
    assert h200.has_native(1)
    assert not h200.has_native(4)
    assert h200.mma_macs_per_s(4) == h200.mma_macs_per_s(8)


def test_which_devices_are_cpus() -> None:
    assert all(map(is_cpu, ("cpu", *ARM_CPUS)))
    assert not any(map(is_cpu, GPUS))
