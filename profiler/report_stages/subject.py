"""What a report is about: a table, the network that it is read for, prices, and the journals behind the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from profiler.allocation_stages.prices import PriceList, price_list, rows_of
from profiler.allocation_stages.which_lut import LutChoice, which_lut
from profiler.errors import InvalidFile, ProfilerError
from profiler.frontend import BUILTINS, load_network
from profiler.hardware import is_cpu
from profiler.lut.demand import Unit, units
from profiler.lut.schema import LutRow
from profiler.lut.store import read
from profiler.prediction_stages.logs import records_of
from profiler.predictor.device_facts import DeviceFacts, facts_of
from profiler.predictor.model_state import Origin
from profiler.profiled_networks import kept
from profiler.record import CacheMode, Conditions, KernelRecord
from profiler.report_stages.run_noise import RunNoise, run_noise
from profiler.report_stages.unit_time import UnitTime, unit_time
from profiler.targets import default_batch
from profiler.workload import INT4, INT8, Network, Precision

_MOSTLY = 0.8
"""With prices of so many of its layers a table is taken to be about a network."""


@dataclass(frozen=True)
class ReportRequest:
    """What a user asks of a report. Either ``lut`` or ``device`` says which table it is about, ``folder`` holds lut/
    and tuning_logs/ of own runs. ``model`` None takes the network that was profiled last there, else the built-in one
    that the table knows most of. ``logs`` None looks for the journals beside the table. ``bits`` is the allocation to
    show, a bits.json; without it one is made with ``sensitivity`` (see `sensitivity_of`). ``throughput`` is a file of
    networks that ran, by default those beside the table. ``out`` None is ``folder``/reports/<device>."""

    lut: Path | None = None
    device: str = "auto"
    folder: Path = Path()
    model: str | None = None
    batch: int | None = None
    precisions: tuple[Precision, ...] = (INT8, INT4)
    logs: Path | None = None
    bits: Path | None = None
    sensitivity: str | None = None
    throughput: Path | None = None
    threads: int | None = None
    cache_mode: CacheMode | None = None
    skip_unsupported: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class Subject:
    """``rows`` are those of the table under ``conditions``, ``other_rows`` counts the rest. ``model`` is how the user
    would name the network. ``logs`` is the folder that the ``records`` come from, None where there is none. ``places``
    are the files and folders that messages may name."""

    table: LutChoice
    rows: tuple[LutRow, ...]
    other_rows: int
    conditions: Conditions
    facts: DeviceFacts
    model: str
    network: Network
    precisions: tuple[Precision, ...]
    priced: PriceList
    logs: Path | None
    records: tuple[KernelRecord, ...]
    noise: RunNoise
    places: tuple[Path, ...] = ()

    @property
    def origin(self) -> Origin:
        return self.priced.origin

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        return units(self.network)

    @property
    def wide(self) -> Precision:
        """What the others are compared with."""
        return self.precisions[0]

    @property
    def narrow(self) -> Precision:
        return self.precisions[-1]

    def time(self, unit: Unit, precision: Precision) -> UnitTime:
        """Of a unit in the uniform network. Nearly all sections ask: each is worked out once."""
        key = unit.layer.name, precision
        if key not in self._times:
            self._times[key] = unit_time(self.network, unit, precision, self.priced)
        return self._times[key]

    @cached_property
    def _times(self) -> dict[tuple[str, Precision], UnitTime]:
        return {}

    def told(self, text: str) -> str:
        """For readers elsewhere: files go by their names, wherever they lie on this machine."""
        forms = {form: path.name for path in self.places for form in (str(path), str(path.absolute()))}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, forms[form])
        return text


def subject_of(request: ReportRequest) -> Subject:
    """Raises `ProfilerError` for whatever the user can mend."""
    if len(request.precisions) < 2:
        raise ProfilerError("a report compares precisions: give two or more, for instance int8,int4")
    table = LutChoice(request.lut) if request.lut is not None else which_lut(request.device, request.folder)
    all_rows = read(table.path)
    rows, conditions = rows_of(all_rows, table.path, request.threads, request.cache_mode)
    logs = request.logs if request.logs is not None else _logs_beside(table.path, rows[0].device)
    origin = Origin.of(rows[0])
    records = () if logs is None else records_of(logs, origin)
    model, network, priced = _chosen(request, rows, logs)
    return Subject(
        table=table,
        rows=rows,
        other_rows=len(all_rows) - len(rows),
        conditions=conditions,
        facts=facts_of(rows),
        model=model,
        network=network,
        precisions=request.precisions,
        priced=priced,
        logs=logs,
        records=records,
        noise=run_noise(rows, records),
        places=tuple(_places(request, logs, model)),
    )


def folder_name(device: str) -> str:
    """Of a device as a table calls it, which may be anybody's: one part of a path, below where it is put."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", device).strip(".") or "device"


def _places(request: ReportRequest, logs: Path | None, model: str) -> Iterator[Path]:
    yield request.folder / "lut"
    named = [
        str(path) for path in (request.lut, logs, model, request.sensitivity, request.throughput) if path is not None
    ]
    yield from (path for path in map(Path, named) if len(path.parts) > 1)


def _logs_beside(table: Path, device: str) -> Path | None:
    """``x/tuning_logs/<device>`` of ``x/lut/<name>.csv``, where it is."""
    logs = table.resolve().parent.parent / "tuning_logs" / folder_name(device)
    return logs if table.resolve().parent.name == "lut" and logs.is_dir() else None


def _chosen(request: ReportRequest, rows: Sequence[LutRow], logs: Path | None) -> tuple[str, Network, PriceList]:
    """The network, as it is named, and its prices."""
    if request.model is not None:
        batch = request.batch or _usual_batch(rows)
        network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
        priced = price_list(network, request.precisions, rows, None, None)
        if not _knows_any(network, request.precisions, priced):
            raise InvalidFile(
                f"{_path(request)}: has no latency of any layer of {network.name} at batch {batch}, but "
                f"{_what(rows)}; measure the network (make profile MODEL={request.model} BATCH={batch}), or say which "
                "it is of"
            )
        return request.model, network, priced
    found = []
    for model, batch in _candidates(request, rows, logs):
        network = load_network(model, batch)
        priced = price_list(network, request.precisions, rows, None, None)
        share = _priced_share(network, request.precisions, priced)
        if share >= _MOSTLY:
            return model, network, priced
        found.append((share, model, network, priced))
    share, model, network, priced = max(found, key=lambda candidate: candidate[0])
    if not share:
        raise InvalidFile(
            f"{_path(request)}: has no latency of any layer of {', '.join(BUILTINS)} at batch "
            f"{request.batch or _usual_batch(rows)}, but {_what(rows)}; say which network it is of (report MODEL, "
            "make: MODEL=)"
        )
    return model, network, priced


def _path(request: ReportRequest) -> Path:
    return request.lut or which_lut(request.device, request.folder).path


def _what(rows: Sequence[LutRow]) -> str:
    """What a table is about, for who asked it for something else."""
    counted = len({row.spec.workload for row in rows})
    return f"{counted} other workloads at batch {', '.join(map(str, _batches(rows)))}"


def _candidates(request: ReportRequest, rows: Sequence[LutRow], logs: Path | None) -> Iterator[tuple[str, int]]:
    """Models and batches to try: what was profiled here, the last first; then what is built in, in every batch of the
    table."""
    batches = [request.batch] if request.batch else _batches(rows)
    for path in () if logs is None else kept(logs):
        yield from ((_as_named(path, batch), batch) for batch in batches)
    yield from ((name, batch) for name in BUILTINS for batch in batches)


def _as_named(path: Path, batch: int) -> str:
    """A network that is built in goes by its name: more is known of it than its layers."""
    network = load_network(str(path), batch)
    name = network.name
    return name if name in BUILTINS and BUILTINS[name](batch) == network else str(path)


def _batches(rows: Sequence[LutRow]) -> list[int]:
    """Those of most rows first."""
    counts = Counter(row.spec.workload.batch for row in rows if row.spec.workload.op.has_weights)
    return sorted(counts, key=lambda batch: (-counts[batch], batch)) or [1]


def _usual_batch(rows: Sequence[LutRow]) -> int:
    """The device's default where the table knows it, else that of most of its rows."""
    batches, usual = _batches(rows), default_batch(not is_cpu(rows[0].device))
    return usual if usual in batches else batches[0]


def _knows_any(network: Network, precisions: Sequence[Precision], priced: PriceList) -> bool:
    """Whether there is a latency of anything of the network."""
    return any(unit_time(network, unit, p, priced).span is not None for unit in units(network) for p in precisions)


def _priced_share(network: Network, precisions: Sequence[Precision], priced: PriceList) -> float:
    """Of the layers with weights, that with the fewest prices in any of the precisions."""
    weighted = [unit for unit in units(network) if unit.layer.workload.op.has_weights]
    shares = []
    for precision in precisions:
        known = sum(unit_time(network, unit, precision, priced).span is not None for unit in weighted)
        shares.append(known / len(weighted) if weighted else 0.0)
    return max(shares) if min(shares) == 0 else min(shares)
