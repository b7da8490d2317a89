"""From a TIR function to CUDA source: a short pass pipeline, TVM's CUDA code generation, and our device functions.

TVM's host code and packed calling convention are left out: the function is marked as a device kernel from the start,
so its arguments keep their order, and whoever has the cubin can launch it. TVM's prologue (it includes CUDA's headers)
is replaced by the headers of this folder, so that NVRTC needs no toolkit.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.ir.transform import PassContext, Sequential
from tvm.target import Target
from tvm.tirx.script.builder import ir as T

from profiler.errors import CompilerError

_DEVICE_KERNEL_LAUNCH = 2  # TVM's CallingConv::kDeviceKernelLaunch
_MARK = '#include "lowbit_device_functions"\n'
"""Goes through TVM's code generation as the source of every device function; the headers stand where it ends up."""


def call(name: str, *args: Any, returns: str) -> Any:
    """Expression: the value of one of our device functions, of TIR type ``returns`` (``int32``, ``int64``)."""
    return T.cuda.func_call(name, *args, source_code=_MARK, return_type=returns)


def do(name: str, *args: Any) -> None:
    """Statement: a call of one of our device functions that returns nothing."""
    T.evaluate(T.cuda.func_call(name, *args, source_code=_MARK))


def cuda_source(function: Any, entry: str, arch: str, headers: tuple[str, ...]) -> str:
    """CUDA C++ of a kernel with everything that it calls and no include. Raises `CompilerError` if TVM refuses it."""
    target = Target({"kind": "cuda", "arch": arch})
    function = function.with_attr("calling_conv", _DEVICE_KERNEL_LAUNCH).with_attr("global_symbol", entry)
    passes = [
        tirx.transform.BindTarget(target),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.StmtSimplify(),
        tirx.transform.LowerIntrin(),
    ]
    try:
        with PassContext(opt_level=3):
            module = Sequential(passes)(tvm.IRModule({entry: function}))
            text = str(tvm.get_global_func("target.build.cuda")(module, target).inspect_source())
    except RuntimeError as error:  # the base of TVM's internal errors
        raise CompilerError(f"TVM refused the kernel: {str(error).splitlines()[-1]}") from None
    at = text.index('extern "C" __global__')
    declaration_end = text.index(";\n", at) + 2  # TVM declares the kernel ahead of defining it
    return "".join(header_text(name) for name in ("types.h", *headers)) + text[declaration_end:]


@lru_cache(maxsize=16)
def header_text(name: str) -> str:
    """One of the headers with device functions that stand beside this file."""
    return (Path(__file__).parent / name).read_text()
