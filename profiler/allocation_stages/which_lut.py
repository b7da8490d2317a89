"""Which table an allocation reads, where the user names a device and not a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidFile


@dataclass(frozen=True)
class LutChoice:
    """``note`` says whose figures it holds, where they are not those of a run of one's own; ``partial`` tables have no
    prices of some layers by their nature."""

    path: Path
    note: str = ""
    partial: bool = False


def which_lut(device: str, out: Path) -> LutChoice:
    """The table of an own run of the device, below ``out``; else one that ships with the project.

    Raises `InvalidFile` where there is none, and where there are several to choose from.
    """
    slug = "cpu" if device == "auto" else device.strip().lower()
    own = out / "lut" / f"{slug}.csv"
    if own.exists():
        return LutChoice(own)
    others = sorted((out / "lut").glob(f"{slug}-*.csv"))
    if len(others) == 1:
        return LutChoice(others[0])
    if others:
        raise InvalidFile(
            f"{own.parent}: several tables of {slug}: {', '.join(p.name for p in others)}; say --lut FILE"
        )
    for folder, whose, partial in (
        (Path("lut/recorded"), "measured by the authors on their machine, not on yours", False),
        (Path("lut/published"), "published by others, of bare kernels", True),
    ):
        shipped = sorted(p for p in folder.glob(f"{slug}[-_]*.csv") if not p.stem.endswith("-shapes"))
        if len(shipped) == 1:
            note = f"no run of your own in {own}: the latencies are those of {shipped[0]}, {whose}"
            return LutChoice(shipped[0], note, partial)
    raise InvalidFile(f"{own}: no such file; measure first (make profile GPU={slug}), or name a table with --lut")
