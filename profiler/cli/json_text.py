"""What the tables say, as JSON for programs: plain SI numbers, null where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.lut.check import Finding
from profiler.lut.schema import LutRow
from profiler.lut.table import Joules
from profiler.pipeline_result import ProfileResult

if TYPE_CHECKING:
    from profiler.artifact import Resources
    from profiler.devices.discover import Inventory
    from profiler.kernel_library.result import BuiltKernel, KernelLibrary, LibraryRow

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
            "energy_j": {n: _energy_j(c.joules) for n, c in zip(names, row.cells, strict=True)},
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
            "energy_j": _energy_j(total.joules),
            "above_idle_j": None if total.joules is None else total.joules.above_idle_j,
            "metered": total.metered,
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
        "energies": {
            "kernels": result.energies.known,
            "measured": result.energies.measured,
            "counters": list(result.energies.counters),
            "idle_w": None if result.energies.idle_w is None else list(result.energies.idle_w),
            "reason": result.energies.why_none or None,
        },
        "elapsed_s": result.elapsed_s,
        "lut": str(result.lut_path),
        "tuning_logs": str(result.logs),
    }


def _energy_j(joules: Joules | None) -> float | None:
    return None if joules is None else joules.energy_j


def kernels_json(library: KernelLibrary) -> Json:
    """One object per kernel spec with the best modelled of its built kernels, and the counts of the summary line."""
    return {
        "network": library.network,
        "batch": library.batch,
        "device": library.device.slug,
        "device_name": library.device_name,
        "arch": library.arch,
        "compiler": library.compiler,
        "rows": [_library_row(row) for row in library.rows],
        "built_now": library.built_now,
        "cached": library.cached,
        "failed": {kind.value: count for kind, count in library.failures.items()},
        "without_kernel": [layer for row in library.missing for layer in row.layers],
        "skipped": list(library.skipped),
        "elapsed_s": library.elapsed_s,
        "candidates_per_s": library.candidates_per_s,
        "folder": str(library.folder),
    }


def _library_row(row: LibraryRow) -> Json:
    return {
        "layers": list(row.layers),
        "workload": row.spec.workload.text,
        "spec": row.spec.to_dict(),
        "valid": row.valid,
        "built": row.built,
        "failed": [{"config": f.config, "kind": f.kind.value, "message": f.message} for f in row.failed],
        "kernel": None if row.default is None else _built_kernel(row.default),
        "modelled_limit_s": row.limit_s,
        "obstacle": row.obstacle or None,
    }


def _built_kernel(kernel: BuiltKernel) -> Json:
    of_gpu = _resources(kernel, kernel.resources) if kernel.resources else {}
    return {"config": kernel.config, "native": kernel.native, **of_gpu, "artifact": str(kernel.path)}


def _resources(kernel: BuiltKernel, resources: Resources) -> Json:
    """What it takes of a GPU."""
    instruction, count = kernel.tensor_core
    return {
        "registers": resources.registers,
        "spill_bytes": resources.spill_bytes,
        "shared_bytes": resources.shared_bytes,
        "threads": resources.threads,
        "blocks_per_sm": resources.blocks_per_sm,
        "occupancy": resources.occupancy,
        "tensor_core_instruction": instruction or None,
        "tensor_core_instructions_in_main_loop": count,
        "divisions_in_main_loop": kernel.divisions,
        "cubin_abi": resources.cubin_abi,
        "least_driver": resources.least_driver,
        "modelled_latency_s": kernel.modelled_s,
    }


def inventory_json(inventory: Inventory) -> Json:
    devices = [{**asdict(d), "measurable": not d.obstacle, "obstacle": d.obstacle} for d in inventory.devices]
    return {"devices": devices, "no_gpus": inventory.no_gpus}


def findings_json(file: Path, findings: Sequence[Finding]) -> Json:
    return {"file": str(file), "ok": not findings, "findings": [asdict(finding) for finding in findings]}


def rows_json(rows: Sequence[LutRow]) -> list[Json]:
    from profiler.lut.schema import COLUMNS

    return [dict(zip(COLUMNS, row.cells, strict=True)) for row in rows]
