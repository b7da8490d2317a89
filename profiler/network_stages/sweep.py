"""Closing the loop: several bit configurations of a network measured end to end, beside the sums of their kernels.

What comes out is the affine calibration that `allocate --end-to-end` takes: latency = offset + slope * sum.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

from profiler.allocation.calibration import COLUMNS, Calibration, EndToEnd, calibrate
from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.network_stages.bench import find_site, opened_bench, table_of
from profiler.network_stages.configurations import ConfigurationsRequest, configurations
from profiler.network_stages.in_turn import timed_in_turn
from profiler.network_stages.prepared import Prepared
from profiler.network_stages.quantizer import network_of, quantizer, require_model
from profiler.network_stages.run import RunRequest
from profiler.output_folder import removed_if_empty, require_writable, write_whole, writing
from profiler.workload import INT4, INT8, Precision, widest_first


@dataclass(frozen=True)
class SweepRequest:
    """``run`` says what and where, its bits apart; ``configurations`` how many to measure beside the uniform ones of
    all ``precisions``, whose order does not matter."""

    run: RunRequest
    configurations: int = 8
    precisions: tuple[Precision, ...] = (INT8, INT4)
    sensitivity: str | None = None
    out: Path | None = None


@dataclass(frozen=True)
class SweepPoint:
    """A configuration: the sum over its kernels and the latency of the network, seconds; ``low_s`` to ``high_s`` are
    the medians of its fastest and its slowest round. ``narrow`` of its layers are in fewer bits than the widest."""

    name: str
    narrow: int
    lut_sum_s: float
    latency_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True)
class Sweep:
    """``calibration`` is fitted to all points. ``errors`` are relative, of each point by the calibration of the others;
    ``tau`` is Kendall's, of the two orders of the points, None where there is no order. Of all ``pairs`` of points
    ``decided`` have rounds that do not overlap, and ``kept`` of these are in the order of their sums."""

    network: str
    batch: int
    fingerprint: str
    points: tuple[SweepPoint, ...]
    calibration: Calibration
    errors: tuple[float, ...]
    tau: float | None
    pairs: int
    decided: int
    kept: int
    notes: tuple[str, ...]


def sweep(request: SweepRequest, told: Callable[[str], None] = lambda text: None) -> Sweep:
    """Every configuration is verified bit for bit before it is timed. ``told`` hears of each step.

    Raises `ProfilerError` for whatever the user can mend, and for a network that is not what the oracle says.
    """
    require_model(request.run)
    ready: dict[str, Prepared] = {}
    with ExitStack() as stack:
        if request.out is not None:
            stack.enter_context(removed_if_empty(request.out.parent))
        _require_output(request.out)
        site = find_site(request.run)
        table = site.table or table_of(request.run, site.choice.device.slug)  # which says what is missing
        precisions = widest_first(request.precisions)
        source = quantizer(request.run, network_of(request.run, site.batch), precisions)
        bench = stack.enter_context(opened_bench(request.run, site))
        wanted = ConfigurationsRequest(
            model=request.run.model,
            count=request.configurations,
            precisions=precisions,
            sensitivity=request.sensitivity,
            table=table.path,
            cache_mode=request.run.cache_mode,
        )
        chosen = configurations(wanted, source.network, site.latencies_s)
        deployments = chosen.deployments
        for name, deployment in deployments.items():
            told(f"compiling and verifying {name}")
            ready[name] = stack.enter_context(Prepared(bench, name, source.integers(deployment)))
            ready[name].verify()
        sums = {name: network.lut_sum_s for name, network in ready.items()}
        without = [name for name, lut_sum_s in sums.items() if lut_sum_s is None]
        if without:
            raise InvalidFile(f"{without[0]}: kernels without a row in the table; measure them (make profile)")
        timed = timed_in_turn(list(ready.values()), told)
        rounds = dict(zip(ready, timed.samples_s, strict=True))
    medians = {name: [median(taken) for taken in of_all] for name, of_all in rounds.items()}
    points = tuple(
        SweepPoint(
            name=name,
            narrow=sum(_is_narrower(precision, precisions[0]) for precision in deployments[name].layers.values()),
            lut_sum_s=sums[name] or 0.0,
            latency_s=median([s for taken in rounds[name] for s in taken]),
            low_s=min(medians[name]),
            high_s=max(medians[name]),
        )
        for name in ready
    )
    if request.out is not None:  # ahead of the fit: what was measured is kept, whatever comes of it
        key = (source.network.name, source.network.batch, bench.fingerprint)
        write_whole(request.out, _csv(key, points).encode())
    decided = [(a, b) for a, b in combinations(points, 2) if a.high_s < b.low_s or b.high_s < a.low_s]
    return Sweep(
        network=source.network.name,
        batch=source.network.batch,
        fingerprint=bench.fingerprint,
        points=points,
        calibration=_calibration(points, request.out),
        errors=tuple(_held_out_errors(points, request.out)),
        tau=kendall_tau([p.lut_sum_s for p in points], [p.latency_s for p in points]),
        pairs=len(points) * (len(points) - 1) // 2,
        decided=len(decided),
        kept=sum(_sign(a.lut_sum_s - b.lut_sum_s) == _sign(a.latency_s - b.latency_s) for a, b in decided),
        notes=(*source.notes, *site.notes, *([chosen.note] if chosen.note else []), *timed.notes),
    )


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two orders of the same things; None for fewer than two, or where one has no order at all.

    Source: Kendall, The treatment of ties in ranking problems, Biometrika 33, 1945.
    """
    pairs = list(combinations(zip(first, second, strict=True), 2))
    signs = [(_sign(a[0] - b[0]), _sign(a[1] - b[1])) for a, b in pairs]
    apart = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    if not all(apart):
        return None
    return float(sum(a * b for a, b in signs) / (apart[0] * apart[1]) ** 0.5)


def to_csv(found: Sweep) -> str:
    """As `allocate --end-to-end` reads it."""
    return _csv((found.network, found.batch, found.fingerprint), found.points)


def _csv(key: tuple[str, int, str], points: Sequence[SweepPoint]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, "configuration", "narrow_layers"))
    for point in points:
        writer.writerow((*key, repr(point.lut_sum_s), repr(point.latency_s), point.name, point.narrow))
    return text.getvalue()


def _require_output(out: Path | None) -> None:
    """Ahead of the work: a file of another kind is not replaced."""
    if out is None:
        return
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; name a file")
    begin = ",".join(COLUMNS).encode()
    with writing(out):
        ours = not out.exists() or (out.is_file() and _begins(out, begin))
    if not ours:
        raise OutputError(
            f"{out}: is there and holds no end-to-end latencies, which would replace it; name another file"
        )
    require_writable(out.parent)


def _begins(path: Path, begin: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(begin)) == begin


def _is_narrower(precision: Precision, widest: Precision) -> bool:
    return precision.activation_bits < widest.activation_bits or precision.weight_bits < widest.weight_bits


def _ends(points: Sequence[SweepPoint]) -> list[EndToEnd]:
    return [EndToEnd(point.lut_sum_s, point.latency_s) for point in points]


def _calibration(points: Sequence[SweepPoint], out: Path | None) -> Calibration:
    try:
        return calibrate(_ends(points))
    except ValueError as error:
        raise ProfilerError(f"{error}{_where_it_is(out)}") from None


def _where_it_is(out: Path | None) -> str:
    return "; -o FILE keeps what was measured" if out is None else f"; what was measured is in {out}"


def _held_out_errors(points: Sequence[SweepPoint], out: Path | None) -> Iterator[float]:
    """Of each point by the calibration of all others; none where there is no other."""
    for index, point in enumerate(points):
        others = [other for number, other in enumerate(points) if number != index]
        if not others:
            return
        try:
            expected_s = calibrate(_ends(others)).latency_s(point.lut_sum_s)
        except ValueError as error:
            raise ProfilerError(f"without {point.name} {error}{_where_it_is(out)}") from None
        yield expected_s / point.latency_s - 1


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
