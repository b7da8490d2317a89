from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from profiler.fleet import opening, stage
from profiler.statistics import Summary
from tests.fleet.cluster import Cluster
from tests.fleet.pools import PoolTarget
from tests.fleet.pretended import PretendedFleet, PretendedLink
from tests.rehearsal.machine import QUICK


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters, which end with the test."""
    made: list[Cluster] = []

    def make(**options: object) -> Cluster:
        made.append(Cluster(tmp_path / f"cluster{len(made)}", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(clusters: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """With pools of C in place of TVM's kernels, sampled quickly; the lock between runs is the cluster's own."""
    made = clusters()
    monkeypatch.setattr(tempfile, "tempdir", str(made.tmp))
    # On a busy machine another run would measure again what looks contaminated.
    monkeypatch.setattr(Summary, "contaminated", property(lambda summary: False))
    monkeypatch.setattr(opening, "rules_of", lambda gpu: QUICK)
    monkeypatch.setattr(opening, "_target", lambda facts, request: PoolTarget(facts.hardware))
    return made


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PretendedFleet:
    fleet = PretendedFleet(PretendedLink(), tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(stage, "Link", lambda access, connect_s: fleet.link)
    monkeypatch.setattr(opening, "_target", lambda facts, request: PoolTarget(facts.hardware))
    return fleet
