"""The stage: `pipeline.profile` on the cards of a fleet.

network -> workloads -> each tuned on some card, journaled here -> a LUT for each card -> one table
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler import __version__, profiled_networks
from profiler.campaign import no_energies as no_energies_text
from profiler.doubts import doubts, energy_doubts, why_none
from profiler.errors import ProfilerError
from profiler.fleet.events import FleetProgress
from profiler.fleet.lane import Lane
from profiler.fleet.ledger import Job, jobs_of
from profiler.fleet.link import Link
from profiler.fleet.request import FleetRequest
from profiler.fleet.result import CardResult, FleetResult, GivenUp
from profiler.fleet.run import FleetRun
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.build import build as build_rows
from profiler.lut.build import failed_configs
from profiler.lut.demand import demand
from profiler.lut.schema import LutRow
from profiler.lut.store import Config
from profiler.lut.table import network_table
from profiler.measure import Run, new_run_id
from profiler.output_folder import require_writable
from profiler.pipeline import Plan, energy_count, joules_of
from profiler.pipeline_result import ProfileResult
from profiler.predictor import model_file
from profiler.record import EnergyMeasurement, Fingerprint, Measurement
from profiler.targets import default_batch
from profiler.tuning.tuner import SpecResult
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class _Instrument:
    """A fingerprint, the lanes that have it, the network's rows of it, configs that have failed, and the kernels that
    this run has measured. ``energies`` of the best configs are known, those of ``metered`` kernels by this run."""

    fingerprint: Fingerprint
    lanes: tuple[Lane, ...]
    rows: tuple[LutRow, ...]
    failed: frozenset[Config]
    measured: frozenset[KernelSpec]
    energies: Mapping[KernelSpec, EnergyMeasurement]
    metered: frozenset[KernelSpec]


def profile(request: FleetRequest, progress: FleetProgress | None = None) -> FleetResult:
    """Tune, verify and time every kernel that the network can need, each on one of the fleet's cards; write their LUTs.

    Nothing is measured here. What earlier runs have measured on cards that take part is not measured again. Raises
    `ProfilerError` for whatever the user can mend; what was measured until then is in the journals.
    """
    begin = time.monotonic()
    progress = progress or FleetProgress()
    if request.predictor is not None:
        model_file.read(request.predictor)  # a damaged one is told ahead of the fleet
    luts, logs = request.out / "lut", request.out / "tuning_logs" / request.device
    batch = request.batch or default_batch(request.on_gpus)
    network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
    demands = demand(network, request.precisions, mixed=request.mixed)
    specs = [d.spec for d in demands]
    run_id = new_run_id()
    with Link(request.access, request.limits.connect_s) as link:
        for folder in (luts, logs):
            require_writable(folder)
        profiled_networks.keep(logs, network)
        progress.planned(Plan(network, demands, f"the fleet of {request.access.address} ({request.device})", ""))
        fleet = FleetRun(request, link, Run(run_id, __version__, ""), progress)
        jobs = jobs_of(specs)
        fleet.measure(jobs)
    instruments = _instruments(fleet, jobs, run_id)
    if not instruments[0].rows:
        raise ProfilerError(f"no kernel of {network.name} could be measured: {_why_none(fleet, instruments[0])}")
    sources = latency_sources(jobs, [i.rows for i in instruments])
    paths = [store.save(luts, request.device, i.fingerprint, i.rows, i.failed) if i.rows else None for i in instruments]
    cards = tuple(
        CardResult(
            fingerprint=instrument.fingerprint.short,
            device_name=instrument.fingerprint.device_name,
            places=tuple(dict.fromkeys(lane.place.text for lane in instrument.lanes)),
            kernels=len(instrument.rows),
            used=sum(row.fingerprint == instrument.fingerprint.short for row in sources.values()),
            lut_path=path,
        )
        for instrument, path in zip(instruments, paths, strict=True)
    )
    given_up = tuple(
        GivenUp(job.workload.text, len(job.specs), fleet.ledger.losses(job)) for job in fleet.ledger.given_up
    )
    first = instruments[0]
    results = tuple(fleet.results.values())
    assert paths[0] is not None
    energies = _energies(instruments, sources)
    table = network_table(
        network, request.precisions, {spec: row.latency_median_s for spec, row in sources.items()}, joules_of(energies)
    )
    no_energies = fleet.no_energies()
    return FleetResult(
        profile=ProfileResult(
            device=request.device,
            device_name=first.fingerprint.device_name,
            fingerprint=first.fingerprint.short,
            conditions=request.conditions,
            table=table,
            kernels=len(specs),
            measured=len({spec for instrument in instruments for spec in instrument.measured}),
            failures=sum(len(result.failures) for result in results),
            elapsed_s=time.monotonic() - begin,
            lut_path=paths[0],
            logs=logs,
            warnings=(
                *fleet.clocks,
                *_several(cards),
                *doubts(results, first.lanes[0].target),
                *(lost.text for lost in given_up),
                *map(no_energies_text, no_energies),
                *(energy_doubts(list(energies.values())) if request.energy else ()),
            ),
            energies=energy_count(
                energies,
                measured=len({spec for instrument in instruments for spec in instrument.metered}),
                why_none="; ".join(no_energies),
            ),
        ),
        scheduler=request.access.address,
        cards=cards,
        spreads=fleet.spreads(),
        lost=fleet.losses,
        given_up=given_up,
        refused=tuple(fleet.refused),
    )


def latency_sources(jobs: Sequence[Job], tables: Sequence[Sequence[LutRow]]) -> Mapping[KernelSpec, LutRow]:
    """The row that a kernel's latency is taken from, of tables of one instrument each.

    The kernels of a workload are taken from the table that has most of them (the first one of those), since what is
    compared shall be of one card; what it lacks is taken from another one. Rows of other conditions are not to be
    among them.
    """
    by_table: list[dict[KernelSpec, LutRow]] = [{row.spec: row for row in rows} for rows in tables]
    chosen: dict[KernelSpec, LutRow] = {}
    for job in jobs:
        order = sorted(by_table, key=lambda rows: -sum(spec in rows for spec in job.specs))
        for spec in job.specs:
            row = next((rows[spec] for rows in order if spec in rows), None)
            if row is not None:
                chosen[spec] = row
    return chosen


def _instruments(fleet: FleetRun, jobs: Sequence[Job], run_id: str) -> list[_Instrument]:
    """Those that took part, the one with most rows first."""
    lanes: dict[Fingerprint, list[Lane]] = {}
    for lane in fleet.lanes.values():
        lanes.setdefault(lane.fingerprint, []).append(lane)
    found = []
    wanted = {spec for job in jobs for spec in job.specs}
    for fingerprint, holders in lanes.items():
        database = holders[0].tuner.database
        records = tuple(record for job in jobs for record in database.records(job.workload))
        rows = tuple(row for row in build_rows(records, fingerprint) if row.spec in wanted)
        own = [record for record in records if record.run_id == run_id]
        known = {spec: tried.energy for job in jobs for spec, tried in database.tried(job.workload).items()}
        found.append(
            _Instrument(
                fingerprint,
                tuple(holders),
                rows,
                failed_configs(records, fingerprint),
                measured=frozenset(record.spec for record in own if isinstance(record, Measurement)),
                energies={spec: energy for spec, energy in known.items() if energy is not None and spec in wanted},
                metered=frozenset(record.spec for record in own if isinstance(record, EnergyMeasurement)),
            )
        )
    return sorted(found, key=lambda found: (-len(found.rows), found.fingerprint.short))


def _energies(
    instruments: Sequence[_Instrument], sources: Mapping[KernelSpec, LutRow]
) -> dict[KernelSpec, EnergyMeasurement]:
    """Of the kernels, on the card that the latency is taken from."""
    known = {instrument.fingerprint.short: instrument.energies for instrument in instruments}
    found = {spec: known[row.fingerprint].get(spec) for spec, row in sources.items()}
    return {spec: energy for spec, energy in found.items() if energy is not None}


def _several(cards: Sequence[CardResult]) -> tuple[str, ...]:
    used = [card for card in cards if card.used]
    if len(used) < 2:
        return ()
    files = ", ".join(f"{card.lut_path} ({card.used})" for card in used)
    return (
        f"the latencies are of {len(used)} cards, each workload's of one of them; every card has its own LUT: {files}",
    )


def _why_none(fleet: FleetRun, instrument: _Instrument) -> str:
    results: list[SpecResult] = list(fleet.results.values())
    if results:
        return why_none(results[0], instrument.lanes[0].target)
    job = fleet.ledger.given_up[0]
    return fleet.ledger.losses(job)[-1].reason
