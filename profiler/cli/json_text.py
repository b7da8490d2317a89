"""What the tables say, as JSON for programs: plain SI numbers, null where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from profiler.devices.discover import Inventory
from profiler.lut.check import Finding
from profiler.lut.schema import LutRow
from profiler.pipeline_result import ProfileResult

Json = dict[str, Any]


def profile_json(result: ProfileResult) -> Json:
    """One object per layer with a latency per precision, the totals, and where everything was written."""
    table = result.table
    names = [precision.name for precision in table.precisions]
    layers = [
        {
            "layers": list(row.layers),
            "workload": row.workload.text,
            "latency_s": {n: c.latency_s for n, c in zip(names, row.cells, strict=True)},
            "variant": {n: c.variant.value if c.variant else None for n, c in zip(names, row.cells, strict=True)},
            "speedup": {n: row.speedup(i) for i, n in enumerate(names) if i},
        }
        for row in table.rows
    ]
    totals = {
        name: {
            "latency_s": total.latency_s,
            "priced": total.priced,
            "lines": total.lines,
            "speedup": total.speedup,
            "compared": total.compared,
        }
        for name, total in zip(names, table.totals, strict=True)
    }
    return {
        "network": table.network,
        "batch": table.batch,
        "device": result.device,
        "device_name": result.device_name,
        "fingerprint": result.fingerprint,
        "threads": result.conditions.threads,
        "cache_mode": result.conditions.cache_mode.value,
        "precisions": names,
        "layers": layers,
        "totals": totals,
        "skipped": list(table.skipped),
        "warnings": list(result.warnings),
        "kernels": result.kernels,
        "measured": result.measured,
        "failures": result.failures,
        "elapsed_s": result.elapsed_s,
        "lut": str(result.lut_path),
        "tuning_logs": str(result.logs),
    }


def inventory_json(inventory: Inventory) -> Json:
    devices = [{**asdict(d), "measurable": not d.obstacle, "obstacle": d.obstacle} for d in inventory.devices]
    return {"devices": devices, "no_gpus": inventory.no_gpus}


def findings_json(file: Path, findings: Sequence[Finding]) -> Json:
    return {"file": str(file), "ok": not findings, "findings": [asdict(finding) for finding in findings]}


def rows_json(rows: Sequence[LutRow]) -> list[Json]:
    from profiler.lut.schema import COLUMNS

    return [dict(zip(COLUMNS, row.cells, strict=True)) for row in rows]
