"""The section on what others published of the same work, with their sources."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from profiler.errors import InvalidFile
from profiler.lut.schema import LutRow, Source
from profiler.lut.store import read
from profiler.report.content.published import BesideLayer, BesideNetwork, Published, layers_of, networks_of
from profiler.report.content.report import NamedTable, Section
from profiler.report_stages.subject import Subject
from profiler.report_stages.unit_time import span_of
from profiler.report_stages.words import sentence
from profiler.workload import DType, KernelSpec, Precision, Workload

_KERNELS = "lut/published/t4_hawqv3.csv"
_NETWORKS = "t4_hawqv3_networks.csv"
_CARD = "Tesla T4"
_SOURCE = (
    "HAWQ-V3 (Yao et al., ICML 2021, arXiv 2011.10680): end-to-end latencies and accuracies of its model zoo and "
    "tables 1 and 2; latencies derived from the published speedups over FP32"
)
_TITLE = "Against what others published"


def published_section(subject: Subject) -> Section:
    """Only where the workload is the same: the same shape, batch and widths."""
    rows, missing = _published_rows(subject)
    layers = tuple(_layers(subject, rows))
    networks = tuple(_networks(subject))
    notes = [missing] if missing else []
    if not layers and not networks:
        batch = subject.network.batch
        notes.append(
            f"Nothing that was published is of this work ({subject.network.name}, batch {batch}): known are HAWQ-V3's "
            "ResNet18 and ResNet50 at batch 8 on a T4."
        )
        return Section("published", _TITLE, "", None, notes=tuple(notes))
    sources = tuple(dict.fromkeys([*(row.citation for row in rows), *([_SOURCE] if networks else [])]))
    published = Published(subject.origin.device_name, _CARD, layers, networks, sources)
    tables = []
    if networks:
        tables.append(NamedTable("published", "End to end", networks_of(published)))
    if layers:
        name = "published-layers" if networks else "published"
        tables.append(NamedTable(name, "Layer by layer", layers_of(published), shown=False))
    lead = _lead(published)
    return Section(
        name="published",
        title=_TITLE,
        lead=lead,
        figure=published,
        alt=f"Published latencies on a {_CARD} beside those of this table. {lead}",
        tables=tuple(tables),
        notes=(*notes, *_notes(subject, published)),
    )


def _published_rows(subject: Subject) -> tuple[tuple[LutRow, ...], str]:
    """Of others: none where the report is about these very rows; and why there is none, where that has to be told."""
    if any(row.source is Source.PUBLISHED for row in subject.rows):
        return (), ""
    path = Path(__file__).parents[2] / _KERNELS  # whatever folder the command is run in
    if not path.exists():
        return (), f"The published kernels ({_KERNELS}) are not here: the program runs outside of the project's folder."
    try:
        return read(path), ""
    except InvalidFile as error:
        return (), f"The published kernels are damaged: {str(error).replace(str(path), _KERNELS)}."


def _layers(subject: Subject, rows: tuple[LutRow, ...]) -> Iterator[BesideLayer]:
    theirs: dict[tuple[Workload, DType | None], float] = {}
    for row in rows:
        key = (row.spec.workload, row.spec.weight_dtype)
        theirs[key] = min(row.latency_median_s, theirs.get(key, row.latency_median_s))
    for unit in subject.units:
        for precision in subject.precisions:
            time = subject.time(unit, precision)
            their_s = theirs.get((unit.layer.workload, precision.weight_dtype))
            if their_s is None or time.way is None:
                continue
            spec: KernelSpec = time.way.kernels[0].spec
            ours = span_of(subject.priced.prices[spec])
            yield BesideLayer(unit.layer.name, precision.name.upper(), ours, their_s, bare=subject.priced.kernel_only)


def _networks(subject: Subject) -> Iterator[BesideNetwork]:
    text = resources.files(__package__).joinpath("published", _NETWORKS).read_text(encoding="utf-8")
    uniform = {f"uniform{precision.weight_bits}": precision for precision in subject.precisions}
    for line in csv.DictReader(io.StringIO(text)):
        if line["network"] != subject.network.name or int(line["batch"]) != subject.network.batch:
            continue
        priced, sum_s = _sum(subject, uniform.get(line["configuration"]))
        yield BesideNetwork(
            configuration=line["configuration"],
            batch=int(line["batch"]),
            theirs_s=float(line["end_to_end_latency_s"]),
            top1_percent=float(line["top1_percent"]) if line["top1_percent"] else None,
            sum_s=sum_s,
            priced=priced,
            lines=len(subject.units),
        )


def _sum(subject: Subject, precision: Precision | None) -> tuple[int, float | None]:
    """How many layers have a price, and what these take: in the precision, but for the first and the last layer, which
    HAWQ-V3 keeps in 8 bits."""
    if precision is None:
        return 0, None
    weighted = [unit for unit in subject.units if unit.layer.workload.op.has_weights]
    kept = weighted[:1] + weighted[-1:]
    widest = max(subject.precisions, key=lambda precision: precision.weight_bits)
    times = (subject.time(unit, widest if unit in kept else precision) for unit in subject.units)
    spans = [time.span for time in times if time.span is not None]
    return len(spans), sum(span.latency_s for span in spans) or None


def _lead(published: Published) -> str:
    parts = []
    if published.layers:
        parts.append(f"{len(published.layers)} kernels of the same workloads were published")
    both = [_share(network) for network in published.networks if network.sum_s]
    if both:
        shares = ", ".join(both)
        parts.append(f"the kernels of this table add up to so much of the published end-to-end latency: {shares}")
    elif published.networks:
        parts.append(f"{len(published.networks)} end-to-end latencies of this network were published")
    return sentence("; ".join(parts))


def _share(network: BesideNetwork) -> str:
    assert network.sum_s is not None
    part = f" (with {network.priced} of {network.lines} layers)" if network.priced < network.lines else ""
    return f"{network.configuration} {network.sum_s / network.theirs_s:.0%}{part}"


def _notes(subject: Subject, published: Published) -> Iterator[str]:
    for source in published.sources:
        yield f"Source: {source}."
    if any(not layer.bare for layer in published.layers):
        yield (
            "Published kernels are bare convolutions with hot caches and int32 outputs; those of this table are fused "
            "layers: an order of magnitude, not a race."
        )
    if subject.origin.device != "t4" and published.layers:
        yield f"The published figures are of a {_CARD}, those of this table of {subject.origin.device_name}."
    if any(network.sum_s for network in published.networks):
        yield "As in HAWQ-V3 the first and the last layer are in INT8, also in the sum beside uniform4."
        yield (
            "A sum of kernels leaves out what lies between them (launch gaps, padding, additions where they have no "
            "row); the published latency has it all."
        )
