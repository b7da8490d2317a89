"""From a network, a LUT, sensitivities and limits to the bits of each layer, with the reasons."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profiler.allocation import bits_file, explain, pareto
from profiler.allocation.bits_file import Bits, LimitReached
from profiler.allocation.calibration import Calibration, calibrate, read_end_to_end
from profiler.allocation.freedom import freedom
from profiler.allocation.limit_text import LimitText
from profiler.allocation.milp import Outcome
from profiler.allocation.network_problem import NetworkProblem, network_problem
from profiler.allocation.problem import Limit, Quantity
from profiler.allocation.solve import NoUniformNetwork, OutOfTimeError, Solution, Solver
from profiler.allocation_stages import outcome
from profiler.allocation_stages.layer_prices import layer_prices, layer_views
from profiler.allocation_stages.limits_missed import missed_text
from profiler.allocation_stages.notes import gaps_text, notes
from profiler.allocation_stages.prices import PriceList, price_list, rows_of
from profiler.allocation_stages.result import Allocation, Ends, FrontResult, Point
from profiler.allocation_stages.sensitivity_source import sensitivity_of
from profiler.allocation_stages.which_lut import LutChoice, which_lut
from profiler.errors import InvalidFile, NoAllocation, OutputError, ProfilerError
from profiler.frontend import load_network
from profiler.hardware import is_cpu
from profiler.lut.store import read
from profiler.output_folder import require_writable
from profiler.predictor import model_file
from profiler.record import CacheMode
from profiler.sensitivity.table import Sensitivity
from profiler.targets import default_batch
from profiler.workload import INT4, INT8, Network, Precision

_EXPLANATIONS_S = 20.0
"""What an answer that is there already may be kept waiting for its reasons."""


@dataclass(frozen=True)
class AllocateRequest:
    """What a user asks for. Either ``lut`` or ``device`` says where latencies come from; ``sensitivity`` is a file, a
    method or None (see `sensitivity_of`). ``keep`` and ``forbid`` are those of `freedom`. ``only_priced`` None: as the
    table is. ``front`` is the quantity of a Pareto front (within the limits of all others), of ``points`` limits, or
    exact. ``end_to_end`` is a file of measurements of the whole network. Nothing is written without ``out``."""

    model: str
    lut: Path | None = None
    device: str = "auto"
    folder: Path = Path()
    sensitivity: str | None = None
    limits: tuple[LimitText, ...] = ()
    precisions: tuple[Precision, ...] = (INT8, INT4)
    keep: tuple[str, ...] = ("first", "last")
    forbid: tuple[str, ...] = ()
    only_priced: bool | None = None
    predictor: Path | None = None
    confidence: float | None = None
    end_to_end: Path | None = None
    batch: int | None = None
    threads: int | None = None
    cache_mode: CacheMode | None = None
    front: Quantity | None = None
    points: int | None = None
    gap: float = 0.0
    time_limit_s: float | None = None
    skip_unsupported: bool = False
    out: Path | None = None


def allocate(request: AllocateRequest) -> Allocation:
    """Raises `ProfilerError` for whatever the user can mend; `NoAllocation` where no precisions meet the limits: it
    says which of them are missed, and the best that can be."""
    began = time.perf_counter()
    _require_output(request.out)
    if request.confidence is not None and not 0 < request.confidence < 1:
        raise ProfilerError(
            f"a confidence lies between 0 and 1, for instance 0.95, and {request.confidence:g} does not"
        )
    table = LutChoice(request.lut) if request.lut is not None else which_lut(request.device, request.folder)
    all_rows = read(table.path)
    rows, _ = rows_of(all_rows, table.path, request.threads, request.cache_mode)
    batch = request.batch or default_batch(not is_cpu(rows[0].device))
    network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
    only_priced = table.partial if request.only_priced is None else request.only_priced
    free = freedom(network, request.precisions, request.keep, request.forbid, only_priced)
    sensitivity = sensitivity_of(request.sensitivity, request.model, network, free.precisions)
    model = model_file.load(request.predictor)[0] if request.predictor is not None else None
    priced = price_list(network, free.precisions, rows, model, request.confidence)
    priced = replace(priced, other_conditions=len(all_rows) - len(rows))
    problem = network_problem(
        network,
        priced.prices,
        lambda layer, precision: sensitivity.of(layer, precision) if _lists(sensitivity, layer, precision) else 0.0,
        free,
        limits_memory=any(limit.quantity is Quantity.MEMORY for limit in request.limits),
    )
    _require_sensitivities(sensitivity, problem)
    calibration = _calibration(request, network, priced)
    solver = Solver(problem.problem)
    asked = dict.fromkeys((Quantity.LATENCY, *(limit.quantity for limit in request.limits)))
    if Quantity.ENERGY in asked or request.front is Quantity.ENERGY:
        _require_energy(problem)
    ends, without_ends = _ends(solver, tuple(asked))
    limits = [_limit(text, ends, without_ends, calibration) for text in request.limits]
    solver.allow(request.time_limit_s)
    solution = solver.solve(limits, request.gap, fall_back=True)
    if solution is None:
        missed = missed_text(explain.unmet(solver, limits), calibration)
        raise NoAllocation(f"{missed}; {gaps_text(problem)}" if problem.gaps else missed)
    bits = _bits(request, table, problem, solution, priced, sensitivity, limits, calibration)
    if request.out is not None:
        bits_file.save(request.out, bits)  # ahead of the reasons and the front, which may take longer
    solver.allow(_EXPLANATIONS_S)
    bindings, late = _bindings(solver, limits, solution)
    front = None
    if request.front is not None:
        solver.allow(request.time_limit_s)
        others = [limit for limit in limits if limit.quantity is not request.front]
        found = pareto.front(solver, request.front, others, request.points)
        front = _front(found, problem, priced, request.confidence, calibration)
    return Allocation(
        bits=bits,
        precisions=tuple(precision.name for precision in free.precisions),
        layers=layer_views(problem, priced, sensitivity, bits.layers),
        ends=ends,
        bindings=bindings,
        fractions={text.quantity: text.fraction for text in request.limits if text.fraction is not None},
        not_worth=tuple(p for p in layer_prices(problem, priced) if p.verdict != "faster"),
        front=front,
        out=request.out,
        seconds=time.perf_counter() - began,
        calibration=calibration,
        notes=tuple(notes(table, problem, priced, sensitivity, calibration, ends, without_ends, bool(limits), late)),
    )


# -- before the search -----------------------------------------------------------------------------------------------


def _require_output(out: Path | None) -> None:
    """Ahead of the work: a file of another kind is not replaced."""
    if out is None:
        return
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; name a file")
    if out.exists() and not bits_file.is_bits(out):
        raise OutputError(f"{out}: is there and is not a bits.json, which would replace it; name another file")
    require_writable(out.parent)


def _lists(sensitivity: Sensitivity, layer: str, precision: str) -> bool:
    return layer in sensitivity and precision in sensitivity.layer(layer).cost


def _require_sensitivities(sensitivity: Sensitivity, problem: NetworkProblem) -> None:
    """Of all layers that have a choice; others need none."""
    names, choices = problem.problem.precisions, problem.choices
    needed = [
        (layer, names[level])
        for layer, index in choices.of_layer.items()
        for level in choices.choices[index].allowed
        if len(choices.choices[index].allowed) > 1
    ]
    sensitivity.check(problem.network, needed)


def _calibration(request: AllocateRequest, network: Network, priced: PriceList) -> Calibration | None:
    if request.end_to_end is None:
        return None
    points = read_end_to_end(request.end_to_end, network.name, network.batch, priced.origin.fingerprint)
    try:
        return calibrate(points)
    except ValueError as error:
        raise InvalidFile(f"{request.end_to_end}: {error}") from None


def _require_energy(problem: NetworkProblem) -> None:
    if problem.unmetered:
        raise ProfilerError(
            f"the energy of {len(problem.unmetered)} of {problem.kernels} kernels is not known (energy_j is empty in "
            f"their rows, e.g. {problem.unmetered[0].key}, and no model predicts it), so it can be no limit: measure "
            "it (profile --energy, make profile ENERGY=1) on a device with an energy counter, or leave it out"
        )


def _ends(solver: Solver, quantities: Sequence[Quantity]) -> tuple[tuple[Ends, ...], str]:
    """Of each quantity; or none, and why."""
    found = []
    try:
        for quantity in quantities:
            least = solver.least(quantity, ())
            if least is None:
                return (), missed_text(())
            narrow, wide = solver.end(quantity, narrow=True), solver.end(quantity, narrow=False)
            found.append(Ends(quantity, narrow, wide, solver.total(least, quantity)))
    except NoUniformNetwork as error:
        return (), str(error)
    return tuple(found), ""


def _limit(text: LimitText, ends: Sequence[Ends], without_ends: str, calibration: Calibration | None) -> Limit:
    """A fraction as in HAWQ-V3; an amount of latency is that of the network, where it is known how to get there."""
    if text.fraction is not None:
        end = next((end for end in ends if end.quantity is text.quantity), None)
        if end is None:
            raise ProfilerError(f"{without_ends}; so a fraction of {text.quantity.value} means nothing: give an amount")
        return Limit(text.quantity, end.narrow + text.fraction * (end.wide - end.narrow))
    assert text.amount is not None
    if text.quantity is Quantity.LATENCY and calibration is not None:
        return Limit(text.quantity, calibration.sum_s(text.amount))
    return Limit(text.quantity, text.amount)


# -- after it --------------------------------------------------------------------------------------------------------


def _bits(
    request: AllocateRequest,
    table: LutChoice,
    problem: NetworkProblem,
    solution: Solution,
    priced: PriceList,
    sensitivity: Sensitivity,
    limits: Sequence[Limit],
    calibration: Calibration | None,
) -> Bits:
    found, totals = solution.assignment, solution.totals
    return Bits(
        network=problem.network.name,
        batch=problem.network.batch,
        layers=outcome.layer_bits(problem, found),
        tensors=outcome.tensor_bits(problem, found),
        conversions=outcome.tensor_conversions(problem, found),
        separate=outcome.separate_additions(problem, found),
        limits=tuple(LimitReached(limit.quantity.value, limit.most, totals[limit.quantity]) for limit in limits),
        sensitivity=solution.sensitivity,
        sensitivity_source=sensitivity.method,
        bound=solution.bound,
        gap=solution.gap,
        status=solution.outcome.value,
        latency=outcome.latency_parts(problem, found, priced, request.confidence, calibration),
        size_bytes=totals[Quantity.SIZE],
        bops=totals[Quantity.BOPS],
        activation_bytes=totals[Quantity.MEMORY],
        energy_j=outcome.energy_j(problem, found, priced),
        device=priced.origin.device,
        device_name=priced.origin.device_name,
        fingerprint=priced.origin.fingerprint,
        lut=table.path.name + (f" and {request.predictor.name}" if request.predictor is not None else ""),
    )


def _bindings(solver: Solver, limits: Sequence[Limit], solution: Solution) -> tuple[tuple[explain.Binding, ...], bool]:
    """And whether there was no time for them."""
    if solution.outcome is not Outcome.OPTIMAL or solution.gap > 0:
        return (), bool(limits)
    try:
        return explain.bindings(solver, limits, solution), False
    except OutOfTimeError:
        return (), True


def _front(
    front: pareto.Front,
    problem: NetworkProblem,
    priced: PriceList,
    confidence: float | None,
    calibration: Calibration | None,
) -> FrontResult:
    points = []
    for point in front.points:
        layers = outcome.layer_bits(problem, point.assignment)
        points.append(
            Point(
                sensitivity=point.sensitivity,
                latency=outcome.latency_parts(problem, point.assignment, priced, confidence, calibration),
                size_bytes=point.totals[Quantity.SIZE],
                bops=point.totals[Quantity.BOPS],
                activation_bytes=point.totals[Quantity.MEMORY],
                energy_j=outcome.energy_j(problem, point.assignment, priced),
                precisions=tuple(layer.precision for layer in layers),
            )
        )
    return FrontResult(front.quantity, tuple(points), front.exact, front.complete)
