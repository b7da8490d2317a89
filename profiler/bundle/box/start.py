"""The command line on the box. A user's error is one line on standard error and exit code 2; Ctrl-C is 130."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from profiler.bundle.box.archive import Archive, own_path
from profiler.bundle.box.bar import Bar
from profiler.bundle.box.results import End, Reason
from profiler.bundle.box.wheels import require_packages
from profiler.errors import ProfilerError
from profiler.record import escaped

if TYPE_CHECKING:
    from profiler.devices.discover import Vendor

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def main(arguments: Sequence[str], bundle: Path | None = None, vendor: Vendor | None = None) -> int:
    """Run, and return the exit code.

    bundle : the zip that this was imported from, by default. vendor : how GPUs are reached.
    """
    begin_s = time.monotonic()
    try:
        code = _run(_Parser.parse(arguments), bundle or own_path(), vendor, begin_s)
        sys.stdout.flush()
        return code
    except ProfilerError as error:
        print(f"error: {escaped(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        sys.stderr.close()
        return 141


def budget_s(text: str) -> float:
    """Seconds of ``300``, ``300s``, ``5m`` or ``1h``. Raises `ProfilerError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise ProfilerError(f"--budget {text}: not a time; say for instance 300s, 5m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]


class _Parser(argparse.ArgumentParser):
    @staticmethod
    def parse(arguments: Sequence[str]) -> argparse.Namespace:
        parser = _Parser(
            prog="python3 run.zip",
            description="Measure the kernels of this bundle, verified bit for bit, into a file to take home.",
            epilog="The same command goes on where an ended or killed one stopped. At home: "
            "make ingest FILE=results.jsonl",
        )
        parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="where the results go, e.g. results.jsonl")
        parser.add_argument("--budget", metavar="TIME", help="end within this time: 300s, 5m, 1h")
        parser.add_argument("--gpu", metavar="GPU", help="index or UUID, where several cards are of the bundle's model")
        parser.add_argument("--sustained", action="store_true", help="measure without rests, under the power cap")
        parser.add_argument(
            "--no-networks", action="store_true", help="leave out whole networks, measure kernels alone"
        )
        only = parser.add_mutually_exclusive_group()
        only.add_argument("--check", action="store_true", help="test machine, device and bundle, measure nothing")
        only.add_argument("--list", action="store_true", help="say what is in the bundle, measure nothing")
        return parser.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        raise ProfilerError(f"{message}; python3 run.zip --help lists the options")


def _run(options: argparse.Namespace, bundle: Path, vendor: Vendor | None, begin_s: float) -> int:
    archive = Archive(bundle)
    if options.list:
        _list(archive)
        return 0
    limit_s = math.inf if options.budget is None else budget_s(options.budget)
    if options.out is None and not options.check:
        raise ProfilerError("say where the results go: -o results.jsonl (or --check to test first)")
    if not archive.manifest.is_gpu and (options.gpu is not None or options.sustained):
        raise ProfilerError("this bundle is for a CPU: --gpu and --sustained are for GPUs")
    require_packages(archive, networks=not options.no_networks)
    if options.check:
        return _check(archive, options, vendor)
    return _measure(archive, options, vendor, limit_s, begin_s)


def _list(archive: Archive) -> None:
    manifest = archive.manifest
    print(_headline(archive))
    for configuration in manifest.configurations:
        network = archive.description(configuration)
        print(
            f"network {configuration.name}: {len(network.steps)} steps, {len(configuration.artifacts)} kernels, "
            f"{network.plan.parameter_nbytes / 1e6:.1f} MB of parameters, {network.plan.arena_nbytes / 1e6:.1f} MB of "
            "activations and scratch memory"
        )
    if manifest.energy:
        print("energies: of the fastest candidate of each kernel, half a minute each, where the machine counts them")
    for kernel in manifest.kernels:
        count = len(kernel.candidates)
        print(
            f"{count:4d} candidate{'s' if count > 1 else ' '}  {kernel.spec.key}  ({escaped(', '.join(kernel.layers))})"
        )


def _check(archive: Archive, options: argparse.Namespace, vendor: Vendor | None) -> int:
    from profiler.bundle.box.selftest import selftest  # late: they need NumPy
    from profiler.devices.discover import Vendor

    signs = {True: "ok", False: "NO", None: "--"}
    passed = True
    networks = not options.no_networks
    for point in selftest(archive, options.gpu, vendor or Vendor(), options.sustained, networks):
        print(f"{signs[point.passed]}  {point.name:10}{point.text}", flush=True)
        passed = passed and point.passed is True
    return 0 if passed else 2


def _measure(
    archive: Archive, options: argparse.Namespace, vendor: Vendor | None, limit_s: float, begin_s: float
) -> int:
    from profiler.bundle.box import machine, session  # late: they need NumPy
    from profiler.bundle.box.draws import require_draws
    from profiler.bundle.box.network_run import NetworkRunner, opened_network_device
    from profiler.bundle.box.results import ResultsFile
    from profiler.devices.discover import Vendor, discover
    from profiler.measure.turns import MachineTurns

    manifest, vendor = archive.manifest, vendor or Vendor()
    require_draws(manifest)
    found = machine.find(manifest, options.gpu, discover(vendor))
    if manifest.is_gpu:
        machine.require_driver(manifest, machine.driver_of(found, vendor))
    else:
        machine.require_features(manifest.features)
        machine.require_real()
    configurations = () if options.no_networks else manifest.configurations
    for configuration in configurations:
        archive.network(configuration)  # what is damaged is found ahead of the work
    bar = Bar(sys.stderr)
    bar.line(f"{_headline(archive)}, on {found.text}")
    budget = session.Budget(limit_s, begin_s)
    with ExitStack() as stack:
        file = stack.enter_context(ResultsFile(options.out.absolute()))
        device = stack.enter_context(machine.open_found(manifest, found, vendor, options.sustained))
        stack.callback(bar.clear)
        networks = None
        if configurations:
            place = opened_network_device(found, device, vendor, options.sustained, budget.wait)
            networks = NetworkRunner(archive, stack.enter_context(place))
        end = session.run(archive, device, networks, MachineTurns.of_device(found), file, budget, bar)
    _report(options.out, end)
    return 0


def _headline(archive: Archive) -> str:
    manifest = archive.manifest
    candidates = sum(len(kernel.candidates) for kernel in manifest.kernels)
    count = len(manifest.configurations)
    networks = f", {count} network{'s' if count > 1 else ''}" if count else ""
    return (
        f"{manifest.network}, batch {manifest.batch}, for {manifest.device_name}: "
        f"{len(manifest.kernels)} kernels, {candidates} candidates{networks}"
    )


def _report(path: Path, end: End) -> None:
    for line in _network_lines(path):
        print(line)
    reasons = {
        Reason.COMPLETE: "nothing else is left to measure" if end.failures else "all is measured",
        Reason.BUDGET: "the time is spent; the same command goes on from there",
    }
    failed = f", {end.failures} failed" if end.failures else ""
    print(f"{path}: {end.measurements} measurements{failed}; {reasons.get(end.reason, end.reason.value)}")
    print(f"at home: make ingest FILE={path.name}")


def _network_lines(path: Path) -> Iterator[str]:
    """What the file holds of networks."""
    from profiler.bundle.box.end_to_end import end_to_end, line_of
    from profiler.bundle.box.results import parse

    results = parse(path.read_bytes(), path)
    return map(line_of, end_to_end(results.records, results.networks))
