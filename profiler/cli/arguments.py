"""What several commands read alike."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from profiler.errors import ProfilerError
from profiler.record import CacheMode
from profiler.workload import Precision

if TYPE_CHECKING:
    from profiler.network.calibrate import Method
    from profiler.sensitivity.perturbation import Clipping

_Named = TypeVar("_Named", bound=Enum)
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

# How kernels are measured, by whatever command: the fields of `campaign.MeasureRequest`. Networks run on a `Device`,
# too.
Device = Annotated[
    str, typer.Option("--device", "-d", help="auto, cpu, a GPU model (t4, a100, h200), its index or UUID.")
]
Trials = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="Candidates measured per kernel at most; 32 by default.")
]
Cache = Annotated[CacheMode, typer.Option(help="State of the caches ahead of each launch.")]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads of a kernel; one repeats best.")]
Energy = Annotated[
    bool,
    typer.Option("--energy", help="Measure joules of each kernel, too: half a minute each. Needs an energy counter."),
]
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

# Which rows of a table are read, by commands that measure none.
ThreadsOfRows = Annotated[
    int | None, typer.Option(min=1, max=256, help="Rows with so many threads; by default those of most rows.")
]
CacheOfRows = Annotated[CacheMode | None, typer.Option(help="Rows of that cache mode; by default that of most rows.")]

# What an integer network is made of, by whatever command: the fields of `quantize.QuantizeRequest`.
TrainedModel = Annotated[
    str, typer.Argument(help="resnet18, ... (drawn weights), or a file: .onnx, .pt2.", show_default=False)
]
BitsFile = Annotated[Path | None, typer.Option("--bits", help="A bits.json: the precision of each layer.")]
OnePrecision = Annotated[
    str | None,
    typer.Option("--uniform", help="Instead: one precision for everything, int8, int4, a2w2, ..."),
]
BatchOfBits = Annotated[
    int | None,
    typer.Option("--batch", min=1, max=4096, help="Images at once; by default that of the bits, or 1 (8 on a GPU)."),
]
CalibrationImages = Annotated[
    Path | None,
    typer.Option("--calibrate", help="An .npz of images by input name, NCHW: ranges of activations are theirs."),
]
RangesMethod = Annotated[str, typer.Option("--ranges", help="How ranges are found: min-max, percentile or mse.")]
ClippingMethod = Annotated[str, typer.Option("--clipping", help="How scales of weights are found: max-abs or mse.")]

# Where the kernels of an integer network are taken from, by whatever command that runs one.
KernelTable = Annotated[
    Path | None, typer.Option("--lut", help="The table with the kernels' configs; by default that of your own run.")
]
OwnRuns = Annotated[Path, typer.Option("--in", help="Folder that holds lut/ of your own runs.")]
RowsCache = Annotated[CacheMode, typer.Option("--cache", help="Cache mode of the table's rows that are compared with.")]
AllowDefault = Annotated[
    bool, typer.Option("--allow-default", help="Kernels without a row run with the config that a model chooses.")
]

# Where they are measured: `fleet.access.Access`.
Scheduler = Annotated[
    str | None,
    typer.Option(help="Measure on the workers of this Dask scheduler, tls://host:8786 (docs/fleet.md)."),
]
TlsCaFile = Annotated[
    Path | None, typer.Option(help="With --scheduler: certificate of the fleet's authority; by default Dask's own.")
]
TlsCert = Annotated[Path | None, typer.Option(help="With --scheduler: this machine's certificate.")]
TlsKey = Annotated[Path | None, typer.Option(help="With --scheduler: the key of that certificate.")]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Allow a scheduler at tcp://. Dask unpickles what it receives: anyone who reaches the port runs code.",
    ),
]
Complete = Annotated[
    bool,
    typer.Option(help="With --scheduler: have every card also measure what the others found, for a whole LUT each."),
]


PRECISIONS_TEXT = "int8, int4, a2w2 (activations of 2 bits, weights of 2), a2w1, a1w1, and any pair from 1 to 4 bits"


def given(context: typer.Context) -> list[str]:
    """The parameters that are on the command line, by their names in Python."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]


def _one_of(kind: type[_Named], option: str, text: str) -> _Named:
    """The member of that name. Raises `ProfilerError` that lists them."""
    known = [member.value for member in kind]
    if text not in known:
        raise ProfilerError(f"{option} {text}: known are {', '.join(known)}")
    return kind(text)


def ranges_and_scales(ranges: str, clipping: str) -> tuple[Method, Clipping]:
    """How ranges of activations and scales of weights are found, by the names in `RangesMethod` and `ClippingMethod`.
    Raises `ProfilerError` that lists them."""
    from profiler.network.calibrate import Method  # late: NumPy is imported with it
    from profiler.sensitivity.perturbation import Clipping

    return _one_of(Method, "--ranges", ranges), _one_of(Clipping, "--clipping", clipping)


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Comma-separated names, each once. Raises `ProfilerError`."""
    chosen = tuple(dict.fromkeys(Precision.parse(name) for name in text.split(",") if name.strip()))
    if not chosen:
        raise ProfilerError("no precision given; say for instance --precisions int8,int4")
    return chosen
