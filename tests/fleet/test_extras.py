"""What cards measure beside the jobs, and how they are called when they are compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from profiler.devices.discover import FoundDevice
from profiler.fleet.extras import Extras
from profiler.fleet.offers import Offer, Place
from profiler.fleet.orders import Sight


def lane(worker: str, host: str, machine: str, uuid: str = "") -> Any:
    """Of a lane what `Extras.spreads` asks for."""
    device = FoundDevice("t4", "Tesla T4", 0, uuid) if uuid else FoundDevice("cpu", "a CPU")
    place = Place(Offer(f"tls://{worker}:1", worker), Sight(host, machine, "x86_64", 4, "1", "abc", (device,)), device)
    return SimpleNamespace(place=place, fingerprint=SimpleNamespace(device_name=device.name, arch="arch"))


def compared(lanes: list[Any]) -> dict[str, float]:
    """Median ratios by name; the cards take 1 s, 2 s, 3 s, ... for the one kernel."""
    extras = Extras(complete=False)
    for number, each in enumerate(lanes, 1):
        extras.compared(each, {"kernel": float(number)})
    (spread,) = extras.spreads([*lanes, *lanes])
    return {card.card: card.median for card in spread.cards}


def test_cards_are_named_by_host_or_uuid() -> None:
    assert compared([lane("v", "a", "m1"), lane("w", "b", "m2")]) == pytest.approx({"a": 2 / 3, "b": 4 / 3})
    gpus = [lane("v", "a", "m1", "GPU-1"), lane("v", "a", "m1", "GPU-2")]
    assert set(compared(gpus)) == {"GPU-1", "GPU-2"}


def test_machines_of_one_name_are_two_cards() -> None:
    """As virtual machines often are called."""
    found = compared([lane("v", "vm", "m1"), lane("w", "vm", "m2")])
    assert found == pytest.approx({"vm (worker v)": 2 / 3, "vm (worker w)": 4 / 3})
