"""Two T4 on a fleet, before there is one: real cubins on pretended cards of a worker's machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.fleet import opening, reference
from profiler.fleet.access import Access
from profiler.fleet.events import FleetEvent, FleetProgress, PlaceOpened
from profiler.fleet.request import FleetRequest
from profiler.fleet.stage import profile
from profiler.frontend import network_file
from profiler.lut.demand import demand
from profiler.lut.store import read
from profiler.space.gpu import usual_config
from profiler.workload import INT8, Layer, Network, Op, Tensor, Workload
from tests.fleet.cluster import Cluster
from tests.rehearsal.machine import QUICK, Machine

pytest.importorskip("distributed")
pytestmark = [pytest.mark.alone, pytest.mark.compile, pytest.mark.slow]

T4S = (
    {"name": "Tesla T4", "uuid": "GPU-1111"},
    {"name": "Tesla T4", "uuid": "GPU-2222", "pci_bus_id": "00000000:00:05.0"},
)
TWO = Network(
    "two",
    1,
    (Tensor("x", 1, 1, 16, signed=False), Tensor("y", 1, 1, 16, signed=True), Tensor("z", 1, 1, 32, signed=True)),
    (
        Layer("first", Workload(Op.DENSE, 1, 1, 1, 16, 16), ("x",), "y"),
        Layer("second", Workload(Op.DENSE, 1, 1, 1, 16, 32), ("y",), "z"),
    ),
)


def test_two_cards(clusters: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = clusters()
    monkeypatch.setattr(opening, "rules_of", lambda gpu: QUICK)
    spec = demand(replace(TWO, batch=1), (INT8,), mixed=False)[0].spec
    monkeypatch.setattr(
        reference, "reference_configs", lambda target: {"dense": (spec, usual_config(spec, target.gpu))}
    )
    Machine(T4S).command(tmp_path / "machine")
    model = tmp_path / "two.json"
    network_file.save(TWO, model)
    cluster.worker("cards", "t4=2,compile=1", threads=4)
    events: list[FleetEvent] = []
    request = FleetRequest(
        model=str(model),
        device="t4",
        precisions=(INT8,),
        trials=1,
        mixed=False,
        out=tmp_path / "out",
        access=Access(cluster.address, insecure=True),
        complete=False,
        seat=(sys.executable, "-m", "tests.fleet.gpu_seat", str(tmp_path / "machine" / "machine.json")),
    )
    result = profile(request, FleetProgress(fleet=events.append))
    assert len([event for event in events if isinstance(event, PlaceOpened)]) == 2
    assert result.profile.measured == 2
    assert all(total.complete for total in result.profile.table.totals)
    assert {card.device_name for card in result.cards} == {"Tesla T4"}
    assert sorted(card.used for card in result.cards) == [1, 1], "each card has measured one of them"
    assert {path.name for path in (tmp_path / "out" / "lut").glob("*.csv")} == {
        "t4.csv",
        f"t4-{result.cards[1].fingerprint}.csv",
    }
    for card in result.cards:
        assert card.lut_path is not None
        (row,) = read(card.lut_path)
        assert (row.arch, row.fingerprint) == ("sm_75", card.fingerprint)
    (spread,) = result.spreads
    assert {card.card for card in spread.cards} == {"GPU-1111", "GPU-2222"}
    assert len(list((tmp_path / "out" / "kernels" / "t4").rglob("*.lbk"))) >= 2, "what was compiled is kept at home"
