"""Launch an artifact in this process, without the devices room: what comes out, byte for byte."""

from __future__ import annotations

import ctypes
import os
import tempfile

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.samples import sample_arguments

CPUS = os.sched_getaffinity(0)
GUARD_BYTES = 256
POISON = 0xA5


def launch(artifact: Artifact, repeat: int = 1) -> npt.NDArray[np.uint8]:
    """The output's bytes. Raises `AssertionError` if anything behind a buffer was written."""
    packed = pack_arguments(artifact.spec, artifact.packing, sample_arguments(artifact.spec, artifact.check.seed))
    buffers = {}
    for argument in artifact.args:
        raw = np.full(argument.nbytes + 64 + GUARD_BYTES, POISON, np.uint8)
        buffers[argument.name] = raw[-raw.ctypes.data % 64 :]
        if argument.name in packed:
            assert packed[argument.name].size == argument.nbytes, argument
            buffers[argument.name][: argument.nbytes] = packed[argument.name]
    pointers = (ctypes.c_void_p * len(buffers))(*[b.ctypes.data for b in buffers.values()])
    with tempfile.NamedTemporaryFile(suffix=".so", delete=False) as file:
        file.write(artifact.code)
    library = ctypes.CDLL(file.name)
    os.unlink(file.name)
    try:
        assert library.lowbit_prepare(artifact.threads) == 0
        for _ in range(repeat):
            getattr(library, artifact.entry)(pointers)
    finally:
        os.sched_setaffinity(0, CPUS)  # the runtime pins the thread that launches
    for argument in artifact.args:
        behind = buffers[argument.name][argument.nbytes : argument.nbytes + GUARD_BYTES // 2]
        assert (behind == POISON).all(), f"{argument.name} was written behind its end"
        if argument.name in packed and argument.name != "output":
            assert (buffers[argument.name][: argument.nbytes] == packed[argument.name]).all(), (
                f"{argument.name} changed"
            )
    size = next(a.nbytes for a in artifact.args if a.name == "output")
    return buffers["output"][:size].copy()
