"""`run` on a GPU, before there is one: an integer network of real cubins on a pretended card, by the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.hardware import GPUS
from profiler.network import integer_file
from profiler.space.config import to_text
from profiler.space.gpu import usual_config
from tests.devices.fake_cuda import Fault, Scenario
from tests.devices.fake_nvml import HW_SLOWDOWN
from tests.e2e.command import Outcome, Place
from tests.network.cuda_drafts import residual
from tests.rehearsal.machine import Machine

pytestmark = pytest.mark.compile

NETWORK = residual()
CONFIGS = [to_text(usual_config(step.spec, GPUS["t4"])) for step in NETWORK.steps]
CONFIG = CONFIGS[3]
FIRST = CONFIGS.index(CONFIG)
"""The first step that has it."""


class Rehearsal:
    """A place in which the network's kernels are built once."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.model = folder / "residual.npz"
        integer_file.save(self.model, NETWORK)

    def run(self, machine: Machine | None = None, *options: str) -> Outcome:
        arguments = ["run", str(self.model), "--device", "t4", "--in", str(self.place.out), "--allow-default", *options]
        return Place.answer((machine or Machine()).start(self.place, *arguments), limit_s=300)


@pytest.fixture(scope="session")
def right(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rehearsal, Any]:
    """What came of a run that nothing disturbed."""
    rehearsal = Rehearsal(tmp_path_factory.mktemp("networks") / "place")
    done = rehearsal.run(None, "--json")
    assert (done.code, done.err) == (0, "")
    return rehearsal, json.loads(done.out)


@pytest.fixture
def built(right: tuple[Rehearsal, Any], tmp_path: Path) -> Rehearsal:
    """A place where nothing has run yet and all kernels are built."""
    rehearsal = Rehearsal(tmp_path / "place")
    kernels = right[0].place.out / "kernels"
    if kernels.is_dir():
        shutil.copytree(kernels, rehearsal.place.out / "kernels")
    return rehearsal


def test_a_network_runs_bit_for_bit(right: tuple[Rehearsal, Any]) -> None:
    rehearsal, found = right
    assert found["bit_exact"]
    assert found["device_name"] == "Tesla T4"
    assert found["verified_steps"] == len(found["steps"]) == len(NETWORK.steps)
    assert found["latency_s"] > 0
    assert any("kernel by kernel instead of as a graph" in note for note in found["notes"])
    assert not rehearsal.place.strays()


def test_a_wrong_kernel_is_named(built: Rehearsal) -> None:
    done = built.run(Machine(scenario=Scenario(faults={CONFIG: Fault(flip=5)})), "--json")
    found = json.loads(done.out)
    assert (done.code, found["bit_exact"], found["latency_s"]) == (1, False, None)
    assert f"step {FIRST}, layer 'layer{FIRST}', kernel {NETWORK.steps[FIRST].spec.key}: 1 of" in found["difference"]


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (Machine(scenario=Scenario(faults={CONFIG: Fault(code=700)})), "illegal memory access"),
        (Machine(scenario=Scenario(graphs=False)), "there is no package for graphs here"),
        (Machine(scenario=Scenario(start_code=46)), "the GPU is taken"),
    ],
)
def test_what_goes_wrong_is_one_line(built: Rehearsal, machine: Machine, said: str) -> None:
    assert built.run(machine).refused(said)


def test_a_slowdown_that_passes(built: Rehearsal) -> None:
    """The first timed request is discarded, and made again after half a second."""
    card = {"name": "Tesla T4", "coming_reasons": [0, HW_SLOWDOWN]}
    done = built.run(replace(Machine(), gpus=(card,)))
    assert done.code == 0
    assert "requests that were slowed down and made again: 1" in " ".join(done.out.split())
