"""Which worker measures on which card."""

from __future__ import annotations

from profiler.devices.discover import FoundDevice
from profiler.fleet.offers import Offer, Place, Versions, other_package, places_of
from profiler.fleet.orders import Sight
from profiler.fleet.roster import Roster

CPU = FoundDevice("cpu", "a CPU")
T4S = tuple(FoundDevice("t4", "Tesla T4", i, f"GPU-{i}", f"00:0{i}.0") for i in range(3))
A100 = FoundDevice("a100", "NVIDIA A100", 0, "GPU-a", "00:09.0")
NOBODY: frozenset[str] = frozenset()


def sight(*gpus: FoundDevice, machine: str = "m") -> Sight:
    return Sight("host", machine, "x86_64", 4, "1", "abc", (*gpus, CPU), "" if gpus else "the driver lists none")


def offer(**resources: float) -> Offer:
    return Offer("tls://h:1", "w", resources)


def uuids(places: tuple[Place, ...]) -> list[str]:
    return [place.device.uuid for place in places]


def test_as_many_cards_as_are_offered() -> None:
    assert uuids(places_of(offer(t4=1), sight(*T4S), "t4", NOBODY)[0]) == ["GPU-0"]
    places, lacking = places_of(offer(t4=3), sight(*T4S), "t4", NOBODY)
    assert (uuids(places), lacking) == (["GPU-0", "GPU-1", "GPU-2"], "")
    assert len({place.key for place in places}) == 3


def test_a_card_is_measured_through_one_worker() -> None:
    places, lacking = places_of(offer(t4=1), sight(*T4S), "t4", frozenset({"GPU-0"}))
    assert (uuids(places), lacking) == (["GPU-1"], "")
    places, lacking = places_of(offer(t4=2), sight(*T4S), "t4", frozenset({"GPU-0", "GPU-2"}))
    assert uuids(places) == ["GPU-1"]
    assert lacking == "it offers 2 t4: 1 of the 3 of host are left for it"


def test_a_worker_that_has_a_card_lacks_another() -> None:
    places, lacking = places_of(offer(t4=2), sight(*T4S), "t4", frozenset({"GPU-0", "GPU-1", "GPU-2"}), has=1)
    assert (places, lacking) == ((), "it offers 2 t4: 1 of the 3 of host are left for it")
    places, lacking = places_of(offer(t4=2), sight(*T4S), "t4", frozenset({"GPU-0", "GPU-2"}), has=1)
    assert (uuids(places), lacking) == (["GPU-1"], "")


def test_an_offer_that_is_not_true() -> None:
    places, lacking = places_of(offer(t4=1), sight(A100), "t4", NOBODY)
    assert places == ()
    assert "host has none; found: NVIDIA A100 (a100, index 0), a CPU (cpu)" in lacking
    assert "no NVIDIA GPU: the driver lists none" in places_of(offer(t4=1), sight(), "t4", NOBODY)[1]
    broken = FoundDevice("t4", "Tesla T4", 0, "GPU-0", "00:00.0", obstacle="PyCUDA is not installed")
    assert "is there, but PyCUDA is not installed" in places_of(offer(t4=1), sight(broken), "t4", NOBODY)[1]


def test_one_cpu_may_be_the_card_of_several_workers() -> None:
    (first,), _ = places_of(offer(cpu=1), sight(), "cpu", NOBODY)
    (second,), _ = places_of(Offer("tls://h:2", "v", {"cpu": 1}), sight(), "cpu", frozenset({first.card}))
    (other,), _ = places_of(Offer("tls://i:1", "u", {"cpu": 1}), sight(machine="n"), "cpu", NOBODY)
    assert first.card == second.card != other.card
    assert len({first.key, second.key, other.key}) == 3


def test_versions() -> None:
    here = Versions("3.11", "2.4.6", "2026.8.0")
    assert here.difference(here) == ""
    assert here.difference(Versions("3.12", "2.4.6", "2026.8.0")) == "Python 3.12 (here 3.11)"
    assert here.difference(Versions("3.11", "", "2026.1.0")) == (
        "NumPy missing (here 2.4.6), distributed 2026.1.0 (here 2026.8.0)"
    )
    assert other_package(sight(), "1", "abc") == ""
    assert other_package(sight(), "2", "abc") == "profiler 1 (here 2)"
    assert "its sources differ" in other_package(sight(), "1", "abd")


def test_a_worker_that_is_silent_is_gone_until_it_speaks() -> None:
    roster = Roster(silent_s=10)
    a, b = Offer("a", "a"), Offer("b", "b")
    roster.update({"a": (a, 1.0), "b": (b, 1.0)}, now_s=0)
    roster.update({"a": (a, 2.0), "b": (b, 1.0)}, now_s=9)
    assert set(roster.present) == {"a", "b"}
    roster.update({"a": (a, 3.0), "b": (b, 1.0)}, now_s=11)
    assert set(roster.present) == {"a"}
    roster.update({"a": (a, 4.0), "b": (b, 2.0)}, now_s=12)
    assert set(roster.present) == {"a", "b"}
    roster.sights |= {"a": sight(), "b": sight()}
    assert roster.update({"b": (b, 3.0)}, now_s=13) == {"a"}
    assert set(roster.present) == {"b"}
    assert set(roster.sights) == {"b"}, "whoever comes back under that address may be another one"
    assert roster.update({"b": (b, 3.0)}, now_s=99) == frozenset()
    assert (roster.present, set(roster.sights)) == ({}, {"b"}), "silent, and listed"


def test_who_compiles() -> None:
    roster = Roster(silent_s=10)
    measuring, compiling = Offer("m", "m", {"cpu": 1}), Offer("c", "c", {"compile": 4})
    roster.update({"m": (measuring, 0)}, 0)
    assert roster.compiling() == (), "nobody is known to be fit yet"
    roster.sights["m"] = sight()
    assert roster.compiling() == ("m",), "where nobody offers it, those that measure do"
    roster.update({"m": (measuring, 1), "c": (compiling, 0)}, 1)
    assert roster.compiling() == (), "somebody offers it, and is not known to be fit yet"
    roster.sights["c"] = sight()
    assert roster.compiling() == ("c",)
