"""What all configurations of a network share: an open device, the table of its kernels, and a compiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from profiler.allocation_stages.which_lut import LutChoice, which_lut
from profiler.devices.discover import Choice, Vendor, discover, find_device
from profiler.errors import DeviceError, InvalidFile
from profiler.lut.schema import LutRow
from profiler.lut.store import read
from profiler.lut.table import prices
from profiler.network.integer_network import IntegerNetwork
from profiler.network_stages.kernels_of import Builder, Chosen, chosen_configs
from profiler.network_stages.network_device import NetworkDevice, open_network_device
from profiler.record import CacheMode, Conditions
from profiler.targets import Target, default_batch, opened_builds
from profiler.workload import KernelSpec


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """Where a network runs. ``device`` as in `find_device`. The table of the kernels is ``lut``, or that of an own run
    of the device in ``folder``. ``allow_default`` takes the analytic model's config for kernels without a row; there is
    then no sum to compare with. ``cuda`` names a GPU's compiler, None is what its driver accepts."""

    device: str = "auto"
    lut: Path | None = None
    folder: Path = Path()
    cache_mode: CacheMode = CacheMode.NETWORK
    allow_default: bool = False
    cuda: str | None = None

    @property
    def conditions(self) -> Conditions:
        return Conditions(1, self.cache_mode)


@dataclass(frozen=True)
class Site:
    """The device that is meant and its table, before anything is opened. ``table`` is None where none is needed; there
    are no ``rows`` then."""

    choice: Choice
    table: LutChoice | None
    rows: tuple[LutRow, ...]
    conditions: Conditions

    @property
    def batch(self) -> int:
        """Images at once where nobody says how many."""
        return default_batch(self.choice.device.is_gpu)

    @property
    def latencies_s(self) -> Mapping[KernelSpec, float]:
        """Of measured rows under the conditions."""
        return prices(self.rows, self.conditions)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the table and of the device that was chosen."""
        return tuple(filter(None, (self.choice.note, self.table.note if self.table is not None else "")))


@dataclass(frozen=True)
class Bench:
    """The site's device, open, and what compiles its kernels."""

    site: Site
    device: NetworkDevice
    builds: Builder
    allow_default: bool

    @property
    def target(self) -> Target:
        return self.device.target

    @property
    def compiler(self) -> str:
        return self.target.backend.compiler

    @property
    def fingerprint(self) -> str:
        """Of this device with this compiler, as in the rows."""
        return self.device.fingerprint.short

    def chosen(self, network: IntegerNetwork) -> tuple[Chosen, ...]:
        """A config for each kernel. Errors as those of `chosen_configs`."""
        site, instrument, default = self.site, self.device.fingerprint, self.allow_default
        return chosen_configs(network, site.rows, site.conditions, instrument, self.target, allow_default=default)


def find_site(request: BenchRequest, vendor: Vendor | None = None) -> Site:
    """Raises `DeviceError` for a device that is not here, and `InvalidFile` where there is no table, or a damaged
    one."""
    choice = find_device(request.device, discover(vendor))
    if request.cuda is not None and not choice.device.is_gpu:
        raise DeviceError(f"--cuda is for GPUs, and {choice.device.text} is none; leave it out")
    table = _table(request, choice.device.slug)
    return Site(choice, table, () if table is None else read(table.path), request.conditions)


@contextmanager
def opened_bench(request: BenchRequest, site: Site, vendor: Vendor | None = None) -> Iterator[Bench]:
    """For as long as the context lasts. Raises `DeviceError` for a device that cannot be opened."""
    device = open_network_device(site.choice.device, request.cuda, vendor or Vendor())
    with closing(device), opened_builds(device.target, request.folder) as builds:
        yield Bench(site, device, builds, request.allow_default)


def table_of(request: BenchRequest, slug: str) -> LutChoice:
    """The table of the kernels. Raises `InvalidFile` where there is none."""
    return LutChoice(request.lut) if request.lut is not None else which_lut(slug, request.folder)


def _table(request: BenchRequest, slug: str) -> LutChoice | None:
    try:
        return table_of(request, slug)
    except InvalidFile:
        if request.allow_default:
            return None
        raise
