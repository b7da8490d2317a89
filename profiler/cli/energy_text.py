"""The energy of a run, for people and for programs."""

from __future__ import annotations

from typing import Any

from profiler.measure.energy import NoEnergy
from profiler.record import Energy
from profiler.units import format_energy


def energy_json(found: Energy | NoEnergy | None, batch: int) -> dict[str, Any] | None:
    """None where nobody asked; a ``reason`` alone where the device does not tell it. ``batch``: images of a run."""
    if found is None:
        return None
    if isinstance(found, NoEnergy):
        return {"reason": found.reason}
    return {
        "energy_j": found.j_per_run,
        "counted_j": found.counted_j_per_run,
        "integrated_j": found.integrated_j_per_run,
        "above_idle_j": found.above_idle_j_per_run,
        "idle_before_w": found.idle_before_w,
        "idle_after_w": found.idle_after_w,
        "images_per_j": batch / found.j_per_run,
        "windows": [
            {"runs": w.runs, "duration_s": w.duration_s, "counted_j": w.counted_j, "integrated_j": w.integrated_j}
            for w in found.windows
        ],
        "notes": list(found.notes),
    }


def energy_lines(found: Energy | NoEnergy | None, batch: int) -> list[str]:
    """None of them where nobody asked. Images per joule are images per second and watt."""
    if found is None:
        return []
    if isinstance(found, NoEnergy):
        return [f"no energy: {found.reason}"]
    text = f"energy of a run: {format_energy(found.j_per_run)}"
    if found.above_idle_j_per_run is not None:
        before, after = (
            "?" if power_w is None else f"{power_w:.1f} W" for power_w in (found.idle_before_w, found.idle_after_w)
        )
        text += f", {format_energy(found.above_idle_j_per_run)} of it above idle ({before} before, {after} after)"
    return [f"{text}; {batch / found.j_per_run:,.1f} images per second and watt", *found.notes]
