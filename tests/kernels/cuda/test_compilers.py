"""CUDA compilers: cubins, what ptxas says of them, and one clear line for whatever is missing or broken."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from profiler.errors import CompilerError
from profiler.hardware import GPUS
from profiler.kernels.cuda.compiler import compiler_text, find_compiler
from profiler.kernels.cuda.cubin import Cubin, Usage, parse_usage
from profiler.kernels.cuda.nvcc import Nvcc
from profiler.kernels.cuda.nvdisasm import Disassembler
from profiler.kernels.cuda.nvrtc import Nvrtc
from profiler.kernels.cuda.tools import Tools
from profiler.kernels.toolchain import ToolchainError
from tests.kernels.cuda.tools import CHOICES, kernel, require

PLAIN = kernel("y[threadIdx.x] = x[threadIdx.x] + n;")
SHARED = kernel("__shared__ int s[40]; s[threadIdx.x % 40] = x[threadIdx.x]; __syncthreads(); y[0] = s[n];")
_LIVE = 120
SPILLING = kernel(
    f"int v[{_LIVE}];\n#pragma unroll\nfor (int i = 0; i < {_LIVE}; ++i) v[i] = x[i * n];\n__syncthreads();\n"
    f"#pragma unroll\nfor (int i = {_LIVE - 1}; i >= 0; --i) y[i * d] = v[i] * v[(i * 7) % {_LIVE}];",
    threads=1024,
)


@pytest.mark.compile
@pytest.mark.parametrize("cuda", CHOICES)
@pytest.mark.parametrize("gpu", GPUS)
def test_a_cubin_of_the_architecture(cuda: str, gpu: str, tmp_path: Path) -> None:
    tools = require(cuda, gpu)
    cubin = tools.compiler.compile(PLAIN, GPUS[gpu].arch)
    text = _disassembled(tools, cubin, tmp_path)
    number = GPUS[gpu].arch.removeprefix("sm_")
    assert re.search(rf"\.target\s+sm_{number}\b|\bEF_CUDA_SM{number}\b", text)
    assert cubin.usage("k").registers == _registers_in_cubin(text)
    assert cubin.usage("k").spill_bytes == cubin.usage("k").stack_bytes == 0
    major = int(tools.compiler.identity.split()[1].split(".")[0])
    if major in (12, 13):
        assert (cubin.abi, cubin.least_driver) == {12: (7, "525.60.13"), 13: (8, "580.65.06")}[major]


@pytest.mark.compile
@pytest.mark.parametrize("cuda", CHOICES)
def test_shared_memory_and_spills_are_told(cuda: str) -> None:
    tools = require(cuda)
    assert tools.compiler.compile(SHARED, "sm_75").usage("k").static_shared_bytes == 160
    cubin = tools.compiler.compile(SPILLING, "sm_75")
    usage = cubin.usage("k")
    assert usage.registers <= 64
    assert usage.stack_bytes >= 4 * (_LIVE - 64)
    assert usage.spill_bytes >= 2 * 4 * (_LIVE - 64)
    counts = tools.disassembler.listing(cubin.code).count("k")
    assert counts["STL"] > 0
    assert counts["LDL"] > 0


@pytest.mark.compile
@pytest.mark.parametrize("cuda", CHOICES)
def test_a_refused_kernel_is_its_own_fault(cuda: str) -> None:
    compiler = require(cuda).compiler
    for source, says in ((kernel("int = ;"), "expected"), (kernel("y[0] = unknown;"), "unknown")):
        with pytest.raises(
            CompilerError, match=rf"^{re.escape(compiler.identity)} refused the kernel: .*error.*{says}"
        ):
            compiler.compile(source, "sm_75")
    with pytest.raises(CompilerError) as caught:
        compiler.compile(kernel('asm volatile("no_such_instruction;");'), "sm_75")
    assert not isinstance(caught.value, ToolchainError)
    assert "\n" not in str(caught.value)
    assert compiler.compile(PLAIN, "sm_75").code[:4] == b"\x7fELF", "the compiler still works"


@pytest.mark.compile
@pytest.mark.parametrize("cuda", CHOICES)
def test_identity_and_architectures(cuda: str) -> None:
    compiler = require(cuda).compiler
    assert re.fullmatch(r"(nvrtc|nvcc) \d+\.\d+\.\d+", compiler.identity)
    assert {"sm_75", "sm_80", "sm_90"} <= set(compiler.archs())
    assert compiler == find_compiler(cuda)
    tvm = metadata.version("apache-tvm")
    assert re.fullmatch(rf"tvm {re.escape(tvm)} {compiler.identity} templates \d+", compiler_text(compiler))


@pytest.mark.compile
def test_the_root_of_a_toolkit() -> None:
    require("nvcc")
    told = subprocess.run(["nvcc", "--dryrun", "-x", "cu", "-"], capture_output=True, text=True, input="", check=False)
    root = Path(re.search(r"_HERE_=(.*)", told.stderr)[1]).parent  # type: ignore[index]
    found = find_compiler(str(root))
    assert isinstance(found, Nvcc)
    assert found.path == root / "bin" / "nvcc"
    assert found.compile(PLAIN, "sm_75").usage("k").registers > 0


@pytest.mark.parametrize(("cuda", "package"), [("12", "nvidia-cuda-nvrtc-cu12"), ("13", "nvidia-cuda-nvrtc")])
def test_no_wheel(cuda: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(ToolchainError, match=rf"^{package} is not installed; install it: pip install {package}$"):
        find_compiler(cuda)


@dataclass
class _FakeWheel:
    """Installed, but its file is what a test puts there."""

    file: Path
    version: str = "12.9.86"

    def locate_file(self, path: str) -> Path:
        return self.file


@pytest.mark.parametrize("content", ["missing", "text", "another library"])
def test_a_broken_wheel(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "libnvrtc.so.12"
    if content == "text":
        file.write_text("not a library")
    elif content == "another library":
        libraries = (p for folder in ("/lib", "/usr/lib") for p in Path(folder).glob("*-linux-gnu/libm.so.6"))
        shutil.copy(next(libraries), file)
    monkeypatch.setattr(metadata, "distribution", lambda name: _FakeWheel(file))
    line = (
        rf"^[^\n]*{re.escape(str(file))}[^\n]*; install it again: pip install --force-reinstall nvidia-cuda-nvrtc-cu12$"
    )
    with pytest.raises(ToolchainError, match=line):
        find_compiler("12")


@pytest.mark.compile
def test_a_wheel_with_another_version_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = require("12").compiler
    assert isinstance(compiler, Nvrtc)
    monkeypatch.setattr(metadata, "distribution", lambda name: _FakeWheel(compiler.library, "12.1.0"))
    with pytest.raises(ToolchainError, match=r"is NVRTC 12\.\d+, not 12\.1\.0 as its package; install it again"):
        find_compiler("12")


@pytest.mark.compile
def test_a_compiler_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = require("12").compiler
    monkeypatch.setattr(Nvrtc, "archs", lambda self: ("sm_50", "sm_70"))
    expected = rf"^{re.escape(compiler.identity)} does not compile for sm_90 \(.*\); it knows sm_50 to sm_70: choose"
    with pytest.raises(ToolchainError, match=expected):
        Tools.find("12", GPUS["h200"])


def test_no_nvcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"^nvcc is not on PATH; install .* or use NVRTC \(--cuda 12\)$"):
        find_compiler("nvcc")
    with pytest.raises(ToolchainError, match=rf"^'{tmp_path}' is neither 12, 13 nor nvcc, nor the root of a CUDA"):
        find_compiler(str(tmp_path))


def _fake_nvcc(folder: Path, script: str) -> str:
    path = folder / "bin" / "nvcc"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo hello", "does not tell its version"),
        ("echo broken pipe dream >&2; exit 3", "bin/nvcc fails: broken pipe dream"),
        ("exit 3", "bin/nvcc fails: it ended with 3"),
    ],
)
def test_an_nvcc_that_does_not_work(script: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=rf"^[^\n]*{says}[^\n]*install another[^\n]*$"):
        find_compiler(_fake_nvcc(tmp_path, script))


def test_an_nvcc_that_cannot_be_started(tmp_path: Path) -> None:
    root = _fake_nvcc(tmp_path, "")
    (tmp_path / "bin" / "nvcc").chmod(0o644)
    with pytest.raises(ToolchainError, match="cannot be started: Permission denied"):
        find_compiler(root)


def test_an_nvcc_that_dies_ends_the_run(tmp_path: Path) -> None:
    compiler = find_compiler(
        _fake_nvcc(
            tmp_path, '[ "$1" = --version ] && echo "release 12.4, V12.4.99" || { echo "nvcc fatal : no" >&2; exit 1; }'
        )
    )
    assert compiler.identity == "nvcc 12.4.99"
    with pytest.raises(
        ToolchainError, match=r"does not work: nvcc fatal : no; repair it \(it needs a C\+\+ compiler\)"
    ):
        compiler.compile(PLAIN, "sm_75")


_ANSWERS = '[ "$1" = --version ] && echo "release 12.4, V12.4.99"'


def test_an_nvcc_that_vanishes_ends_the_run(tmp_path: Path) -> None:
    compiler = find_compiler(_fake_nvcc(tmp_path, _ANSWERS))
    assert isinstance(compiler, Nvcc)
    compiler.path.unlink()
    line = rf"^{re.escape(str(compiler.path))} cannot be started: No such file or directory; install another [^\n]*$"
    with pytest.raises(ToolchainError, match=line):
        compiler.compile(PLAIN, "sm_75")


def test_an_nvcc_that_writes_nothing_ends_the_run(tmp_path: Path) -> None:
    compiler = find_compiler(_fake_nvcc(tmp_path, f"{_ANSWERS}; exit 0"))
    with pytest.raises(ToolchainError, match=r"does not work: it ended with 0, without a cubin; repair it"):
        compiler.compile(PLAIN, "sm_75")


def test_what_is_said_in_another_encoding_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"fails: p\ufffdnico; install another"):
        find_compiler(_fake_nvcc(tmp_path, r"printf 'p\341nico\n' >&2; exit 1"))


@pytest.mark.compile
def test_nvcc_without_a_host_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = require("nvcc").compiler
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"^[^\n]*does not work: [^\n]*C\+\+ compiler"):
        compiler.compile(PLAIN, "sm_75")


NVRTC_LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k' for 'sm_75'
ptxas info    : Function properties for k
ptxas         .     16 bytes stack frame, 12 bytes spill stores, 56 bytes spill loads
ptxas info    : Used 36 registers, used 1 barriers, 16 bytes cumulative stack size, 160 bytes smem, 376 bytes cmem[0]
ptxas info    : Compile time = 7.301 ms
"""
NVCC_LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'other' for 'sm_75'
ptxas info    : Function properties for other
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 360 bytes cmem[0]
ptxas info    : Compiling entry function 'k' for 'sm_75'
ptxas info    : Function properties for k
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 376 bytes cmem[0]
"""


def test_logs_of_ptxas() -> None:
    assert parse_usage(NVRTC_LOG, "k") == Usage(36, 16, 68, 160)
    assert parse_usage(NVCC_LOG, "k") == Usage(255, 0, 0, 0)
    assert parse_usage(NVCC_LOG, "other") == Usage(8, 0, 0, 0)
    for log, entry in (("", "k"), (NVCC_LOG, "absent"), (NVRTC_LOG.replace("Used", "Took"), "k")):
        with pytest.raises(CompilerError, match="ptxas does not say what kernel"):
            parse_usage(log, entry)


def test_what_is_no_cubin_is_refused() -> None:
    with pytest.raises(CompilerError, match="not a cubin"):
        Cubin(b"PTX", "")
    unknown = Cubin(b"\x7fELF\x02\x01\x01\x41\x09" + bytes(64), "")
    with pytest.raises(CompilerError, match="ELF ABI 9"):
        _ = unknown.least_driver


@pytest.mark.compile
def test_a_disassembler_is_found_on_path_and_missed_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = require("12").disassembler

    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = (
        r"^no disassembler: nvdisasm is not on PATH, and nvidia-cuda-nvdisasm is not installed; "
        r"install it: pip install nvidia-cuda-nvdisasm$"
    )
    with pytest.raises(ToolchainError, match=expected):
        Disassembler.find()
    (tmp_path / "nvdisasm").symlink_to(own.path)
    assert Disassembler.find() == Disassembler(tmp_path / "nvdisasm", own.version)


def _disassembled(tools: Tools, cubin: Cubin, folder: Path) -> str:
    file = folder / "kernel.cubin"
    file.write_bytes(cubin.code)
    command = [str(tools.disassembler.path), str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _registers_in_cubin(text: str) -> int:
    """What the driver reads, an attribute of the cubin."""
    found = re.search(r"EIATTR_REGCOUNT.*?index@\(k\)\s+/\*\w+\*/\s+\.word\s+(0x\w+)", text, re.DOTALL)
    assert found is not None
    return int(found[1], 16)
