"""The probe kernels in PTX: accepted by ptxas, and run thread by thread in an interpreter of our own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

import profiler
from profiler.devices.cuda_probes import probe_code

from .fake_cuda_code import read_ptx
from .ptx_interpreter import Kernel, Machine, Thread, parse

TEXT = probe_code().decode()
KERNELS = parse(TEXT)
FLAG, OUTCOME, SINK, DATA = 0x2000_0000, 0x7000_0000, 0x7000_0010, 0x7100_0000
CERTAIN = 2654435769


def _ptxas() -> str:
    nvcc = shutil.which("nvcc")
    beside = os.path.join(os.path.dirname(os.path.realpath(nvcc)), "ptxas") if nvcc else None
    for path in (shutil.which("ptxas"), beside, "/usr/local/cuda/bin/ptxas"):
        if path and os.path.exists(path):
            return path
    pytest.skip("ptxas is not here")


@pytest.mark.compile
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"])
def test_ptxas_accepts_it(arch: str, tmp_path: Path) -> None:
    source, cubin = tmp_path / "probes.ptx", tmp_path / "probes.cubin"
    source.write_bytes(probe_code())
    command = [_ptxas(), f"--gpu-name={arch}", "--warning-as-error", "-v", str(source), "-o", str(cubin)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\d+) bytes stack frame", done.stderr) == ["0"] * 4
    assert cubin.read_bytes()[:4] == b"\x7fELF"


def test_every_driver_of_our_cards_compiles_it() -> None:
    """PTX 6.4 came with CUDA 10.1; sm_75 is the oldest architecture that kernels are built for."""
    assert re.search(r"^\.version 6\.4\n\.target sm_75\n\.address_size 64$", TEXT, re.MULTILINE)
    assert TEXT.isascii()


def test_kernels_and_their_parameters() -> None:
    assert read_ptx(TEXT) == {"spin": 3, "touch": 3, "clock": 2, "nothing": 1}
    assert set(KERNELS) == {"spin", "touch", "clock", "nothing"}
    assert ".param .u32" not in TEXT


def test_the_text_comes_out_of_a_zip_file(tmp_path: Path) -> None:
    """As in a bundle."""
    bundle = tmp_path / "bundle.zip"
    root = Path(profiler.__path__[0])
    with zipfile.ZipFile(bundle, "w") as archive:
        for path in root.rglob("*"):
            if path.suffix in (".py", ".ptx"):
                archive.write(path, path.relative_to(root.parent))
    code = "import profiler.devices.cuda_probes as p; print(p.__file__); print(len(p.probe_code()))"
    clean = {**os.environ, "PYTHONPATH": str(bundle)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file, size = done.stdout.split()
    assert "bundle.zip" in file
    assert int(size) == len(probe_code())


def run(kernel: Kernel, machine: Machine, *arguments: int) -> int:
    """Instructions of the thread."""
    thread = Thread(kernel, machine, arguments)
    thread.run()
    return thread.steps


class Words:
    """Memory that remembers what was written, and in which a flag rises after so many reads."""

    def __init__(self, set_after: int | None = None) -> None:
        self.reads = 0
        self.set_after = set_after
        self.written: dict[int, bytes] = {}

    def read(self, address: int, nbytes: int) -> bytes:
        assert (address, nbytes) == (FLAG, 4)
        self.reads += 1
        risen = self.set_after is not None and self.reads > self.set_after
        return int(risen).to_bytes(4, "little")

    def write(self, address: int, data: bytes) -> None:
        assert address not in self.written
        self.written[address] = data


@pytest.mark.parametrize("set_after", [0, 1, 100])
def test_spin_ends_with_its_flag(set_after: int) -> None:
    memory = Words(set_after)
    machine = Machine(memory.read, memory.write)
    run(KERNELS["spin"], machine, FLAG, 10**9, OUTCOME)
    assert memory.written == {OUTCOME: (1).to_bytes(4, "little")}
    assert memory.reads == set_after + 1


@pytest.mark.parametrize(("limit_ns", "step_ns"), [(50_000, 1), (50_000, 1000), (0, 1), (1000, 1000)])
def test_spin_ends_by_its_limit(limit_ns: int, step_ns: int) -> None:
    memory = Words()
    machine = Machine(memory.read, memory.write, step_ns=step_ns)
    run(KERNELS["spin"], machine, FLAG, limit_ns, OUTCOME)
    assert memory.written == {OUTCOME: (2).to_bytes(4, "little")}
    assert limit_ns - step_ns <= machine.elapsed_ns <= limit_ns + step_ns + 100


def test_spin_sees_a_flag_that_is_set_with_the_limit_over() -> None:
    memory = Words(0)
    run(KERNELS["spin"], Machine(memory.read, memory.write), FLAG, 0, OUTCOME)
    assert memory.written == {OUTCOME: (1).to_bytes(4, "little")}


class Pieces:
    """Memory full of one pattern, that counts how often each piece of 16 bytes is read."""

    def __init__(self, contents: Callable[[int], bytes]) -> None:
        self.contents = contents
        self.read_at: list[int] = []
        self.written: dict[int, bytes] = {}

    def read(self, address: int, nbytes: int) -> bytes:
        assert nbytes == 16
        self.read_at.append(address)
        return self.contents(address)

    def write(self, address: int, data: bytes) -> None:
        self.written[address] = data


def touch(memory: Pieces, blocks: int, threads: int, nbytes: int) -> None:
    for block, thread in product(range(blocks), range(threads)):
        special = {"tid.x": thread, "ntid.x": threads, "ctaid.x": block, "nctaid.x": blocks}
        run(KERNELS["touch"], Machine(memory.read, memory.write, special), DATA, nbytes, SINK)


@pytest.mark.parametrize("nbytes", [0, 16, 32, 16 * 11, 16 * 12, 16 * 13, 16 * 100])
@pytest.mark.parametrize(("blocks", "threads"), [(1, 1), (3, 4), (2, 6)])
def test_touch_reads_everything_once(blocks: int, threads: int, nbytes: int) -> None:
    memory = Pieces(lambda address: bytes(16))
    touch(memory, blocks, threads, nbytes)
    assert sorted(memory.read_at) == list(range(DATA, DATA + nbytes, 16))
    assert not memory.written


def test_neighbours_touch_neighbouring_pieces() -> None:
    """So that the loads of a warp are whole lines."""
    memory = Pieces(lambda address: bytes(16))
    touch(memory, 2, 32, 16 * 64)
    assert memory.read_at == list(range(DATA, DATA + 16 * 64, 16))


@pytest.mark.parametrize("word", range(4))
def test_what_is_touched_is_used(word: int) -> None:
    """Each of the four words decides on what is written, so none of the loads can be left out."""
    special_piece = b"".join((CERTAIN if i == word else 0).to_bytes(4, "little") for i in range(4))
    memory = Pieces(lambda address: special_piece if address == DATA + 48 else bytes(16))
    touch(memory, 1, 2, 16 * 6)
    assert memory.written == {SINK: CERTAIN.to_bytes(4, "little")}


def test_touch_counts_beyond_32_bits() -> None:
    """A buffer of more than 4 GiB: the thread whose piece lies there, and the next one that it reads."""
    memory = Pieces(lambda address: bytes(16))
    block, threads, blocks = 0x30_0000, 256, 0x40_0000
    special = {"tid.x": 5, "ntid.x": threads, "ctaid.x": block, "nctaid.x": blocks}
    first, step = 16 * (block * threads + 5), 16 * blocks * threads
    assert first > 1 << 32
    run(KERNELS["touch"], Machine(memory.read, memory.write, special), DATA, first + step + 16, SINK)
    assert memory.read_at == [DATA + first, DATA + first + step]


def counted(step_ns: int, clock_mhz: float, begin_ns: float) -> tuple[int, int]:
    """Nanoseconds and cycles that the clock probe writes."""
    written: dict[int, bytes] = {}
    machine = Machine(lambda *_: b"", written.__setitem__, step_ns=step_ns, clock_mhz=clock_mhz, begin_ns=begin_ns)
    run(KERNELS["clock"], machine, 100_000, OUTCOME)
    ((address, data),) = written.items()
    assert address == OUTCOME
    assert len(data) == 16
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")


@pytest.mark.parametrize("step_ns", [1, 32, 1000, 1024])
@pytest.mark.parametrize("clock_mhz", [300.0, 1590.0])
@pytest.mark.parametrize("begin_ns", [1e6, 1e6 + 333.0, 1e6 + 999.0])
def test_clock_counts_cycles(step_ns: int, clock_mhz: float, begin_ns: float) -> None:
    """Whatever the steps of the timer; without waiting for one, an error of 1% would be possible."""
    elapsed_ns, cycles = counted(step_ns, clock_mhz, begin_ns)
    assert 100_000 <= elapsed_ns <= 100_000 + 2 * step_ns + 100
    assert 1e3 * cycles / elapsed_ns == pytest.approx(clock_mhz, rel=5e-4)


def test_nothing_does_nothing() -> None:
    machine = Machine(lambda *_: b"", lambda *_: None)
    assert run(KERNELS["nothing"], machine, 0) == 1
