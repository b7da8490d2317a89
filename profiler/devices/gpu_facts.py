"""What a GPU is and how it is set, as NVML tells it: what stays as it is while one measures."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.devices.nvml import Reader, pci_bus_id

_GRAPHICS, _SM, _MEMORY = 0, 1, 2  # kinds of clock
_COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}


@dataclass(frozen=True)
class GpuFacts:
    """None, or an empty text, is what NVML refused; `unreadable` says why, one short text each.

    driver : ``535.129.03``. cuda_version : the newest CUDA that the driver runs, (12, 2). power_limit_w : what holds
    now, enforced. compute_mode : ``default``, ``exclusive process`` or ``prohibited``. mig : whether the card is
    partitioned. base_sm_clock_mhz : the default application clock; None for a card without one.
    """

    name: str
    uuid: str
    pci_bus_id: str = ""
    driver: str = ""
    cuda_version: tuple[int, int] | None = None
    vbios: str = ""
    power_limit_w: float | None = None
    default_power_limit_w: float | None = None
    ecc: bool | None = None
    persistence: bool | None = None
    compute_mode: str = ""
    mig: bool = False
    base_sm_clock_mhz: float | None = None
    max_sm_clock_mhz: float | None = None
    max_memory_clock_mhz: float | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """For a record: the exact software of the card, and what about its settings should raise doubt."""
        found = [f"driver {self.driver or 'unknown'}, VBIOS {self.vbios or 'unknown'}"]
        limit_w, usual_w = self.power_limit_w, self.default_power_limit_w
        if limit_w is not None and usual_w is not None and limit_w < usual_w:
            found.append(f"the power limit is {limit_w:g} W, below the card's default of {usual_w:g} W")
        if self.persistence is False:
            found.append("persistence mode is off")
        return (*found, *(f"not readable: {text}" for text in self.unreadable))


def read_facts(read: Reader) -> GpuFacts:
    """Ask NVML for all of it. Raises `DeviceError` if the GPU is lost."""
    pci = read.card("PCI bus id", "nvmlDeviceGetPciInfo")
    cuda = read.system("CUDA version", "nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
    limit_mw = read.card("power limit", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit")
    usual_mw = read.card("default power limit", "nvmlDeviceGetPowerManagementDefaultLimit")
    ecc = read.card("ECC", "nvmlDeviceGetEccMode")
    persistence = read.card("persistence mode", "nvmlDeviceGetPersistenceMode")
    mode = read.card("compute mode", "nvmlDeviceGetComputeMode")
    mig = read.optional("nvmlDeviceGetMigMode", read.handle)  # most cards cannot, and say so
    return GpuFacts(
        name=read.card("name", "nvmlDeviceGetName") or "",
        uuid=read.card("UUID", "nvmlDeviceGetUUID") or "",
        pci_bus_id=pci_bus_id(pci) if pci is not None else "",
        driver=read.system("driver version", "nvmlSystemGetDriverVersion") or "",
        cuda_version=(cuda // 1000, cuda % 1000 // 10) if cuda is not None else None,
        vbios=read.card("VBIOS version", "nvmlDeviceGetVbiosVersion") or "",
        power_limit_w=limit_mw / 1000 if limit_mw is not None else None,
        default_power_limit_w=usual_mw / 1000 if usual_mw is not None else None,
        ecc=bool(ecc[0]) if ecc is not None else None,
        persistence=bool(persistence) if persistence is not None else None,
        compute_mode=_COMPUTE_MODES.get(mode, f"mode {mode}") if mode is not None else "",
        mig=mig is not None and bool(mig[0]),
        base_sm_clock_mhz=read.optional("nvmlDeviceGetDefaultApplicationsClock", read.handle, _GRAPHICS),
        max_sm_clock_mhz=read.card("highest SM clock", "nvmlDeviceGetMaxClockInfo", arguments=(_SM,)),
        max_memory_clock_mhz=read.card("highest memory clock", "nvmlDeviceGetMaxClockInfo", arguments=(_MEMORY,)),
        unreadable=read.unreadable,
    )
