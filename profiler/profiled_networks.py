"""The networks that runs of a device have profiled, kept beside their journals: what a report is about by default."""

from __future__ import annotations

import re
from pathlib import Path

from profiler.frontend import network_file
from profiler.workload import Network

_FOLDER = "networks"
_LONGEST = 80
"""Characters of a network's name that stay in that of its file."""


def keep(logs: Path, network: Network) -> Path:
    """Leave the network in the folder of the device's journals, as the last one that was profiled there. Raises
    `OutputError` if that cannot be written."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", network.name)[:_LONGEST].strip(".") or "network"
    path = logs / _FOLDER / f"{name}-n{network.batch}.json"
    network_file.save(network, path)
    return path


def kept(logs: Path) -> tuple[Path, ...]:
    """Their files, the last profiled one first."""
    found = sorted((logs / _FOLDER).glob("*.json"), key=lambda path: (-path.stat().st_mtime_ns, path.name))
    return tuple(found)
