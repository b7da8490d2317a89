"""Prices of the kernels that a network can need: from the rows of a LUT, and from a latency model where there is none.

Of several rows of a kernel a measured one goes ahead of a published one, and that ahead of a predicted one. With a
model at hand predicted rows are not read: it predicts them anew, with intervals for the confidence that is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from profiler.allocation.price import Price
from profiler.allocation.tensor_choices import Prices
from profiler.errors import FingerprintMismatch, InvalidFile, ProfilerError
from profiler.lut.demand import Unit, demand, implementations, units
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.lut.schema import LutRow, Source
from profiler.predictor.estimate import Basis, Estimate
from profiler.predictor.kernel_only import KernelOnly
from profiler.predictor.latency_model import LatencyModel
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import commonest_conditions
from profiler.predictor.sums import KERNELS_OF_A_SUM
from profiler.record import CacheMode, Conditions
from profiler.workload import KernelSpec, Network, Precision, distinct

_PREFERENCE = (Source.MEASURED, Source.PUBLISHED, Source.PREDICTED)
_OF_BASIS = {Basis.MEASURED: Source.MEASURED, Basis.PUBLISHED: Source.PUBLISHED}


@dataclass(frozen=True)
class PriceList:
    """``prices`` of the kernels that have one, and ``rows`` of those whose price is a row's. ``kernel_only``: prices of
    bare kernels, without bias, requantization and additions. ``factor`` is what predictions are multiplied with against
    a limit, None where their own upper ends count instead (``predicted_ends``), or nothing is predicted. ``warnings``
    are those of predictions that are extrapolated, the commonest first; ``other_conditions`` counts the rows that are
    not read."""

    origin: Origin
    prices: Prices
    kernel_only: bool
    factor: float | None = None
    predicted_ends: bool = False
    warnings: tuple[str, ...] = ()
    other_conditions: int = 0
    rows: Mapping[KernelSpec, LutRow] = field(default_factory=dict)


def rows_of(
    rows: Sequence[LutRow], where: Path, threads: int | None, cache_mode: CacheMode | None
) -> tuple[tuple[LutRow, ...], Conditions]:
    """The rows under the conditions of most of those that fit. Raises `InvalidFile` where there is none."""
    chosen = [
        row
        for row in rows
        if threads in (None, row.conditions.threads) and cache_mode in (None, row.conditions.cache_mode)
    ]
    if not chosen:
        asked = " with the threads and cache mode that --threads and --cache ask for" if rows else ""
        raise InvalidFile(f"{where}: holds no row{asked}")
    most = commonest_conditions(chosen)
    return tuple(row for row in chosen if row.conditions == most), most


def price_list(
    network: Network,
    precisions: Sequence[Precision],
    rows: Sequence[LutRow],
    model: LatencyModel | None,
    confidence: float | None,
) -> PriceList:
    """``rows`` are of one instrument under one set of conditions. ``confidence`` is that with which the sum of what is
    predicted stays below a limit; None takes predictions as they are.

    Raises `FingerprintMismatch` for a model of another device, `ProfilerError` for predicted rows whose confidence
    nothing tells.
    """
    origin = Origin.of(rows[0])
    specs = distinct(wanted.spec for wanted in demand(network, precisions, mixed=True))
    view = KernelOnly.of([row.spec for row in rows if row.source is not Source.PREDICTED])
    by_row = _by_row((row for row in rows if model is None or row.source is not Source.PREDICTED), view)
    found: dict[KernelSpec, LutRow] = {}
    for spec in specs:
        row = by_row.get(view.of_kernel(spec) if view else spec)
        if row is not None:
            found[spec] = row
    if model is not None and not model.state.origin.is_of(origin.device, origin.arch, origin.conditions):
        other = model.state.origin
        raise FingerprintMismatch(
            f"the model is of {other.device} ({other.arch}), {other.conditions.describe()}, but the LUT of "
            f"{origin.device} ({origin.arch}), {origin.conditions.describe()}"
        )
    missing = [spec for spec in specs if spec not in found]
    estimates = model.estimate(missing, confidence or 0.95) if model is not None else ()
    if confidence is not None and model is None and any(row.source is Source.PREDICTED for row in found.values()):
        raise ProfilerError(
            "the LUT holds predicted rows: --confidence needs the model that predicted them (--predictor)"
        )
    known = {spec for spec, row in found.items() if row.source is not Source.PREDICTED}
    known |= {e.spec for e in estimates if e.basis.known}
    factor, ends = None, False
    if model is not None and confidence is not None:
        ends = _few_are_predicted(network, precisions, known)
        factor = None if ends else model.factor(confidence)
    prices = {spec: _of_row(row) for spec, row in found.items()}
    for estimate in estimates:
        prices[estimate.spec] = _of_estimate(estimate, confidence is not None, factor)
    return PriceList(
        origin=origin,
        prices=prices,
        kernel_only=view is not None or (model is not None and model.kernel_only and bool(estimates)),
        factor=factor,
        predicted_ends=ends and any(not e.basis.known for e in estimates),
        warnings=tuple(warning for warning, _ in Counter(w for e in estimates for w in e.warnings).most_common()),
        rows=found,
    )


def _by_row(rows: Iterable[LutRow], view: KernelOnly | None) -> Mapping[KernelSpec, LutRow]:
    """By kernel, or as the view sees it: then the fastest of several layouts."""
    found: dict[KernelSpec, LutRow] = {}
    for row in sorted(rows, key=lambda row: (_PREFERENCE.index(row.source), row.latency_median_s)):
        found.setdefault(view.of_kernel(row.spec) if view else row.spec, row)
    return found


def _few_are_predicted(network: Network, precisions: Sequence[Precision], known: set[KernelSpec]) -> bool:
    """Whether an allocation may have fewer predicted kernels than the factor on sums was calibrated with."""

    uniform = [uniform_precisions(network, precision) for precision in precisions]

    def can_be_known(unit: Unit) -> bool:
        ways = (way for chosen in uniform for way in implementations(network, unit, chosen))
        return any(all(kernel.spec in known for kernel in way.kernels) for way in ways)

    return sum(not can_be_known(unit) for unit in units(network)) < KERNELS_OF_A_SUM


def _of_row(row: LutRow) -> Price:
    latency_s, low_s, high_s = row.latency_median_s, row.latency_ci95_low_s, row.latency_ci95_high_s
    return Price(latency_s, latency_s, row.source, low_s or latency_s, high_s or latency_s, row.energy_j)


def _of_estimate(estimate: Estimate, bounded: bool, factor: float | None) -> Price:
    source = _OF_BASIS.get(estimate.basis, Source.PREDICTED)
    bound_s = estimate.latency_s
    if bounded and source is Source.PREDICTED:
        bound_s = estimate.high_s if factor is None else estimate.latency_s * factor
    return Price(estimate.latency_s, bound_s, source, estimate.low_s, estimate.high_s)
