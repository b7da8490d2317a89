"""An artifact that the fake driver (`fake_driver.c`) launches."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

from profiler.artifact import ArgSpec, Artifact, Check, Launch, Resources, Role
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.packing import Packing
from profiler.quantize.samples import sample_arguments
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

SPEC = KernelSpec(Workload(Op.CONVERT, 1, 1, 1, 5, 5), DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT)
PACKING = Packing("plain")
SAMPLE = pack_arguments(SPEC, PACKING, sample_arguments(SPEC, 0))["input"]
ARTIFACT = Artifact(
    spec=SPEC,
    config="simt_vector(threads=64,channels=1)",
    threads=1,
    entry="entry",
    arch="sm_90",
    features=(),
    args=(ArgSpec("input", Role.INPUT, 5), ArgSpec("output", Role.OUTPUT, 5), ArgSpec("counters", Role.COUNTERS, 8)),
    packing=PACKING,
    check=Check(0, hashlib.sha256((SAMPLE + 1).tobytes()).hexdigest()),
    compiler="none",
    native=True,
    code=b"cubin",
    launch=Launch((5, 2, 3), 64, 48),
    resources=Resources(16, 0, 0, 48, 64, 16, 0.5, {}, {}, 7, "525.60.13"),
)
"""It is right: what it expects is what the fake driver computes."""


def launched(*grid: int) -> Artifact:
    """The artifact with another grid."""
    x, y, z = grid
    return replace(ARTIFACT, launch=Launch((x, y, z), 64, 48))


def compile_fake_driver(library: Path) -> None:
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-o", str(library), str(source)], check=True)
