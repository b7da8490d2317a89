"""From the text of a CUDA kernel to host C++ whose memory accesses are checked.

A few strict substitutions on what TVM's code generation prints: pointer parameters, the shared array and views of it
with another type, local arrays, vector casts. Whatever else looks like a pointer is refused, so that no access goes
unchecked.
"""

from __future__ import annotations

import re

from profiler.kernels.cuda.codegen import header_text
from profiler.kernels.cuda.lower import CudaKernel

_STOOD_IN_FOR = ("mma.h", "bit_mma.h")
"""Headers of inline PTX; shim.h has functions of the same names."""
_FOR_CUDA_ALONE = re.compile(r"(?<=#ifdef __CUDACC__\n).*?(?=#else\n|#endif\n)", re.DOTALL)

_TYPE = r"(?:unsigned |signed )?(?:long long|\w+)"
_HEAD = r'extern "C" __global__ void (?:__launch_bounds__\([\d, ]+\) )?{entry}\(([^)]*)\) \{{'
_PARAMETER = re.compile(rf"(?:const )?({_TYPE})\* __restrict__ (\w+)")
_SHARED = re.compile(rf"extern __shared__ __align__\(\d+\) ({_TYPE}) (\w+)\[\];")
_LOCAL = re.compile(rf"alignas\(\d+\) ({_TYPE}) (\w+)\[(\d+)\];")
_CAST = re.compile(rf"\*\(({_TYPE})\*\)\(")
_VIEW = re.compile(rf"\(\(({_TYPE})\*\)(\w+)\)")
_BYTE_OF_A_VARIABLE = re.compile(rf"reinterpret_cast<(?:const )?{_TYPE}\*>\(&\(\w+(?:\.\w)?\)\)\[\d+\]")
_POINTER_CAST = re.compile(r"\(\s*(?:const\s+)?[\w ]+\*+\s*\)|reinterpret_cast|static_cast<[^>]*\*>|__shared__|\basm\b")


class NotEmulated(Exception):
    """The kernel's text has something that the emulator cannot check."""


def host_source(kernel: CudaKernel, number: int) -> str:
    """The kernel as ``namespace kernel_<number>`` with a function ``body()``. Lines keep their numbers.

    Raises `NotEmulated` with the line that is not understood.
    """
    source = _without_ptx(kernel.source)
    heads = list(re.finditer(_HEAD.format(entry=re.escape(kernel.entry)), source))
    if len(heads) != 1:
        raise NotEmulated(f"{len(heads)} definitions of the kernel {kernel.entry}")
    parameters = [_PARAMETER.fullmatch(text) for text in heads[0][1].split(", ")]
    if [match and match[2] for match in parameters] != [a.name for a in kernel.args]:
        raise NotEmulated(f"the kernel takes ({heads[0][1]}), its arguments are {[a.name for a in kernel.args]}")
    pointers = ", ".join(f"emulator::Ptr<{match[1]}> {match[2]}" for match in parameters if match)
    before, body = source[: heads[0].start()], source[heads[0].end() :]
    body = _SHARED.sub(r"emulator::Ptr<\1> \2 = emulator::shared_array<\1>();", body)
    body = _LOCAL.sub(r"emulator::Local<\1, \3> \2;", body)
    body = _VIEW.sub(r"emulator::view<\1>(\2)", body)
    body = _CAST.sub(r"emulator::as<\1>(", body)
    text = f"{before}static void {kernel.entry}({pointers}) {{{body}"
    for at, line in enumerate(text.splitlines(), start=1):
        if _POINTER_CAST.search(_BYTE_OF_A_VARIABLE.sub("", line)):
            raise NotEmulated(f"line {at} of the kernel: {line.strip()}")
    arguments = ", ".join(f"emulator::Argument{{{i}}}" for i in range(len(kernel.args)))
    name = f"kernel_{number}"
    return f'namespace {name} {{\n#line 1 "{name}"\n{text}\nstatic void body() {{ {kernel.entry}({arguments}); }}\n}}\n'


def _without_ptx(source: str) -> str:
    """Headers of inline PTX become empty lines, and so does what plain ones keep for CUDA's compiler alone.

    The one function of a plain header that takes a pointer (split.h) gets one that is checked.
    """
    source = source.replace("lb_arrive(int* counter", "lb_arrive(emulator::Ptr<int> counter")
    source = source.replace("(unsigned*)counter", "counter")
    for name in _STOOD_IN_FOR:
        source = source.replace(header_text(name), "\n" * header_text(name).count("\n"))
    return _FOR_CUDA_ALONE.sub(lambda match: "\n" * match[0].count("\n"), source)
