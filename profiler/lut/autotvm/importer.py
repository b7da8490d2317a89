"""Rows of an AutoTVM log, and what was passed over and why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from profiler.errors import DeviceError, InvalidFile
from profiler.hardware import GPUS, GpuSpec
from profiler.lut.autotvm.log import LogRecord, NotUsable, lines, parse
from profiler.lut.autotvm.tasks import kernel_of
from profiler.lut.schema import COLUMNS, LutRow, RowError, Source
from profiler.record import CacheMode, Conditions, Fingerprint, escaped
from profiler.workload import KernelSpec

LONGEST_S = 3600.0
"""No kernel takes longer; what says so is no measurement."""


@dataclass(frozen=True)
class PassedOver:
    """Records that gave no row, for one reason; ``first_line`` is the number of the first in the file."""

    reason: str
    records: int
    first_line: int


@dataclass(frozen=True)
class Imported:
    """What a log gave. Each of its ``records`` gave a row, was slower than the one that did, or was passed over."""

    rows: tuple[LutRow, ...]
    fingerprint: Fingerprint
    records: int
    slower: int
    passed_over: tuple[PassedOver, ...]


def import_autotvm(log: Path, device: str, citation: str, padded_inputs: bool = False) -> Imported:
    """The rows of a log that was tuned on that GPU (by name, as in `GPUS`), ``source=published``.

    A workload has one row, of its fastest record: what tuning found. Two rows of a table may so come from two
    configurations and two days; the row says which. ``citation`` says who measured and where that is published.
    ``padded_inputs`` as in `kernel_of`.

    Raises `DeviceError` for an unknown GPU, and `InvalidFile`, naming the line, for a line that is no record, for
    records of two versions of TVM (two instruments), and for a log that gives no row.
    """
    gpu = _gpu(device)
    if not citation.strip() or not citation.isprintable():
        raise InvalidFile(f"{log}: nobody is cited; say on one line who measured it and where it is published")
    best: dict[KernelSpec, LutRow] = {}
    passed: dict[str, PassedOver] = {}
    fingerprint: Fingerprint | None = None
    first_line = records = usable = 0
    for number, text in lines(log):
        origin = f"{log}, line {number}"
        records += 1
        try:
            record = parse(text, origin)
            spec = _spec(record, gpu, padded_inputs)
        except NotUsable as why:
            reason = escaped(str(why))
            before = passed.get(reason, PassedOver(reason, 0, number))
            passed[reason] = PassedOver(reason, before.records + 1, before.first_line)
            continue
        usable += 1
        instrument = _fingerprint(gpu, citation, record.tvm_version)
        if fingerprint is None:
            fingerprint, first_line = instrument, number
        elif instrument != fingerprint:
            raise InvalidFile(
                f"{origin}: of {instrument.compiler}, but line {first_line} is of {fingerprint.compiler}:"
                " two instruments; split the log, a file for each"
            )
        row = _row(spec, record, instrument, citation, gpu, origin)
        best[spec] = min(row, best.get(spec, row), key=lambda r: (r.latency_median_s, r.measured_at, r.config))
    passed_over = tuple(sorted(passed.values(), key=lambda p: (-p.records, p.first_line)))
    if fingerprint is None:
        why_not = "; ".join(f"{p.records} of {p.reason}" for p in passed_over) or "it is empty"
        raise InvalidFile(f"{log}: no record that gives a row ({why_not})")
    rows = tuple(sorted(best.values(), key=lambda r: r.key))
    return Imported(rows, fingerprint, records, usable - len(rows), passed_over)


def own_log(log: Path) -> str:
    """How a log is cited that nobody has published: by its name and the beginning of its digest."""
    try:
        digest = hashlib.sha256(log.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidFile(f"{log}: cannot be read: {error.strerror}") from None
    return f"AutoTVM log {escaped(log.name)}, sha256 {digest[:16]}"


def _gpu(device: str) -> GpuSpec:
    try:
        return GPUS[device.strip().lower()]
    except KeyError:
        raise DeviceError(f"unknown GPU '{escaped(device)}'; known are: {', '.join(GPUS)}") from None


def _spec(record: LogRecord, gpu: GpuSpec, padded_inputs: bool) -> KernelSpec:
    """The kernel of a record that was timed on that GPU."""
    kind, _, options = record.target.partition(" ")
    if kind != "cuda":
        raise NotUsable(f"target {kind}")
    named = dict(option.lstrip("-").partition("=")[::2] for option in options.split())
    for option, own in (("model", gpu.slug), ("arch", gpu.arch)):
        if named.get(option, "unknown") not in ("unknown", own):
            raise NotUsable(f"target of another GPU ({option} {named[option]})")
    spec = kernel_of(record.task, record.args, padded_inputs)
    if not record.costs_s or not all(0 < cost <= LONGEST_S for cost in record.costs_s):
        raise NotUsable("no possible time")
    return spec


def _fingerprint(gpu: GpuSpec, citation: str, tvm_version: str) -> Fingerprint:
    """All that is known of the instrument: the citation stands for the card."""
    return Fingerprint(
        device=gpu.slug,
        device_name=gpu.name,
        arch=gpu.arch,
        uuid=citation,
        driver="",
        compiler=f"tvm {tvm_version}",
    )


def _row(
    spec: KernelSpec, record: LogRecord, instrument: Fingerprint, citation: str, gpu: GpuSpec, origin: str
) -> LutRow:
    try:
        row = LutRow(
            spec=spec,
            conditions=Conditions(cache_mode=CacheMode.HOT),
            source=Source.PUBLISHED,
            fingerprint=instrument.short,
            device=instrument.device,
            device_name=instrument.device_name,
            arch=instrument.arch,
            latency_median_s=median(record.costs_s),
            measured_at=record.timestamp,
            tool_version=instrument.compiler,
            samples=len(record.costs_s),
            native=spec.input_dtype.bits == 8 or gpu.native_int4,
            config=f"{record.task}:{record.config}",
            citation=citation,
        )
        return LutRow.from_cells(dict(zip(COLUMNS, row.cells, strict=True)))  # what is not read again is not written
    except RowError as error:
        raise InvalidFile(f"{origin}: {escaped(str(error))}; delete the line, or fetch the log again") from None
