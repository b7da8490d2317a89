"""What should make a reader doubt a table: lines for people, from the results of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from profiler.hardware import is_cpu
from profiler.record import EnergyMeasurement, FailureKind
from profiler.record.energy import ENERGY_TELLING
from profiler.targets import Target
from profiler.tuning.tuner import SpecResult


def doubts(results: Sequence[SpecResult], target: Target) -> Iterator[str]:
    """One line per reason, none for a quiet run."""
    unmeasured = [result for result in results if result.best is None]
    if unmeasured:
        yield f"no latency for {len(unmeasured)} of {len(results)} kernels; {why_none(unmeasured[0], target)}"
    finals = [result.best for result in results if result.best is not None]
    total = len(results)
    disturbed = [m for m in finals if any(names_others(note) for note in m.circumstances.notes)]
    if disturbed:
        yield f"other processes were busy while {len(disturbed)} of {total} kernels were measured"
    doubtful = [m for m in finals if m.summary.contaminated]
    if doubtful:
        yield (
            f"something else ran on the machine: the medians of {len(doubtful)} of {total} kernels lie far above their "
            "minima; the same command measures those again, best on an idle machine"
        )
    capped = [m for m in finals if m.circumstances.power_capped_fraction]
    if capped:
        yield (
            f"the card was at its power limit during {len(capped)} of {total} kernels (power_capped_fraction in the "
            "LUT): their latencies are those of a lowered clock"
        )
    heated = [m for m in finals if m.discarded and not m.summary.contaminated]
    if heated:
        yield f"samples of {len(heated)} of {total} kernels were taken again (column discarded; the records say why)"
    emulated = [m for m in finals if not m.native]
    if emulated and not is_cpu(target.slug):
        widths = sorted({m.spec.input_dtype.bits for m in emulated})
        types = " and ".join(f"INT{bits}" for bits in widths)
        yield f"{target.name} emulates {types} in {len(emulated)} of {total} kernels (native is false in the LUT)"


def energy_doubts(energies: Sequence[EnergyMeasurement]) -> Iterator[str]:
    """The same of energies."""
    total = len(energies)
    apart = [found.energy.sensed_apart for found in energies if found.energy.sensed_apart is not None]
    most = max(apart, key=abs, default=0.0)
    if abs(most) > ENERGY_TELLING:
        count = sum(abs(share) > ENERGY_TELLING for share in apart)
        yield (
            f"the integrated power differs from the energy counter in {count} of {total} energies, by up to "
            f"{most:+.1%} (the counter is believed)"
        )
    disturbed = [found for found in energies if any(names_others(note) for note in found.circumstances.notes)]
    if disturbed:
        yield f"other processes were busy while the energies of {len(disturbed)} of {total} kernels were measured"
    capped = [found for found in energies if found.circumstances.power_capped_fraction]
    if capped:
        yield (
            f"the card was at its power limit while the energies of {len(capped)} of {total} kernels were measured: "
            "they are those of a lowered clock"
        )
    noted = Counter(note.partition(":")[0] for found in energies for note in found.energy.notes if _of_the_work(note))
    for note, count in noted.items():
        yield f"of {count} of {total} energies: {note} (the records say more)"


def _of_the_work(note: str) -> bool:
    return note.startswith("launche") or note.startswith("taken again")


def why_none(result: SpecResult, target: Target) -> str:
    """Why a kernel has no latency."""
    failures: Counter[FailureKind] = Counter(failure.kind for failure in result.failures)
    counted = ", ".join(f"{count} {kind.value}" for kind, count in failures.items())
    last = f" ({result.failures[-1].message})" if result.failures else ""
    return f"{result.spec.key}: {target.obstacle(result.spec) or counted + last or 'no valid config'}"


def names_others(note: str) -> bool:
    """Whether a note of the devices' observers is about processes that are not ours, named or hidden."""
    return note.startswith("other processes") or "on the card that this system does not show" in note
