"""Tables, networks and journals of devices that do not exist, as files in a folder. For tests alone, never measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from profiler.frontend import network_file
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.lut.schema import LutRow, Source
from profiler.record import (
    FINAL_STAGE,
    Circumstances,
    Conditions,
    Failure,
    FailureKind,
    Fingerprint,
    Journal,
    Measurement,
    Record,
)
from profiler.report_stages.report import ReportRequest
from profiler.report_stages.subject import Subject, subject_of
from profiler.sensitivity.files import write_sensitivity
from profiler.sensitivity.table import LayerSensitivity, Sensitivity
from profiler.workload import INT4, INT8, KernelSpec, Layer, Network, Op, Tensor, Workload
from tests.tuning.simulation import hash_share

ROOT = Path(__file__).parents[3]
HOST = ROOT / "lut/recorded/cpu-8cfd341f.csv"
SHAPES = ROOT / "lut/recorded/cpu-8cfd341f-shapes.csv"
T4 = ROOT / "lut/published/t4_hawqv3.csv"

DEVICE = Fingerprint("cpu", "Invented CPU", "avx512_vnni", "0", "", "invented")
CARD = Fingerprint("t4", "Tesla T4", "sm_75", "0", "1", "invented")
CONDITIONS = Conditions()
QUIET = Circumstances()

Price = Callable[[KernelSpec], float | None]


@dataclass(frozen=True)
class Place:
    """A folder as runs leave it: lut/, tuning_logs/, a network as a file."""

    folder: Path
    model: Path
    network: Network
    table: Path

    def request(self, **changes: Any) -> ReportRequest:
        asked = ReportRequest(lut=self.table, folder=self.folder, model=str(self.model), batch=self.network.batch)
        return replace(asked, **changes)

    def subject(self, **changes: Any) -> Subject:
        return subject_of(self.request(**changes))


def chain(names: Iterable[str] = ("one", "two", "three"), channels: int = 32, name: str = "chain") -> Network:
    """Convolutions of 8x8 pixels one after the other, and a dense layer."""
    tensors, layers = [Tensor("image", 8, 8, channels, signed=True)], []
    for index, layer in enumerate(names):
        work = Workload(Op.CONV2D, 1, 8, 8, channels, channels, 3, 3, 1, 1, 1, 1, 1, 1)
        tensors.append(Tensor(f"tensor{index}", 8, 8, channels, signed=False))
        layers.append(Layer(layer, work, (tensors[-2].name,), tensors[-1].name, relu=True))
    mean = Workload(Op.AVG_POOL, 1, 8, 8, channels, channels, 8, 8)
    tensors += [Tensor("mean", 1, 1, channels, signed=False), Tensor("logits", 1, 1, 10, signed=True)]
    layers.append(Layer("pooling", mean, (tensors[-3].name,), "mean"))
    layers.append(Layer("classifier", Workload(Op.DENSE, 1, 1, 1, channels, 10), ("mean",), "logits"))
    return Network(name, 1, tuple(tensors), tuple(layers))


def invented_s(spec: KernelSpec) -> float:
    """4 bits take 0.8 times as long as 8; the rest depends on the kernel and only looks random."""
    bits = (spec.weight_dtype or spec.input_dtype).bits
    return 1e-5 * (1 + hash_share(spec.key)) * (0.8 if bits == 4 else 1)


def row(spec: KernelSpec, latency_s: float, instrument: Fingerprint = DEVICE, **changes: Any) -> LutRow:
    """A quiet measurement: an interval of 1% to either side, one clock."""
    made = LutRow(
        spec=spec,
        conditions=CONDITIONS,
        source=Source.MEASURED,
        fingerprint=instrument.short,
        device=instrument.device,
        device_name=instrument.device_name,
        arch=instrument.arch,
        latency_median_s=latency_s,
        measured_at=1.75e9,
        tool_version="0",
        latency_q1_s=0.99 * latency_s,
        latency_q3_s=1.01 * latency_s,
        latency_ci95_low_s=0.99 * latency_s,
        latency_ci95_high_s=1.01 * latency_s,
        samples=30,
        sm_clock_mhz_low=3000.0,
        sm_clock_mhz_high=3000.0,
        config="invented",
        artifact_sha256=sha256(spec.key.encode()).hexdigest(),
        run_id="run",
    )
    return replace(made, **changes)


def without_measurement(one: LutRow, source: Source) -> LutRow:
    """The same latency as published or predicted; a prediction keeps its interval."""
    ends: Mapping[str, float | None] = {}
    if source is Source.PUBLISHED:
        ends = {"latency_ci95_low_s": None, "latency_ci95_high_s": None}
    return replace(
        one,
        source=source,
        citation="nobody" if source is Source.PUBLISHED else "",
        samples=0,
        latency_q1_s=None,
        latency_q3_s=None,
        sm_clock_mhz_low=None,
        sm_clock_mhz_high=None,
        artifact_sha256="",
        run_id="",
        **ends,
    )


def rows_of_network(network: Network, price: Price = invented_s, instrument: Fingerprint = DEVICE) -> list[LutRow]:
    """Of every kernel that the network can need in 8 and 4 bits and that has a price."""
    wanted = (found.spec for found in demand(network, (INT8, INT4), mixed=True))
    priced = ((spec, price(spec)) for spec in wanted)
    return [row(spec, latency_s, instrument) for spec, latency_s in priced if latency_s is not None]


def place(folder: Path, network: Network | None = None, rows: Iterable[LutRow] | None = None) -> Place:
    """Its table holds the rows; by default all of the network."""
    network = chain() if network is None else network
    rows = tuple(rows_of_network(network) if rows is None else rows)
    table = folder / "lut" / f"{rows[0].device}.csv"
    store.write(table, rows)
    model = folder / "model.json"
    network_file.save(network, model)
    return Place(folder, model, network, table)


def sensitivities(there: Place) -> str:
    """A file of costs that only look random."""
    path = there.folder / "costs.csv"
    layers = tuple(
        LayerSensitivity(layer.name, {"int8": 0.01, "int4": 1 + 9 * hash_share("cost", layer.name)})
        for layer in there.network.weighted_layers
    )
    write_sensitivity(Sensitivity("invented", layers), path)
    return str(path)


def measurement(
    spec: KernelSpec,
    config: str,
    latency_s: float | tuple[float, ...],
    stage: str = FINAL_STAGE,
    run_id: str = "run",
    at: float = 1.75e9,
    instrument: Fingerprint = DEVICE,
    circumstances: Circumstances = QUIET,
) -> Measurement:
    """Of the artifact that the `row` of the kernel names."""
    return Measurement(
        spec=spec,
        config=config,
        conditions=CONDITIONS,
        fingerprint=instrument.digest,
        artifact_sha256=sha256(spec.key.encode()).hexdigest(),
        samples_s=latency_s if isinstance(latency_s, tuple) else (latency_s,) * 8,
        launches_per_sample=1,
        discarded=0,
        stage=stage,
        run_id=run_id,
        measured_at=at,
        tool_version="0",
        circumstances=circumstances,
    )


def failure(spec: KernelSpec, config: str, kind: FailureKind, run_id: str = "run") -> Failure:
    return Failure(spec, config, CONDITIONS, DEVICE.digest, kind, "it did not work", run_id, 1.75e9, "0")


def journal(folder: Path, records: Iterable[Record], instrument: Fingerprint = DEVICE, name: str = "w") -> Path:
    """A journal where a run would have left it."""
    path = folder / "tuning_logs" / instrument.device / f"{name}.jsonl"
    Journal(path).append((instrument, *records))
    return path
