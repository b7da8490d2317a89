"""What a saved model says of a network, or of a list of kernels."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler import __version__
from profiler.errors import InvalidFile, ProfilerError
from profiler.frontend import load_network
from profiler.hardware import GpuSpec, is_cpu
from profiler.lut import store
from profiler.lut.demand import Implementation, Variant, demand, implementations, units
from profiler.lut.kernel_list import read_kernels
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.lut.schema import LutRow, Source
from profiler.prediction_stages.configs import KernelConfigs, best_configs
from profiler.predictor import model_file
from profiler.predictor.device_facts import DeviceFacts
from profiler.predictor.estimate import Basis, Estimate, TotalEstimate
from profiler.predictor.latency_model import LatencyModel
from profiler.predictor.model_state import Origin
from profiler.predictor.validation.report_json import from_json
from profiler.targets import default_batch
from profiler.workload import INT4, INT8, KernelSpec, Network, Precision, Workload, distinct

_CONFIDENCE_OF_COLUMNS = 0.95
"""Of the interval in a LUT's columns."""
_LEAST_CERTAIN = (Basis.EXTRAPOLATED, Basis.PREDICTED, Basis.STAND_IN, Basis.PUBLISHED, Basis.MEASURED)


@dataclass(frozen=True)
class PredictRequest:
    """What a user asks of `predict`: either ``network`` or ``kernels``, a CSV file. ``batch`` None is the device's
    default; it and the precisions are of a network. ``configs`` of each listed kernel are told, best first; ``out``
    gets what is predicted as rows of a LUT."""

    model: Path
    network: str | None = None
    kernels: Path | None = None
    batch: int | None = None
    precisions: tuple[Precision, ...] = (INT8, INT4)
    confidence: float = 0.9
    skip_unsupported: bool = False
    configs: int = 0
    out: Path | None = None


@dataclass(frozen=True)
class LayerAnswer:
    """A layer in one precision, by the fastest way: one kernel, or a convolution and an addition of its own."""

    variant: Variant
    kernels: tuple[Estimate, ...]

    @property
    def latency_s(self) -> float:
        return sum(kernel.latency_s for kernel in self.kernels)

    @property
    def low_s(self) -> float:
        """Of two kernels the sum of the ends, as if both erred alike."""
        return sum(kernel.low_s for kernel in self.kernels)

    @property
    def high_s(self) -> float:
        return sum(kernel.high_s for kernel in self.kernels)

    @property
    def basis(self) -> Basis:
        """Of several that of the least certain one."""
        return min((kernel.basis for kernel in self.kernels), key=_LEAST_CERTAIN.index)


@dataclass(frozen=True)
class LayerLine:
    """A layer, with the addition that belongs to it; ``answers`` are in the order of the precisions."""

    layers: tuple[str, ...]
    workload: Workload
    answers: tuple[LayerAnswer, ...]


@dataclass(frozen=True)
class NetworkAnswer:
    """``totals`` and the answers of each line are in the order of ``precisions``."""

    network: str
    batch: int
    precisions: tuple[Precision, ...]
    lines: tuple[LayerLine, ...]
    totals: tuple[TotalEstimate, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Predictions:
    """The answers to a request: ``network``, or ``estimates`` of the listed kernels. ``written`` rows went to ``out``;
    kernels whose latency is known are not among them."""

    origin: Origin
    confidence: float
    network: NetworkAnswer | None
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]
    out: Path | None
    written: int
    configs: tuple[KernelConfigs, ...] = ()

    @property
    def warnings(self) -> Mapping[str, int]:
        """Why answers that are shown are extrapolated, and of how many kernels each is true; the commonest first."""
        shown = dict.fromkeys(self.estimates)
        if self.network is not None:
            answers = (answer for line in self.network.lines for answer in line.answers)
            shown = dict.fromkeys(kernel for answer in answers for kernel in answer.kernels)
        return dict(Counter(warning for estimate in shown for warning in estimate.warnings).most_common())


def predict(request: PredictRequest) -> Predictions:
    """Raises `ProfilerError` for whatever the user can mend."""
    if (request.network is None) == (request.kernels is None):
        raise ProfilerError("say either --network or --kernels: what shall be predicted")
    if not 0 < request.confidence < 1:
        raise ProfilerError(f"a confidence lies between 0 and 1, for instance 0.9, and {request.confidence:g} does not")
    model, file = model_file.load(request.model)
    origin = model.state.origin
    if request.kernels is not None:
        answer = None
        specs = read_kernels(request.kernels)
    else:
        assert request.network is not None
        batch = request.batch or default_batch(not is_cpu(origin.device))
        network = load_network(request.network, batch, skip_unsupported=request.skip_unsupported)
        answer = _network_answer(model, network, request.precisions, request.confidence)
        specs = distinct(wanted.spec for wanted in demand(network, request.precisions, mixed=True))
    estimates = model.estimate(specs, request.confidence)
    configs = best_configs(model.state, specs, request.configs, request.confidence) if request.configs else ()
    written = 0
    if request.out is not None:
        rows = _rows([e for e in estimates if not e.basis.known], model, request.confidence)
        written = len(rows)
        if rows:
            store.update(request.out, rows)
    return Predictions(
        origin=origin,
        confidence=request.confidence,
        network=answer,
        estimates=estimates,
        notes=tuple(_notes(model, _trust(file.report, request.model))),
        out=request.out,
        written=written,
        configs=configs,
    )


def _network_answer(
    model: LatencyModel, network: Network, precisions: Sequence[Precision], confidence: float
) -> NetworkAnswer:
    uniform = [uniform_precisions(network, precision) for precision in precisions]
    ways = [(unit, [implementations(network, unit, chosen) for chosen in uniform]) for unit in units(network)]
    specs = distinct(kernel.spec for _, each in ways for choices in each for way in choices for kernel in way.kernels)
    known = dict(zip(specs, model.estimate(specs, confidence), strict=True))
    lines = tuple(
        LayerLine(unit.layers, unit.layer.workload, tuple(_fastest(choices, known) for choices in each))
        for unit, each in ways
    )
    totals = (
        model.total(Counter(kernel.spec for line in lines for kernel in line.answers[i].kernels), confidence)
        for i in range(len(precisions))
    )
    return NetworkAnswer(network.name, network.batch, tuple(precisions), lines, tuple(totals), network.skipped)


def _fastest(ways: Iterable[Implementation], known: Mapping[KernelSpec, Estimate]) -> LayerAnswer:
    answers = [LayerAnswer(way.variant, tuple(known[kernel.spec] for kernel in way.kernels)) for way in ways]
    return min(answers, key=lambda answer: answer.latency_s)


def _rows(estimates: Iterable[Estimate], model: LatencyModel, confidence: float) -> tuple[LutRow, ...]:
    origin, now = model.state.origin, time.time()
    with_interval = confidence == _CONFIDENCE_OF_COLUMNS
    return tuple(
        LutRow(
            spec=estimate.spec,
            conditions=origin.conditions,
            source=Source.PREDICTED,
            fingerprint=origin.fingerprint,
            device=origin.device,
            device_name=origin.device_name,
            arch=origin.arch,
            latency_median_s=estimate.latency_s,
            measured_at=now,
            tool_version=__version__,
            latency_ci95_low_s=estimate.low_s if with_interval else None,
            latency_ci95_high_s=estimate.high_s if with_interval else None,
            native=_native(estimate.spec, model.state.facts),
        )
        for estimate in estimates
    )


def _native(spec: KernelSpec, facts: DeviceFacts) -> bool:
    """No CPU multiplies in 4 bits, nor do all GPUs, nor do those all multiply bit planes."""
    if isinstance(facts, GpuSpec) and spec.weight_dtype is not None and spec.input_dtype.in_planes:
        return facts.has_native(1)
    if spec.weight_dtype is None or spec.weight_dtype.bits != 4:
        return True
    return isinstance(facts, GpuSpec) and facts.native_int4


def _trust(report: Mapping[str, Any] | None, path: Path) -> str:
    """What the validation in the model's file says of it, in a sentence."""
    if report is None:
        return "the model was never validated: nothing is known of its errors"
    try:
        return from_json(report).trust
    except ValueError as error:
        raise InvalidFile(f"{path}: its validation report is damaged ({error}); fit it again from its LUT") from None


def _notes(model: LatencyModel, trust: str) -> Iterable[str]:
    yield trust
    if model.kernel_only:
        yield (
            "the model was fitted to bare kernels: a layer is answered with the kernel of its workload alone, without "
            "bias, requantization, ReLU and addition"
        )
