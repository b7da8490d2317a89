"""The energy counters of x86 processors (RAPL: running average power limit), as Linux shows them.

Source: Documentation/power/powercap/powercap.rst of the Linux kernel: a folder for each domain, with its ``name``, its
``energy_uj`` in microjoules, and ``max_energy_range_uj``, behind which that counter begins at 0 again. Since Linux 5.10
only root may read the counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")


class RaplCounter:
    """Packages and, where they are counted apart, their memory: a `protocol.EnergyCounter`.

    A counter that ran over once between two readings is taken to have done so once; it does so after minutes.
    """

    def __init__(self, powercap: Path = _POWERCAP) -> None:
        self._domains = [_Domain(folder) for folder in _counted(powercap)]
        self.refusals: Sequence[str] = _refusals(powercap, self._domains)

    @property
    def name(self) -> str:
        """E.g. ``RAPL package-0, dram``."""
        return f"RAPL {', '.join(self.domains)}"

    @property
    def domains(self) -> tuple[str, ...]:
        """Whose energy it is, e.g. ``package-0``."""
        return tuple(domain.name for domain in self._domains)

    def read_j(self) -> float | None:
        """Of all domains since they were read first; None if one cannot be read."""
        if self.refusals:
            return None
        try:
            return sum(domain.read_uj() for domain in self._domains) * 1e-6
        except (OSError, ValueError) as error:
            self.refusals = (f"RAPL: {error}",)
            return None

    def power_w(self) -> float | None:
        """RAPL tells energy alone."""
        return None


class _Domain:
    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, _text(folder / "name")
        text = _text(folder / "max_energy_range_uj")
        self._range_uj = int(text) if text.isdigit() else 0
        self._before_uj: int | None = None
        self._sum_uj = 0

    def read_uj(self) -> int:
        now_uj = int((self.folder / "energy_uj").read_text())
        if self._before_uj is not None:
            self._sum_uj += now_uj - self._before_uj + (self._range_uj if now_uj < self._before_uj else 0)
        self._before_uj = now_uj
        return self._sum_uj


def _counted(powercap: Path) -> list[Path]:
    """Packages, and memory that is no part of them. A package may show up a second time, through another interface
    (``intel-rapl-mmio``)."""
    folders = sorted(powercap.glob("intel-rapl:*"))
    return [folder for folder in folders if _text(folder / "name").startswith(("package-", "dram"))]


def _refusals(powercap: Path, domains: Sequence[_Domain]) -> tuple[str, ...]:
    if not domains:
        virtual = "virtual machines have none" if not powercap.exists() else "its driver shows no package"
        return (f"RAPL: no energy counter of the processor in {powercap} ({virtual})",)
    try:
        for domain in domains:
            domain.read_uj()
    except PermissionError:
        return (f"RAPL: {domain.folder / 'energy_uj'} is for root alone; run as root, or make it readable",)
    except (OSError, ValueError) as error:
        return (f"RAPL: {domain.folder / 'energy_uj'} cannot be read: {error}",)
    return ()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
