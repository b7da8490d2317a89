"""What several commands read alike."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler.errors import ProfilerError
from profiler.workload import Precision

_MODEL_HELP = "resnet18, resnet50, resnet50_v1.5, inceptionv3, or a file: .onnx, .pt2, or .json written by network."
Model = Annotated[str, typer.Argument(help=_MODEL_HELP)]
Batch = Annotated[int | None, typer.Option(min=1, max=4096, help="Images at once; by default 1 on a CPU, 8 on a GPU.")]
Cuda = Annotated[
    str, typer.Option(help="Compiler: 12 or 13 (NVRTC from PyPI), nvcc (from PATH), or the path of a CUDA root.")
]
SkipUnsupported = Annotated[
    bool, typer.Option("--skip-unsupported", help="Leave out operators without a kernel; the output says so.")
]


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Comma-separated names, each once. Raises `ProfilerError`."""
    chosen = tuple(dict.fromkeys(Precision.parse(name) for name in text.split(",") if name.strip()))
    if not chosen:
        raise ProfilerError("no precision given; say for instance --precisions int8,int4")
    return chosen
