"""The table of `kernels`: a line per kernel spec, about the best modelled of the kernels that were built for it."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from profiler.cli.tables import PLAIN_WIDTH, table_console
from profiler.hardware import GpuSpec
from profiler.kernel_library.result import KernelLibrary, LibraryRow
from profiler.units import format_duration
from profiler.workload import DType, KernelSpec, Op, Workload

_OF_GPU = (
    "regs", "spill\nbytes", "smem\nKiB", "occu-\npancy", "tensor core\nin main loop", "divi-\nsions",
    "model's\nlatency", "model's\nlimit",
)  # fmt: skip
"""There is nothing of the kind for an Arm CPU: the model's rates are those of server cores, so that elsewhere they are
good for an order, and no latency is told."""


def print_kernels(library: KernelLibrary) -> None:
    """The table, what failed and what is missing, and a summary line."""
    console = table_console(PLAIN_WIDTH)
    console.print(_table(library))
    if any(row.default is not None and not row.default.native for row in library.rows):
        console.print("[dim]* emulated: computed with instructions for wider types[/dim]")
    for row in library.rows:
        for failed in row.failed:
            reason = f"{failed.config}: {failed.kind.value}: {failed.message}"
            console.print(f"[yellow]failed: {escape(row.spec.key)}: {escape(reason)}[/yellow]", soft_wrap=True)
    for row in library.missing:
        console.print(
            f"[red]no kernel for {_layers(row, all_of_them=True)}: {escape(row.obstacle)}[/red]", soft_wrap=True
        )
    if library.skipped:
        console.print(f"[yellow]left out: {escape(', '.join(library.skipped))}[/yellow]", soft_wrap=True)
    console.print(escape(_summary(library)), soft_wrap=True)


def _table(library: KernelLibrary) -> Table:
    gpu = isinstance(library.device, GpuSpec)
    title = (
        f"{library.network}, batch {library.batch}, kernels for {library.device_name} ({library.arch}); "
        f"{'latencies are modelled, ' if gpu else ''}nothing was measured"
    )
    view = Table(
        title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 1), collapse_padding=True
    )
    view.add_column("layer", overflow="fold")
    view.add_column("workload", style="dim", overflow="fold")
    view.add_column("types", no_wrap=True)
    failed = any(row.failed for row in library.rows)
    for heading in ("built/valid\n(failed)" if failed else "built\n/valid", *(_OF_GPU if gpu else ())):
        view.add_column(heading, justify="right", no_wrap=True)
    for row in library.rows:
        takes = _kernel(row) if gpu else []
        view.add_row(_layers(row), _workload(row.spec.workload), _types(row), _configs(row), *takes)
    return view


def _layers(row: LibraryRow, *, all_of_them: bool = False) -> str:
    if all_of_them:
        return escape(", ".join(row.layers))
    more = f" +{len(row.layers) - 1}" if len(row.layers) > 1 else ""
    return escape(row.layers[0]) + more


def _workload(w: Workload) -> str:
    """In a few words; the batch is in the title, everything else in the names of the files."""
    text = {Op.CONV2D: "conv"}.get(w.op, w.op.value)
    text += f" {w.in_channels}" if w.op is Op.DENSE else f" {w.in_height}x{w.in_width}x{w.in_channels}"
    if w.op.has_weights or w.op is Op.CONCAT:
        text += f">{w.out_channels}"
    if w.op in (Op.CONV2D, Op.MAX_POOL, Op.AVG_POOL):
        text += f" {w.kernel_h}x{w.kernel_w}"
    if (w.stride_h, w.stride_w) != (1, 1):
        text += f"/{w.stride_h}" if w.stride_h == w.stride_w else f"/{w.stride_h}x{w.stride_w}"
    if (w.dilation_h, w.dilation_w) != (1, 1):
        text += f" d{w.dilation_h}x{w.dilation_w}"
    return text + (f" g{w.groups}" if w.groups > 1 else "")


def _types(row: LibraryRow) -> str:
    """Activations read, with the residual, and written. Weights are signed, and as wide as the input unless they stand
    behind it: `u2xs1>u2`."""
    spec: KernelSpec = row.spec
    text = _short(spec.input_dtype)
    if spec.weight_dtype is not None and spec.weight_dtype.bits != spec.input_dtype.bits:
        text += f"x{_short(spec.weight_dtype)}"
    text += "" if spec.input2_dtype is None else f"+{_short(spec.input2_dtype)}"
    text += f">{_short(spec.output_dtype)}"
    return text + ("" if row.default is None or row.default.native else "*")


def _short(dtype: DType) -> str:
    return f"{'s' if dtype.signed else 'u'}{dtype.bits}"


def _configs(row: LibraryRow) -> str:
    return f"{row.built}/{row.valid}" + (f" ({len(row.failed)})" if row.failed else "")


def _kernel(row: LibraryRow) -> list[str]:
    """What the kernel takes of a GPU, in the order of `_OF_GPU`."""
    kernel, limit = row.default, format_duration(row.limit_s) if row.limit_s else "-"
    if kernel is None or kernel.resources is None:
        return ["-"] * (len(_OF_GPU) - 1) + [limit]
    takes, (instruction, count) = kernel.resources, kernel.tensor_core
    return [
        str(takes.registers),
        str(takes.spill_bytes),
        f"{takes.shared_bytes / 1024:.1f}",
        f"{takes.occupancy:.0%}",
        f"{count} {instruction.partition('.')[2]}" if instruction else "-",
        "-" if kernel.divisions is None else str(kernel.divisions),
        format_duration(kernel.modelled_s),
        limit,
    ]


def _summary(library: KernelLibrary) -> str:
    built = f"{library.built_now + library.cached} kernels of {len(library.rows)} specs"
    now = f"{library.built_now} built now, {library.cached} from the cache"
    kinds = ", ".join(f"{count} {kind.value}" for kind, count in library.failures.items())
    rate = library.candidates_per_s
    time = f"in {format_duration(library.elapsed_s)}"
    if rate is not None:
        time += f" ({format_duration(library.building_s)} building, {rate:.2f} candidates a second)"
    return (
        f"{built}: {now}, {sum(library.failures.values())} failed{f' ({kinds})' if kinds else ''}; {time}; "
        f"{library.compiler}; {library.folder}"
    )
