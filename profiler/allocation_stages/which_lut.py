"""Which table an allocation reads, where the user names a device and not a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidFile

_SHIPPED = (
    (Path("lut/recorded"), "measured by the authors on their machine, not on yours", False),
    (Path("lut/published"), "published by others, of bare kernels", True),
)


@dataclass(frozen=True)
class LutChoice:
    """``note`` says whose figures it holds, where they are not those of a run of one's own; ``partial`` tables have no
    prices of some layers by their nature."""

    path: Path
    note: str = ""
    partial: bool = False


def which_lut(device: str, folder: Path) -> LutChoice:
    """The table of an own run of the device in ``folder``/lut (``auto``: of whatever device it is); else one that ships
    with the project. A device's tables are named after it, or after it and their fingerprint (`lut.store.path_for`);
    one whose name says more holds something else, and is read by who names its path.

    Raises `InvalidFile` where there is none, and where there are several to choose from.
    """
    slug = device.strip().lower()
    own = sorted((folder / "lut").glob("*.csv"))
    if slug != "auto":
        own = [path for path in own if path.stem == slug or _with_fingerprint(path, slug)]
    if own:
        return LutChoice(_only(own))
    slug = "cpu" if slug == "auto" else slug
    for place, whose, partial in _SHIPPED:
        shipped = [
            path
            for path in sorted(place.glob("*.csv"))
            if _with_fingerprint(path, slug) or path.stem.startswith(f"{slug}_")
        ]
        if shipped:
            path = _only(shipped)
            note = f"no run of your own in {folder / 'lut'}: the latencies are those of {path}, {whose}"
            return LutChoice(path, note, partial)
    raise InvalidFile(
        f"{folder / 'lut' / slug}.csv: no such file; measure first (make profile GPU={slug}), or name a table (--lut)"
    )


def _with_fingerprint(path: Path, slug: str) -> bool:
    return re.fullmatch(rf"{re.escape(slug)}-[0-9a-f]{{8}}", path.stem) is not None


def _only(paths: Sequence[Path]) -> Path:
    if len(paths) > 1:
        names = ", ".join(str(path) for path in paths)
        raise InvalidFile(f"several tables to choose from: {names}; say which with --lut (make: LUT=)")
    return paths[0]
