"""The commands and their options."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from profiler import __version__
from profiler.cli import (
    Interrupted,
    accuracy_command,
    allocate_command,
    bundle_commands,
    compare_command,
    export_commands,
    finetune_command,
    fleet_command,
    json_text,
    predictor_commands,
    quantize_command,
    report_command,
    run_command,
    sample_command,
    sensitivity_command,
    tables,
    throughput_command,
)
from profiler.cli.arguments import (
    PRECISIONS_TEXT,
    Batch,
    Cache,
    ClockMhz,
    Complete,
    Cuda,
    Device,
    DriverCuda,
    Energy,
    Insecure,
    Json,
    LockClocks,
    Model,
    Out,
    Scheduler,
    SkipUnsupported,
    Sustained,
    Threads,
    TlsCaFile,
    TlsCert,
    TlsKey,
    Trials,
    parse_precisions,
)
from profiler.errors import ProfilerError
from profiler.hardware import ARM_CPUS, GPUS
from profiler.lut.age import is_ahead
from profiler.lut.autotvm.importer import import_autotvm, own_log
from profiler.lut.check import scan
from profiler.lut.store import merge as merge_rows
from profiler.lut.store import read, update, write
from profiler.record import CacheMode


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None


app = typer.Typer(
    name="profiler",
    cls=_Commands,
    help="Measure INT4 and INT8 latencies of a network, layer by layer, on the device at hand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lut_app = typer.Typer(name="lut", help="Look after LUT files.", no_args_is_help=True)
app.add_typer(lut_app)
bundle_commands.register(app)
predictor_commands.register(app)
export_commands.register(app)
sample_command.register(app)
sensitivity_command.register(app)
allocate_command.register(app)
report_command.register(app)
quantize_command.register(app)
run_command.register(app)
throughput_command.register(app)
compare_command.register(app)
accuracy_command.register(app)
finetune_command.register(app)

LutFile = Annotated[Path, typer.Argument(help="A LUT, e.g. lut/cpu.csv.", show_default=False)]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def profile(
    model: Model = "resnet18",
    device: Device = "auto",
    batch: Batch = None,
    precisions: Annotated[
        str,
        typer.Option(
            help=f"Comma-separated, of {PRECISIONS_TEXT}; the first one is what the others are compared with."
        ),
    ] = "int8,int4",
    trials: Trials = None,
    cache: Cache = CacheMode.NETWORK,
    threads: Threads = 1,
    out: Out = Path(),
    predictor: Annotated[
        Path | None,
        typer.Option(help="A model that fit made with --logs, of such a device: the search begins with what it knows."),
    ] = None,
    mixed: Annotated[
        bool,
        typer.Option(
            help="Also measure kernels whose input and output differ in precision, and conversions. They are most of "
            "the kernels where precisions are many; without them an allocation cannot mix."
        ),
    ] = True,
    energy: Energy = False,
    skip_unsupported: SkipUnsupported = False,
    cuda: DriverCuda = None,
    sustained: Sustained = False,
    lock_clocks: LockClocks = False,
    clock_mhz: ClockMhz = None,
    scheduler: Scheduler = None,
    tls_ca_file: TlsCaFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    insecure: Insecure = False,
    complete: Complete = True,
    json_output: Json = False,
) -> None:
    """Tune, verify and time every kernel of a network, write the LUT, and compare the precisions."""
    from profiler.cli.progress import progress_display  # late: it imports TVM
    from profiler.pipeline import ProfileRequest
    from profiler.pipeline import profile as run_profile

    request = ProfileRequest(
        model=model,
        device=device,
        batch=batch,
        precisions=parse_precisions(precisions),
        trials=trials,
        cache_mode=cache,
        threads=threads,
        out=out,
        predictor=predictor,
        mixed=mixed,
        energy=energy,
        skip_unsupported=skip_unsupported,
        cuda=cuda,
        sustained=sustained,
        lock_clocks=lock_clocks,
        clock_mhz=clock_mhz,
    )
    fleet = fleet_command.FleetOptions(scheduler, tls_ca_file, tls_cert, tls_key, insecure, complete)
    if fleet.wanted:
        fleet_command.profile(request, fleet, json_output)
        return
    with progress_display() as progress:
        result = run_profile(request, progress)
    if json_output:
        typer.echo(json.dumps(json_text.profile_json(result), indent=2))
    else:
        tables.print_profile(result)


@app.command()
def kernels(
    model: Model = "resnet18",
    device: Annotated[
        str,
        typer.Option(
            "--device", "-d", help=f"What to build for: {', '.join((*GPUS, *ARM_CPUS))}. No such device is needed."
        ),
    ] = "t4",
    batch: Batch = None,
    precisions: Annotated[str, typer.Option(help="Comma-separated.")] = "int8,int4",
    configs: Annotated[int, typer.Option(min=1, max=100_000, help="Schedule configs built of each kernel.")] = 8,
    cuda: Cuda = "12",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets kernels/<device>/.")] = Path(),
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Also kernels whose input and output differ in precision, and conversions.")
    ] = False,
    skip_unsupported: SkipUnsupported = False,
    json_output: Json = False,
) -> None:
    """Build a network's kernels for a GPU, and show what each takes of it, or for an Arm CPU. Needs no GPU.

    What was built before is not built again. Exit code 1 if a layer is left without a kernel.
    """
    from profiler.cli import kernel_table
    from profiler.cli.build_progress import build_display
    from profiler.kernel_library.stage import KernelsRequest, build_kernels

    request = KernelsRequest(
        model=model,
        device=device,
        batch=batch,
        precisions=parse_precisions(precisions),
        configs=configs,
        cuda=cuda,
        out=out,
        mixed=mixed,
        skip_unsupported=skip_unsupported,
    )
    with build_display() as progress:
        library = build_kernels(request, progress)
    if json_output:
        typer.echo(json.dumps(json_text.kernels_json(library), indent=2))
    else:
        kernel_table.print_kernels(library)
    if library.missing:
        raise typer.Exit(1)


@app.command()
def network(
    model: Model = "resnet18",
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Images at once.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write network.json, which profile reads.")] = None,
    skip_unsupported: SkipUnsupported = False,
    json_output: Json = False,
) -> None:
    """Show a network as the frontend reads it: layers, parameters, operations, ties."""
    from profiler.frontend import load_network, network_file

    read_network = load_network(model, batch, skip_unsupported=skip_unsupported)
    if out is not None:
        network_file.save(read_network, out)
    if json_output:
        typer.echo(network_file.to_text(read_network), nl=False)
    else:
        tables.print_network(read_network)


@app.command()
def doctor(
    device: Annotated[str, typer.Option("--device", "-d", help="What profile would be asked to measure.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder that would get lut/ and tuning_logs/.")] = Path(),
    json_output: Json = False,
) -> None:
    """Say what is there for profile, what is missing, and the command that mends it; exit code 1 if anything is."""
    from profiler.cli.doctor_table import print_report, report_json
    from profiler.environment.doctor import examine

    report = examine(device, out)
    if json_output:
        typer.echo(json.dumps(report_json(report), indent=2))
    else:
        print_report(report)
    if not report.ready:
        raise typer.Exit(1)


@app.command()
def devices(json_output: Json = False) -> None:
    """List what can be measured on this machine."""
    from profiler.devices.discover import discover

    inventory = discover()
    if json_output:
        typer.echo(json.dumps(json_text.inventory_json(inventory), indent=2))
    else:
        tables.print_inventory(inventory)


@app.command("import-autotvm")
def import_log(
    log: Annotated[Path, typer.Argument(help="A tuning log of AutoTVM, plain or .gz.", show_default=False)],
    device: Annotated[str, typer.Option("--device", "-d", help=f"The GPU it was tuned on: {', '.join(GPUS)}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The LUT to write.")],
    citation: Annotated[
        str, typer.Option(help="Who measured it, and where it is published; by default the log itself is named.")
    ] = "",
    padded_inputs: Annotated[
        bool, typer.Option("--padded-inputs", help="Inputs were padded ahead of the tasks, as TVM's qnn dialect does.")
    ] = False,
) -> None:
    """Make a LUT of published latencies from an old tuning log: one row per workload, of its fastest record."""
    imported = import_autotvm(log, device.strip().lower(), citation or own_log(log), padded_inputs)
    update(out, imported.rows, known=(imported.fingerprint,))  # never replaces rows of another origin
    typer.echo(f"{out}: {len(imported.rows)} rows of {imported.records} records, source=published, kernels only")
    if imported.slower:
        typer.echo(f"{imported.slower} records were slower than another one of their workload")
    for passed in imported.passed_over:
        typer.echo(f"passed over: {passed.records} records, the first in line {passed.first_line}: {passed.reason}")


@lut_app.command("check")
def lut_check(file: LutFile, json_output: Json = False) -> None:
    """Say what is wrong with a LUT file; exit code 1 if anything is."""
    rows, findings = scan(file)
    if json_output:
        typer.echo(json.dumps(json_text.findings_json(file, findings), indent=2))
    else:
        tables.print_findings(file, len(rows), findings)
        tables.print_ahead(file, [row for row in rows if is_ahead(row.measured_at, time.time())])
    if findings:
        raise typer.Exit(1)


@lut_app.command("merge")
def lut_merge(
    files: Annotated[list[Path], typer.Argument(help="LUTs of one instrument.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
) -> None:
    """Merge LUT files of one instrument; of a row that several hold the latest measurement stays."""
    merged = read(files[0])
    for file in files[1:]:
        try:
            merged = merge_rows(merged, read(file))
        except ProfilerError as error:
            raise type(error)(f"{file}: {error}") from None
    write(out, merged)
    typer.echo(f"{out}: {len(merged)} rows")


@lut_app.command("show")
def lut_show(file: LutFile, json_output: Json = False) -> None:
    """List the rows of a LUT file."""
    rows = read(file)
    if json_output:
        typer.echo(json.dumps(json_text.rows_json(rows), indent=2))
    else:
        tables.print_rows(rows)
