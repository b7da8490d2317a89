"""A network run end to end with chosen bits: verified bit for bit, timed, and set beside the sum of its kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profiler.allocation import bits_file
from profiler.allocation.bits_file import Bits
from profiler.devices.discover import Vendor
from profiler.errors import ProfilerError
from profiler.measure.energy import NoEnergy
from profiler.measure.rule import StoppingRule
from profiler.network import integer_file
from profiler.network.calibrate import Method
from profiler.network.device_network import Verified
from profiler.network.execute.process import NetworkFailure
from profiler.network.execute.timed import NetworkLatency
from profiler.network.execute.times import NETWORK_RULE
from profiler.network.integer_network import IntegerNetwork
from profiler.network_stages.bench import Bench, BenchRequest, Site, find_site, opened_bench
from profiler.network_stages.deployments import allocated_deployment, uniform_deployment
from profiler.network_stages.prepared import Prepared
from profiler.network_stages.quantizer import QuantizerRequest, network_of, quantizer
from profiler.record import Energy, FailureKind
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import Precision


@dataclass(frozen=True, kw_only=True)
class RunRequest(QuantizerRequest, BenchRequest):
    """What a user asks of `run`: either ``bits``, a bits.json, or ``uniform``, a precision for everything; neither
    where ``model`` is a file that `quantize` wrote. ``energy``: measured, too."""

    bits: Path | None = None
    uniform: Precision | None = None
    energy: bool = False


@dataclass(frozen=True)
class StepTime:
    """A kernel of the network: seconds within the network, and by the table; None without a row."""

    name: str
    kernel: str
    latency_s: float
    lut_s: float | None


@dataclass(frozen=True)
class NetworkRun:
    """What came of it. ``bit_exact``: every step wrote what the integer oracle says, and so did all of them in a row;
    ``difference`` says where not. ``latency`` is None where the network was not timed, being wrong; ``energy`` also
    where nobody asked. ``lut_sum_s`` is the sum of the rows of all steps, None where one has none."""

    network: str
    batch: int
    configuration: str
    device_name: str
    fingerprint: str
    bit_exact: bool
    difference: str
    verified: Verified | None
    latency: NetworkLatency | None
    energy: Energy | NoEnergy | None
    steps: tuple[StepTime, ...]
    lut_sum_s: float | None
    arena_bytes: int
    notes: tuple[str, ...]

    @property
    def latency_s(self) -> float | None:
        """The median of a whole run."""
        return None if self.latency is None else self.latency.times.summary.median_s

    @property
    def energy_j(self) -> float | None:
        """Of a whole run; None where it is not known."""
        return self.energy.j_per_run if isinstance(self.energy, Energy) else None

    @property
    def beyond_sum(self) -> float | None:
        """By how much of the sum the network takes longer than its kernels; negative where it is faster."""
        if self.latency_s is None or self.lut_sum_s is None:
            return None
        return self.latency_s / self.lut_sum_s - 1


def run(request: RunRequest, rule: StoppingRule = NETWORK_RULE, vendor: Vendor | None = None) -> NetworkRun:
    """Quantize, compile, verify, time. Raises `ProfilerError` for whatever the user can mend; what differs from the
    oracle is in the answer."""
    if Path(request.model).suffix.lower() == ".npz":
        configuration = _quantized_before(request)
        site = find_site(request, vendor)
    else:
        bits = _bits(request)
        site = find_site(request, vendor)
        configuration = _quantized_here(request, bits, site)
    with opened_bench(request, site, vendor) as bench:
        return _measured(bench, configuration, rule, request.energy)


@dataclass(frozen=True)
class _Configuration:
    """A network in integers, and how its bits are called. ``notes`` are what a reader should know of its model."""

    name: str
    integers: IntegerNetwork
    notes: tuple[str, ...] = ()


def _quantized_before(request: RunRequest) -> _Configuration:
    """Of a file that holds all of it: what else would decide on its numbers is refused."""
    given = {
        "--bits": request.bits,
        "--uniform": request.uniform,
        "--batch": request.batch,
        "--calibrate": request.calibrate,
        "--ranges": None if request.method is Method.MIN_MAX else request.method,
        "--clipping": None if request.clipping is Clipping.MAX_ABS else request.clipping,
    }
    wrong = [option for option, value in given.items() if value is not None]
    if wrong:
        raise ProfilerError(f"{request.model} is quantized already: leave out {', '.join(wrong)}, or name its model")
    return _Configuration("as quantized", integer_file.load(Path(request.model)))


def _bits(request: RunRequest) -> Bits | None:
    """Those of the file; None where one precision is for everything."""
    if (request.bits is None) == (request.uniform is None):
        raise ProfilerError("say which bits: either --bits bits.json, or --uniform int8")
    return None if request.bits is None else bits_file.load(request.bits)


def _quantized_here(request: RunRequest, bits: Bits | None, site: Site) -> _Configuration:
    network = network_of(request, site.batch if bits is None else bits.batch)
    if bits is not None and request.bits is not None:
        name, deployment = str(request.bits), allocated_deployment(network, request.bits, bits)
    else:
        assert request.uniform is not None
        name = f"uniform {request.uniform.name}"
        deployment = uniform_deployment(network, request.uniform, site.latencies_s)
    source = quantizer(request, network, deployment.precisions)
    return _Configuration(name, source.integers(deployment), source.notes)


def _measured(bench: Bench, configuration: _Configuration, rule: StoppingRule, energy: bool) -> NetworkRun:
    latency, joules, verified, difference = None, None, None, ""
    integers = configuration.integers
    with Prepared(bench, configuration.name, integers) as ready:
        try:
            verified = ready.verify()
            latency = ready.latency(rule)
            joules = ready.energy() if energy else None
        except NetworkFailure as failure:
            if failure.kind is not FailureKind.WRONG_OUTPUT:
                raise
            latency, joules, difference = None, None, str(failure)
    steps: tuple[StepTime, ...] = ()
    if latency is not None:
        medians = zip(integers.steps, latency.times.step_medians_s, ready.lut_s, strict=True)
        steps = tuple(StepTime(step.name, step.spec.key, median_s, lut_s) for step, median_s, lut_s in medians)
    return NetworkRun(
        network=integers.name,
        batch=integers.batch,
        configuration=configuration.name,
        device_name=bench.target.name,
        fingerprint=bench.fingerprint,
        bit_exact=not difference,
        difference=difference,
        verified=verified,
        latency=latency,
        energy=joules,
        steps=steps,
        lut_sum_s=ready.lut_sum_s,
        arena_bytes=ready.arena_bytes,
        notes=(*configuration.notes, *bench.site.notes, *(latency.circumstances.notes if latency is not None else ())),
    )
