"""Networks in steady state over batches: verified bit for bit, then run back to back in windows of seconds, in turn.

`with_rows` measures what the table lacks at some batch, as `profile` does; `throughput` runs the networks. A round has
a window of each configuration at each batch, the next one in reverse order, so that a drift of the clock meets all
alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from profiler import __version__, profiled_networks
from profiler.allocation import bits_file
from profiler.allocation.bits_file import Bits
from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import launches
from profiler.campaign import MeasureRequest, Progress, choose_device, opened
from profiler.devices.discover import Vendor
from profiler.errors import InvalidFile, ProfilerError
from profiler.lut import store
from profiler.lut.age import is_ahead
from profiler.lut.demand import demand
from profiler.lut.table import prices
from profiler.measure import new_run_id
from profiler.network.steady import ENERGY_RULE, STEADY_RULE, SteadyRule
from profiler.network_stages.bench import Bench, Site, find_site, opened_bench
from profiler.network_stages.deployments import allocated_deployment, uniform_deployment
from profiler.network_stages.prepared import Prepared
from profiler.network_stages.quantizer import Quantizer, network_of, quantizer
from profiler.network_stages.run import RunRequest
from profiler.network_stages.windows import earlier_notes, notes_of, windows_in_turn
from profiler.output_folder import require_writable
from profiler.record import escaped
from profiler.throughput import file
from profiler.throughput.digests import bits_digest, network_digest
from profiler.throughput.file import Throughputs
from profiler.throughput.point import MOST_IMAGES, Point
from profiler.throughput.unfinished import Taken, Unfinished, path_for
from profiler.workload import INT8, KernelSpec, Network, Precision, distinct

BATCHES = (1, 2, 4, 8, 16, 32, 64)
WINDOWS = 6
"""The fewest with a 95% interval of their median."""
Told = Callable[[str], None]


@dataclass(frozen=True)
class ThroughputRequest:
    """``run`` says what and where, bits and batch apart. Everything in each of ``uniform``, and the allocation in the
    file ``bits``, at each of ``batches``. ``profile``: rows that the own table lacks are measured, with ``trials`` as
    of `MeasureRequest`. ``windows`` of each, by ``rule`` (None: the usual one, with ``energy`` or without). ``out`` is
    the file that the points are added to, by default that of the instrument in ``run.folder``/lut."""

    run: RunRequest
    batches: tuple[int, ...] = BATCHES
    uniform: tuple[Precision, ...] = (INT8,)
    bits: Path | None = None
    profile: bool = True
    trials: int | None = None
    windows: int = WINDOWS
    rule: SteadyRule | None = None
    energy: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        if not self.uniform and self.bits is None:
            raise ProfilerError("say which bits: --uniform int8, --bits bits.json, or both")
        if not self.batches or not all(1 <= batch <= MOST_IMAGES for batch in self.batches):
            raise ProfilerError(f"--batches takes one or more of 1 to {MOST_IMAGES}, for instance 1,8,64")
        if self.trials is not None and self.no_rows:
            raise ProfilerError(
                f"--trials is for rows that are measured on the way; nothing is with {self.no_rows}: leave one out"
            )
        object.__setattr__(self, "batches", tuple(sorted(set(self.batches))))

    @property
    def no_rows(self) -> str:
        """The option that has no rows measured; empty if they are, where the table lacks some."""
        options = {"--lut": self.run.lut, "--allow-default": self.run.allow_default, "--no-profile": not self.profile}
        return next((option for option, given in options.items() if given), "")

    @property
    def steady_rule(self) -> SteadyRule:
        return self.rule or (ENERGY_RULE if self.energy else STEADY_RULE)


@dataclass(frozen=True)
class ThroughputResult:
    """``points`` are of this run; ``curves`` all that the file ``path`` now holds of their curves, those of earlier
    runs too. ``verified_steps`` and ``verified_nbytes`` were compared with the oracle and found equal."""

    path: Path
    content: Throughputs
    points: tuple[Point, ...]
    verified_steps: int
    verified_nbytes: int
    notes: tuple[str, ...]

    @property
    def curves(self) -> tuple[Point, ...]:
        """In the order of the points of this run, by batch."""
        order = list(dict.fromkeys(point.curve for point in self.points))
        found = [point for point in self.content.points if point.curve in order]
        return tuple(sorted(found, key=lambda point: (order.index(point.curve), point.batch)))


@dataclass(frozen=True)
class _Plan:
    """A `campaign.Plan`: what a table lacks of a network at a batch."""

    network: Network
    kernels: int
    device_name: str
    note: str

    @property
    def headline(self) -> str:
        return (
            f"{self.network.name}, batch {self.network.batch}: {self.kernels} kernels without a row, on "
            f"{self.device_name}"
        )


@dataclass(frozen=True)
class _Configuration:
    """``deploy`` says how a network is run, given the latencies of kernels. Either ``uniform``, or bits that were
    allocated at ``batch``."""

    name: str
    label: str
    deploy: Callable[[Network, Mapping[KernelSpec, float]], Deployment] = field(compare=False)
    uniform: Precision | None = None
    batch: int | None = None

    def needed(self, network: Network, latencies_s: Mapping[KernelSpec, float]) -> tuple[KernelSpec, ...]:
        """The kernels that it runs and that have no latency; where there is one, of a uniform network also those of the
        other way to do an addition."""
        chosen = distinct(launch.spec for launch in launches(network, self.deploy(network, latencies_s)))
        missing = tuple(spec for spec in chosen if spec not in latencies_s)
        if not missing or self.uniform is None:
            return missing
        both = distinct(wanted.spec for wanted in demand(network, (self.uniform,), mixed=False))
        return tuple(spec for spec in both if spec not in latencies_s)


def with_rows(
    request: ThroughputRequest, progress: Progress | None = None, vendor: Vendor | None = None
) -> ThroughputRequest:
    """The same request, of the table of an own run that has rows of all its kernels: those that it lacks are measured,
    as `pipeline.profile` would. Nothing is done where another table is named, or none is needed.

    Raises `ProfilerError` for whatever the user can mend; what was measured until then is in the journals.
    """
    run = request.run
    if request.no_rows:
        return request
    progress = progress or Progress()
    asked = MeasureRequest(
        device=run.device, trials=request.trials, cache_mode=run.cache_mode, out=run.folder, cuda=run.cuda
    )
    choice = choose_device(asked, vendor)
    networks = [network_of(run, batch) for batch in request.batches]
    configurations = _configurations(request, networks)
    with opened(asked, choice, progress.tuning, vendor) as campaign:
        for network in networks:
            latencies_s = prices(campaign.rows(), asked.conditions)
            missing = distinct(spec for one in configurations for spec in one.needed(network, latencies_s))
            if missing:
                profiled_networks.keep(campaign.database.folder, network)
                progress.planned(_Plan(network, len(missing), choice.device.name, "; ".join(campaign.notes)))
                campaign.measure(missing)
        table = store.path_for(campaign.luts, campaign.target.slug, campaign.fingerprint.short)
    return replace(request, trials=None, run=replace(run, lut=table))


def throughput(
    request: ThroughputRequest, told: Told = lambda text: None, vendor: Vendor | None = None
) -> ThroughputResult:
    """Every configuration is verified bit for bit at every batch before any window. ``told`` hears of each step. The
    file is written when all windows are there; until then they are kept beside it (`throughput.unfinished`), and the
    same request goes on with them.

    Raises `ProfilerError` for whatever the user can mend, a table that lacks rows among them (`with_rows`), and
    `NetworkFailure` for a network that is not what the oracle says.
    """
    run = request.run
    site = find_site(run, vendor)
    networks = [network_of(run, batch) for batch in request.batches]
    configurations = _configurations(request, networks)
    if not run.allow_default:
        _require_rows(request, site, networks, configurations)
    deployed = [(one, network, one.deploy(network, site.latencies_s)) for one in configurations for network in networks]
    source = quantizer(run, networks[0], {p for _, _, deployment in deployed for p in deployment.precisions})
    with ExitStack() as stack:
        bench = stack.enter_context(opened_bench(run, site, vendor))
        path = request.out or file.path_for(run.folder / "lut", bench.target.slug, bench.fingerprint)
        file.require(path, bench.fingerprint)
        require_writable(path.parent)
        ready, steps, nbytes = [], 0, 0
        for one, network, deployment in deployed:
            told(f"compiling and verifying {one.label} at batch {network.batch}")
            integers = _at(source, network).integers(deployment)
            ready.append(stack.enter_context(Prepared(bench, one.label, integers)))
            verified = ready[-1].verify()
            steps, nbytes = steps + verified.steps, nbytes + verified.nbytes
        run_id = new_run_id()
        unfinished = stack.enter_context(Unfinished(path_for(path, _identity(request, bench, deployed, ready))))
        windows = windows_in_turn(
            request.steady_rule,
            request.energy,
            request.windows,
            ready,
            [network.batch for _, network, _ in deployed],
            unfinished,
            run_id,
            told,
        )
        points = tuple(
            _point(one, network, deployment, prepared, found, run_id)
            for (one, network, deployment), prepared, found in zip(deployed, ready, windows, strict=True)
        )
        content = file.update(path, _content(bench, points))
        unfinished.finished()
    all_windows = [window for found in windows for window in found]
    notes = [*source.notes, *site.notes, *_notes(request, configurations, points)]
    notes += [*notes_of(all_windows), *earlier_notes(all_windows, run_id)]
    ahead = sum(is_ahead(point.measured_at, time.time()) for point in content.points)
    if ahead:
        notes.append(
            f"{path}: {ahead} points are dated in the future by a clock that was wrong; a later run replaces them"
        )
    return ThroughputResult(path, content, points, steps, nbytes, tuple(dict.fromkeys(notes)))


def _configurations(request: ThroughputRequest, networks: Sequence[Network]) -> list[_Configuration]:
    found = [_uniform(precision) for precision in dict.fromkeys(request.uniform)]
    if request.bits is not None:
        bits = bits_file.load(request.bits)
        found.append(_allocated(request.bits, bits))
        for network in networks:  # whatever is wrong is said ahead of all work
            found[-1].deploy(network, {})
    return found


def _uniform(precision: Precision) -> _Configuration:
    return _Configuration(
        precision.name,
        f"uniform {precision.name}",
        lambda network, latencies_s: uniform_deployment(network, precision, latencies_s),
        uniform=precision,
    )


def _allocated(path: Path, bits: Bits) -> _Configuration:
    """Bits were chosen at one batch; whatever they say of layers, tensors and additions is taken at every batch."""
    return _Configuration(
        path.stem,
        str(path),
        lambda network, latencies_s: allocated_deployment(network, path, replace(bits, batch=network.batch)),
        batch=bits.batch,
    )


def _at(source: Quantizer, network: Network) -> Quantizer:
    """Weights and ranges have no batch."""
    return replace(source, trained=replace(source.trained, network=network))


def _require_rows(
    request: ThroughputRequest, site: Site, networks: Sequence[Network], configurations: Sequence[_Configuration]
) -> None:
    """Raises `InvalidFile` that names the command which measures the first batch that lacks rows."""
    for network in networks:
        missing = distinct(spec for one in configurations for spec in one.needed(network, site.latencies_s))
        if missing:
            where = site.table.path if site.table is not None else "the table"
            raise InvalidFile(
                f"{where}: {len(missing)} kernels of {network.name} at batch {network.batch} have no measured row "
                f"({request.run.conditions.describe()}), the first is {missing[0].key}; measure them (make profile "
                f"MODEL={request.run.model} BATCH={network.batch}), or allow the configs that the analytic model holds "
                "for the fastest (--allow-default)"
            )


def _identity(
    request: ThroughputRequest,
    bench: Bench,
    deployed: Sequence[tuple[_Configuration, Network, Deployment]],
    ready: Sequence[Prepared],
) -> list[str]:
    """What two runs have alike of which one can go on with the other's windows."""
    rule = request.steady_rule
    points = [
        (network_digest(network), str(network.batch), one.name, bits_digest(deployment), *prepared.kernels)
        for (one, network, deployment), prepared in zip(deployed, ready, strict=True)
    ]
    asked = (f"{rule.window_s:g} s behind {rule.settle_s:g} s", f"energy {request.energy}")
    return [bench.fingerprint, __version__, *asked, *(text for point in points for text in point)]


def _point(
    one: _Configuration,
    network: Network,
    deployment: Deployment,
    prepared: Prepared,
    windows: Sequence[Taken],
    run_id: str,
) -> Point:
    return Point(
        network=escaped(network.name),
        network_digest=network_digest(network),
        batch=network.batch,
        configuration=escaped(one.name),
        bits_digest="" if one.uniform is not None else bits_digest(deployment),
        windows=tuple(taken.window for taken in windows),
        cache_mode=prepared.bench.site.conditions.cache_mode.value,
        by_default=prepared.by_default,
        lut_sum_s=prepared.lut_sum_s,
        no_energy=escaped(next((w.no_energy for w in windows if w.no_energy), "")),
        notes=tuple(map(escaped, notes_of(windows))),
        run_id=run_id,
        tool_version=__version__,
        measured_at=time.time(),
    )


def _content(bench: Bench, points: tuple[Point, ...]) -> Throughputs:
    instrument = bench.device.fingerprint
    return Throughputs(instrument.device, instrument.device_name, instrument.arch, instrument.short, points)


def _notes(
    request: ThroughputRequest, configurations: Sequence[_Configuration], points: Collection[Point]
) -> Iterator[str]:
    for one in configurations:
        others = [batch for batch in request.batches if one.batch not in (None, batch)]
        if others:
            yield (
                f"{one.label} was allocated at batch {one.batch}: its bits, conversions and separate additions are "
                f"taken as they are at batch {', '.join(map(str, others))}"
            )
    defaults = [point for point in points if point.by_default]
    if defaults:
        yield (
            f"{len(defaults)} of {len(points)} points have kernels without a row, which ran with the config of the "
            "analytic model: throughput that a search may raise (make profile)"
        )
