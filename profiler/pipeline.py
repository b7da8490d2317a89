"""The stages as functions of files. The Makefile and the command line call these, and so can a notebook.

model -> network -> kernels that it can need -> tuned and measured, journaled -> lut/<device>.csv -> table
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from profiler import profiled_networks
from profiler.campaign import MeasureRequest, Progress, choose_device, opened
from profiler.devices.discover import Vendor
from profiler.doubts import why_none
from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.lut.demand import Demand, demand
from profiler.lut.table import Joules, network_table, prices
from profiler.pipeline_result import EnergyCount, ProfileResult
from profiler.record import EnergyMeasurement
from profiler.targets import default_batch
from profiler.workload import INT4, INT8, KernelSpec, Network, Precision

__all__ = ["Plan", "ProfileRequest", "Progress", "energy_count", "joules_of", "profile"]


@dataclass(frozen=True, kw_only=True)
class ProfileRequest(MeasureRequest):
    """What a user asks of `profile`, beside how to measure. ``batch`` None is the default of the device."""

    model: str = "resnet18"
    batch: int | None = None
    precisions: tuple[Precision, ...] = (INT8, INT4)
    mixed: bool = True
    skip_unsupported: bool = False


@dataclass(frozen=True)
class Plan:
    """A `campaign.Plan`: the network's kernels on the device."""

    network: Network
    demands: tuple[Demand, ...]
    device_name: str
    note: str

    @property
    def kernels(self) -> int:
        return len(self.demands)

    @property
    def headline(self) -> str:
        network = self.network
        return (
            f"{network.name}, batch {network.batch}: {len(network.layers)} layers, {self.kernels} distinct kernels, "
            f"on {self.device_name}"
        )


def profile(request: ProfileRequest, progress: Progress | None = None, vendor: Vendor | None = None) -> ProfileResult:
    """Tune, verify and time every kernel that the network can need, and write the LUT of the device.

    What an earlier run measured on the same instrument under the same conditions is not measured again. Raises
    `ProfilerError` for whatever the user can mend; what was measured until then is in the journals.
    """
    begin = time.monotonic()
    progress = progress or Progress()
    choice = choose_device(request, vendor)
    batch = request.batch or default_batch(choice.device.is_gpu)
    network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
    demands = demand(network, request.precisions, mixed=request.mixed)
    with opened(request, choice, progress.tuning, vendor) as campaign:
        profiled_networks.keep(campaign.database.folder, network)
        progress.planned(Plan(network, demands, choice.device.name, "; ".join(campaign.notes)))
        done = campaign.measure([d.spec for d in demands])
    if done.lut_path is None:
        reason = why_none(done.results[0], campaign.target)
        raise ProfilerError(f"no kernel of {network.name} could be measured: {reason}")
    latencies_s = prices(done.rows, request.conditions)
    table = network_table(network, request.precisions, latencies_s, joules_of(done.energies))
    return ProfileResult(
        device=choice.device.slug,
        device_name=campaign.fingerprint.device_name,
        fingerprint=campaign.fingerprint.short,
        conditions=request.conditions,
        table=table,
        kernels=len(done.results),
        measured=len(done.measured),
        failures=sum(len(result.failures) for result in done.results),
        elapsed_s=time.monotonic() - begin,
        lut_path=done.lut_path,
        logs=campaign.database.folder,
        warnings=campaign.warnings([done], done.lut_path),
        energies=energy_count(done.energies, len(done.metered), done.no_energy),
    )


def joules_of(energies: Mapping[KernelSpec, EnergyMeasurement]) -> dict[KernelSpec, Joules]:
    """Of a launch of each kernel."""
    return {spec: Joules(found.energy.j_per_run, found.energy.above_idle_j_per_run) for spec, found in energies.items()}


def energy_count(energies: Mapping[KernelSpec, EnergyMeasurement], measured: int, why_none: str) -> EnergyCount:
    """``measured`` of them were by this run."""
    counters = sorted({found.energy.counter for found in energies.values()})
    idle_w = [found.energy.idle_w for found in energies.values() if found.energy.idle_w is not None]
    ends = (min(idle_w), max(idle_w)) if idle_w else None
    return EnergyCount(len(energies), measured, tuple(counters), why_none, ends)
