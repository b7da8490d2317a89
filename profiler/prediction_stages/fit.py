"""From a LUT to a model of its device: fitted to all rows, and validated on rows that it was not fitted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidFile, OutputError
from profiler.frontend import load_network
from profiler.lut.schema import LutRow, Source
from profiler.lut.store import read
from profiler.output_folder import require_writable, write_whole
from profiler.prediction_stages import NETWORKS
from profiler.prediction_stages.logs import config_latencies, records_of, replicates
from profiler.predictor import latency_model, model_file
from profiler.predictor.device_facts import ObservedPeaks, facts_of, observed_peaks
from profiler.predictor.latency_model import LatencyModel
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import Observation, observations, usual_conditions
from profiler.predictor.validation.baselines import Learner
from profiler.predictor.validation.report import ValidationReport
from profiler.predictor.validation.report_json import to_json
from profiler.predictor.validation.report_text import is_markdown, to_markdown
from profiler.predictor.validation.splits import HeldNetwork, held_network, known_precisions
from profiler.predictor.validation.validate import validate
from profiler.record import CacheMode

OWN_NAME = "this model"


@dataclass(frozen=True)
class FitRequest:
    """What a user asks of `fit`. ``threads`` and ``cache_mode`` choose among the conditions of the rows; None takes
    those of most rows. ``report`` gets the validation as Markdown."""

    lut: Path
    model: Path
    logs: Path | None = None
    networks: tuple[str, ...] = NETWORKS
    threads: int | None = None
    cache_mode: CacheMode | None = None
    seed: int = 0
    report: Path | None = None


@dataclass(frozen=True)
class FitResult:
    """A model that was saved. ``other_conditions`` counts the rows that were left out, ``configs`` the latencies of
    schedule configs that came from logs."""

    model: Path
    regressor: str
    report: ValidationReport
    other_conditions: int
    configs: int
    notes: tuple[str, ...]


def fit(request: FitRequest) -> FitResult:
    """Fit, validate, save. Raises `ProfilerError` for whatever the user can mend."""
    rows = read(request.lut)
    chosen = _chosen(rows, request)
    if rows and not chosen:
        raise InvalidFile(f"{request.lut}: no row is of the threads and cache mode that --threads and --cache ask for")
    try:
        conditions = usual_conditions(chosen)
    except InvalidFile as error:
        raise InvalidFile(f"{request.lut}: {error}") from None
    learned = [row for row in rows if row.conditions == conditions and row.source is not Source.PREDICTED]
    observed = observations(learned, conditions)
    origin = Origin.of(learned[0])
    _require_outputs(request)  # ahead of the work
    records = records_of(request.logs, origin) if request.logs else ()
    configs = config_latencies(records)
    networks = [_held(name, observed) for name in request.networks]
    facts = facts_of(learned)

    def learn(part: Sequence[Observation]) -> LatencyModel:
        # Peaks that were read off the rows would tell of those that are held out.
        seen = observed_peaks([(o.spec, o.latency_s) for o in part]) if isinstance(facts, ObservedPeaks) else facts
        return latency_model.fit(part, origin, seen, seed=request.seed)

    model = latency_model.fit(observed, origin, facts, configs, request.seed)
    report = validate(
        observed, origin, networks, Learner(OWN_NAME, learn, intervals=True), replicates(records), request.seed
    )
    model_file.save(request.model, model, to_json(report))
    if request.report is not None:
        write_whole(request.report, to_markdown(report).encode())
    without = request.logs is not None and not records
    return FitResult(
        model=request.model,
        regressor=model.state.regressor,
        report=report,
        other_conditions=sum(row.source is not Source.PREDICTED for row in rows) - len(learned),
        configs=len(configs),
        notes=(f"{request.logs}: no record of this instrument under these conditions",) if without else (),
    )


def _require_outputs(request: FitRequest) -> None:
    """Raises `OutputError` where a file would be lost, or cannot be written."""
    outputs = [(request.model, model_file.is_model, "a latency model")]
    if request.report is not None:
        outputs.append((request.report, is_markdown, "a validation report"))
    taken = [request.lut.resolve()]
    for path, is_own, what in outputs:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file")
        if path.resolve() in taken or (path.exists() and not is_own(path)):
            raise OutputError(f"{path}: is there and is not {what}, which would replace it; name another file")
        taken.append(path.resolve())
        require_writable(path.parent)


def _chosen(rows: Sequence[LutRow], request: FitRequest) -> list[LutRow]:
    return [
        row
        for row in rows
        if request.threads in (None, row.conditions.threads) and request.cache_mode in (None, row.conditions.cache_mode)
    ]


def _held(name: str, observed: Sequence[Observation]) -> HeldNetwork:
    """At the batch of most of its rows."""
    precisions = known_precisions(observed)
    network = held_network(load_network(name, 1), precisions)
    batches = Counter(o.spec.workload.batch for o in observed if o.group in network.weighted)
    batch = min(batches, key=lambda b: (-batches[b], b), default=1)
    return network if batch == 1 else held_network(load_network(name, batch), precisions)
