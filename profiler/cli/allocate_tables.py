"""What an allocation found, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiler.allocation.bits_file import Bits, LatencyParts
from profiler.allocation.explain import Binding, Step
from profiler.allocation.limit_text import amount_text
from profiler.allocation.problem import Quantity
from profiler.allocation_stages.from_problem import ProblemAnswer, ProblemFront
from profiler.allocation_stages.result import Allocation, Ends, FrontResult, LayerPrice, Point
from profiler.cli.tables import print_notes, table_console
from profiler.units import format_duration

_WIDE = 150
_MOST_POINTS = 24
_MOST_NAMES = 6


def print_allocation(allocation: Allocation) -> None:
    """Doubts first, then the layers, the totals, the limits with what they cost, and the front."""
    console, bits = table_console(max(_WIDE, 30 + 42 * len(allocation.precisions))), allocation.bits
    print_notes(console, allocation.notes)
    console.print(
        f"{escape(bits.network)}, batch {bits.batch}, on {escape(bits.device_name)}; latencies of {escape(bits.lut)}, "
        f"sensitivity: {escape(bits.sensitivity_source)}",
        soft_wrap=True,
    )
    console.print(_layers(allocation))
    for line in _totals(allocation):
        console.print(escape(line), soft_wrap=True)
    for binding in allocation.bindings:
        for line in _binding(binding, allocation.ends, allocation):
            console.print(escape(line), soft_wrap=True)
    for line in _not_worth(allocation.not_worth, bits):
        console.print(escape(line), soft_wrap=True)
    if allocation.front is not None:
        _print_front(console, allocation.front, allocation.widest)
    where = f"; {allocation.out}" if allocation.out is not None else ""
    console.print(escape(f"{_status(bits.status, bits.gap)} in {allocation.seconds:.1f} s{where}"), soft_wrap=True)


def print_problem(answer: ProblemAnswer, front: ProblemFront | None) -> None:
    """The bits of each layer, and what they take."""
    console = table_console(_WIDE)
    view = Table(box=None, pad_edge=False)
    view.add_column("layer", overflow="fold")
    view.add_column("bits", justify="right")
    for name, bits in zip(answer.names, answer.bits, strict=True):
        view.add_row(escape(name), str(bits))
    console.print(view)
    console.print(
        f"{escape(answer.network)}: sensitivity {answer.objective:.6g}, {format_duration(answer.latency_s)}, "
        f"{amount_text(Quantity.SIZE, answer.size_bytes)}, {amount_text(Quantity.BOPS, answer.bops)} BOPs",
        soft_wrap=True,
    )
    taken = {
        Quantity.LATENCY: answer.latency_s,
        Quantity.SIZE: answer.size_bytes,
        Quantity.BOPS: answer.bops,
    }
    for limit in answer.limits:
        q = limit.quantity
        console.print(f"{q.value}: {amount_text(q, taken[q])} of at most {amount_text(q, limit.most)}")
    if front is not None:
        view = Table(box=None, pad_edge=False, title="Pareto front", title_justify="left")
        for column in ("sensitivity", "latency", "size", "BOPs", "bits"):
            view.add_column(column, justify="left" if column == "bits" else "right", overflow="fold")
        for point in front.points:
            view.add_row(
                f"{point.objective:.4g}", format_duration(point.latency_s),
                amount_text(Quantity.SIZE, point.size_bytes), amount_text(Quantity.BOPS, point.bops),
                "".join(map(str, point.bits)) if max(point.bits) < 10 else " ".join(map(str, point.bits)),
            )  # fmt: skip
        console.print(view)
        console.print(_front_text(front.exact, front.complete, len(front.points)))
    console.print(_status(answer.status, answer.gap))


def _layers(allocation: Allocation) -> Table:
    """What was chosen, next to what each precision takes and harms."""
    view = Table(box=None, pad_edge=False)
    view.add_column("layer", overflow="fold")
    view.add_column("chosen")
    names = [name.upper() for name in allocation.precisions]
    for column in (*names, *(f"speedup {name}" for name in names[1:]), *(f"sensitivity {name}" for name in names)):
        view.add_column(column, justify="right")
    for layer in allocation.layers:
        wide_s, *narrow_s = layer.latencies_s
        speedups = ["-" if wide_s is None or other is None else f"{wide_s / other:.2f}x" for other in narrow_s]
        view.add_row(
            escape(layer.name),
            f"{layer.precision.upper()}{' kept' if layer.fixed else ''}",
            *("-" if latency is None else format_duration(latency) for latency in layer.latencies_s),
            *speedups,
            *("-" if cost is None else f"{cost:.3g}" for cost in layer.sensitivities),
        )
    return view


def _totals(allocation: Allocation) -> Iterator[str]:
    bits = allocation.bits
    yield f"sensitivity {bits.sensitivity:.6g}"
    yield f"latency     {_latency(bits.latency)}"
    yield f"size        {amount_text(Quantity.SIZE, bits.size_bytes)} of weights"
    yield f"BOPs        {amount_text(Quantity.BOPS, bits.bops)} an image"
    yield f"activations {amount_text(Quantity.MEMORY, bits.activation_bytes)} at the peak"
    if bits.energy_j is not None:
        yield f"energy      {amount_text(Quantity.ENERGY, bits.energy_j)} a batch"
    for conversion in bits.conversions:
        yield (
            f"conversion  {conversion.tensor} from {conversion.source} to {conversion.target} for "
            f"{', '.join(conversion.readers)}"
        )


def _latency(parts: LatencyParts) -> str:
    sources = (("measured", parts.measured_s), ("published", parts.published_s), ("predicted", parts.predicted_s))
    told = ", ".join(f"{format_duration(value)} {name}" for name, value in sources if value)
    text = f"{format_duration(parts.total_s)}: {told}"
    if parts.confidence is not None:
        text += f"; below {format_duration(parts.bound_s)} with a confidence of {parts.confidence:.0%}"
    if parts.network_s is not None:
        text += f"; the whole network {format_duration(parts.network_s)}"
    return text


def _binding(binding: Binding, ends: Sequence[Ends], allocation: Allocation) -> Iterator[str]:
    quantity = binding.limit.quantity
    end = next((end for end in ends if end.quantity is quantity), None)
    fraction = allocation.fractions.get(quantity)
    of = f" (fraction {fraction:g})" if fraction is not None else ""
    calibration = allocation.calibration if quantity is Quantity.LATENCY else None
    if calibration is not None:
        of += f", {amount_text(quantity, calibration.latency_s(binding.limit.most))} of the network"
    yield (
        f"limit       {quantity.value} of at most {amount_text(quantity, binding.limit.most)}{of}: "
        f"{amount_text(quantity, binding.reached)} taken, "
        f"{'it binds' if binding.binds else 'it does not bind'}"
    )
    if end is not None:
        yield (
            f"  all {allocation.narrowest.upper()} takes {amount_text(quantity, end.narrow)}, all "
            f"{allocation.widest.upper()} {amount_text(quantity, end.wide)}, the least is "
            f"{amount_text(quantity, end.least)}"
        )
    for what, step in (("better", binding.looser), ("next below", binding.tighter)):
        if step is not None:
            yield f"  {what}: {_step(quantity, step)}"


def _step(quantity: Quantity, step: Step) -> str:
    sign = "+" if step.taken >= 0 else "-"
    told = [f"{change.name} {change.before} to {change.after}" for change in step.changes]
    names = "; ".join(told[:_MOST_NAMES]) + (f"; and {len(told) - _MOST_NAMES} more" if len(told) > _MOST_NAMES else "")
    return f"{sign}{amount_text(quantity, abs(step.taken))}, sensitivity {step.sensitivity:+.3g}: {names}"


def _not_worth(prices: Sequence[LayerPrice], bits: Bits) -> Iterator[str]:
    """Narrow layers that are no faster: those that the limits chose all the same are named as such."""
    chosen = {layer.name: layer.precision for layer in bits.layers}
    for verdict, text in (("slower", "slower than the widest"), ("same", "no faster, as far as the intervals tell")):
        for precision in dict.fromkeys(price.precision for price in prices):
            found = [price for price in prices if price.verdict == verdict and price.precision == precision]
            if not found:
                continue
            names = [
                f"{price.layers[0]} {price.speedup:.2f}x{'*' if chosen[price.layers[0]] == precision else ''}"
                for price in found
            ]
            layers = "1 layer" if len(found) == 1 else f"{len(found)} layers"
            yield f"{precision.upper()} is {text} in {layers}: {', '.join(names)}"
    if any(chosen[price.layers[0]] == price.precision for price in prices):
        yield "* chosen all the same, for another limit or for what is around it"


def _print_front(console: Console, front: FrontResult, widest: str) -> None:
    view = Table(box=None, pad_edge=False, title="Pareto front", title_justify="left")
    for column in ("sensitivity", "latency", "size", "BOPs", "activations", "narrow layers"):
        view.add_column(column, justify="left" if column == "narrow layers" else "right", overflow="fold")
    for point in _some(front.points):
        view.add_row(
            f"{point.sensitivity:.4g}", format_duration(point.latency_s), amount_text(Quantity.SIZE, point.size_bytes),
            amount_text(Quantity.BOPS, point.bops), amount_text(Quantity.MEMORY, point.activation_bytes),
            escape(_narrow(point, widest)),
        )  # fmt: skip
    console.print(view)
    console.print(_front_text(front.exact, front.complete, len(front.points)), soft_wrap=True)


def _narrow(point: Point, widest: str) -> str:
    return f"{sum(precision != widest for precision in point.precisions)} of {len(point.precisions)}"


def _some(points: Sequence[Point]) -> Sequence[Point]:
    """Spread over the front where it has too many for a table."""
    if len(points) <= _MOST_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (_MOST_POINTS - 1))] for i in range(_MOST_POINTS)]


def _front_text(exact: bool, complete: bool, count: int) -> str:
    shown = f", {_MOST_POINTS} of them shown (--front FILE.csv has all)" if count > _MOST_POINTS else ""
    if not complete:
        return f"{count} points{shown}; the time limit ended the search: there may be more, and better ones"
    return f"{count} points{shown}, {'all there are' if exact else 'of the limits that were tried'}"


def _status(status: str, gap: float) -> str:
    if status == "optimal":
        return "optimal" if gap == 0 else f"optimal within {gap:.2%}"
    return f"the time limit ended the search: the best that was found, within {gap:.2%} of the best there may be"
