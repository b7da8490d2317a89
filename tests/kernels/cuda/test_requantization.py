"""The epilogues' integer arithmetic at its ends: every shift, multipliers up to 2**31 - 1, sums that saturate.

One small kernel of each kind is compiled for the emulator and run on drawn parameters; the oracle says what must come
out. The kernels have two paths, by the size of the shifts, and a warp can take both.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.hardware import GPUS
from profiler.kernels.cuda.lower import CudaKernel, lower
from profiler.quantize.oracle import reference
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.samples import sample_arguments
from profiler.quantize.stored import pack_output
from profiler.space.config import parse_config
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.emulator import Order, compile_kernels
from tests.emulator.launch import run

pytestmark = pytest.mark.compile

S4, U4, S8, U8 = DType.INT4, DType.UINT4, DType.INT8, DType.UINT8
SHORT = Workload(Op.CONV2D, 1, 2, 8, 32, 16)
CONFIG = "mma(block_m=16,block_n=16,block_k=8,warp_m=16,warp_n=16,stages=2,load_bytes=4)"
SPECS = [
    KernelSpec(SHORT, U8, U8, S8, epilogue=Epilogue.REQUANT_RELU),
    KernelSpec(SHORT, S8, S8, S8, epilogue=Epilogue.REQUANT),
    KernelSpec(SHORT, U4, S4, S4, U8, Epilogue.ADD_REQUANT),
    KernelSpec(SHORT, S4, U4, S4, S4, Epilogue.ADD_REQUANT_RELU),
    KernelSpec(SHORT, S8, DType.INT16, S8, DType.INT32, Epilogue.ADD_REQUANT),
]
LARGEST_SUM = 1 << 21  # of 32 products of 8 bits
PARAMETERS = {
    "multiplier": st.one_of(st.sampled_from([0, 1, 2, 3, 1 << 30, (1 << 31) - 1]), st.integers(0, (1 << 31) - 1)),
    "shift": st.one_of(st.sampled_from([1, 2, 31, 32, 33, 34, 62]), st.integers(1, 62)),
    "bias": st.one_of(st.integers(-200, 200), st.integers(-(1 << 31) + LARGEST_SUM, (1 << 31) - 1 - LARGEST_SUM)),
}


@lru_cache(maxsize=1)
def compiled() -> tuple[ctypes.CDLL, list[CudaKernel]]:
    kernels = [lower(spec, parse_config(CONFIG), GPUS["t4"]) for spec in SPECS]
    return compile_kernels(kernels), kernels


@pytest.mark.parametrize("number", range(len(SPECS)), ids=lambda i: SPECS[i].epilogue.value + "-" + str(i))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_multiplier_and_shift(number: int, data: st.DataObject) -> None:
    library, kernels = compiled()
    spec, kernel = SPECS[number], kernels[number]
    arguments = sample_arguments(spec, data.draw(st.integers(0, 1 << 16)))
    for name, values in arguments.items():
        part = name.removeprefix("residual_")
        if part in PARAMETERS:
            count = values.size
            drawn = data.draw(st.lists(PARAMETERS[part], min_size=count, max_size=count), label=name)
            arguments[name] = np.array(drawn, values.dtype)
    written = run(library, number, kernel, pack_arguments(spec, kernel.packing, arguments), Order.FORWARD)
    assert written["output"].tobytes() == pack_output(spec, reference(spec, arguments))
