"""`sample` on a pretended T4, with real cubins: what a card can do is proposed, measured and kept as on a CPU."""

from __future__ import annotations

import subprocess

import pytest

from profiler.hardware import GPUS
from profiler.lut.check import check
from profiler.lut.store import read
from profiler.space.gpu_model import limit_s
from tests.e2e.command import Outcome, Place
from tests.rehearsal.machine import Machine

pytestmark = pytest.mark.compile


def sample(place: Place, *options: str) -> Outcome:
    arguments = ["sample", "--device", "t4", "--out", str(place.out), "--trials", "1", *options]
    command = Machine().command(place.folder / "machine", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, env=place.environment, timeout=300)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_sample_on_a_card(place: Place) -> None:
    outcome = sample(place, "--count", "1", "--lock-clocks")
    assert outcome.code == 0, outcome.err
    assert "SM clock locked at 585 MHz" in outcome.out
    assert "1 workloads, 2 kernels, 2 measured now" in outcome.out
    lut = place.out / "lut" / "t4.csv"
    assert check(lut) == []
    rows = read(lut)
    assert {row.spec.input_dtype.bits for row in rows} == {4, 8}
    assert all(row.arch == "sm_75" and 0.5e-6 <= limit_s(row.spec, GPUS["t4"]) <= 5e-3 for row in rows)
    assert len(list((place.out / "kernels" / "t4").rglob("*.lbk"))) == 2
    assert not (place.out / "tuning_logs" / "t4" / "sample.json").exists()


def test_what_a_card_does_not_have(place: Place) -> None:
    assert sample(place, "--threads", "2").refused("threads are of a CPU")
    assert not place.out.exists()
