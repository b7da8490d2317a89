"""What should make a reader doubt energies."""

from __future__ import annotations

from dataclasses import replace

from profiler.doubts import energy_doubts
from profiler.record import Circumstances, Energy, EnergyMeasurement, EnergyWindow
from tests.test_record import energy_measurement


def record(
    sensed: float = 1.0, notes: tuple[str, ...] = (), circumstances: Circumstances | None = None
) -> EnergyMeasurement:
    energy = Energy((EnergyWindow(100, 5.0, 100.0, 100.0 * sensed),), 10.0, 10.0, notes)
    return replace(energy_measurement(energy), circumstances=circumstances or Circumstances())


def test_nothing_to_doubt() -> None:
    assert list(energy_doubts([])) == list(energy_doubts([record(), record(1.019)])) == []


def test_two_ways_that_differ() -> None:
    (line,) = energy_doubts([record(1.03), record(0.9), record()])
    assert line.startswith("the integrated power differs from the energy counter in 2 of 3 energies, by up to -10.0%")


def test_what_else_went_on() -> None:
    busy = Circumstances(notes=("other processes used 0.5 of a CPU",))
    capped = Circumstances(power_capped_fraction=0.5)
    lines = list(energy_doubts([record(circumstances=busy), record(circumstances=capped), record()]))
    assert lines[0] == "other processes were busy while the energies of 1 of 3 kernels were measured"
    assert lines[1].startswith("the card was at its power limit while the energies of 1 of 3 kernels were measured")


def test_notes_of_the_work_are_counted_and_others_are_not() -> None:
    short = "launches may have found in the caches what cache mode network wants evicted: 4096 copies of 9 bytes"
    other = short.replace("9 bytes", "8 bytes")
    (line,) = energy_doubts([record(notes=(short,)), record(notes=(other, "not readable: power")), record()])
    assert line == (
        "of 2 of 3 energies: launches may have found in the caches what cache mode network wants evicted "
        "(the records say more)"
    )
