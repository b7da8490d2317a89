"""What several commands read alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profiler.errors import ProfilerError
from profiler.record import CacheMode
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
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

# How kernels are measured, by whatever command: the fields of `campaign.MeasureRequest`.
Device = Annotated[
    str, typer.Option("--device", "-d", help="auto, cpu, a GPU model (t4, a100, h200), its index or UUID.")
]
Trials = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="Candidates measured per kernel at most; 32 by default.")
]
Cache = Annotated[CacheMode, typer.Option(help="State of the caches ahead of each launch.")]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads of a kernel; one repeats best.")]
Out = Annotated[Path, typer.Option(help="Folder that gets lut/ and tuning_logs/.")]
DriverCuda = Annotated[
    str | None, typer.Option(help="GPU: compiler, as of the command kernels; by default what the driver accepts.")
]
Sustained = Annotated[
    bool, typer.Option("--sustained", help="GPU: launch without rests, under the card's power limit.")
]
LockClocks = Annotated[bool, typer.Option("--lock-clocks", help="GPU: hold the SM clock while measuring; needs root.")]
ClockMhz = Annotated[
    int | None, typer.Option(min=1, help="SM clock to hold; by default one that the maker promises under load.")
]


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Comma-separated names, each once. Raises `ProfilerError`."""
    chosen = tuple(dict.fromkeys(Precision.parse(name) for name in text.split(",") if name.strip()))
    if not chosen:
        raise ProfilerError("no precision given; say for instance --precisions int8,int4")
    return chosen
