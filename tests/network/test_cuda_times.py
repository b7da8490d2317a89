"""The timed window of networks on a pretended GPU, from inside: what is put into the stream, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest

from profiler.devices.cuda_batches import ATTEMPTS, QUEUE_COMMANDS, Batches
from profiler.devices.cuda_probes import Probes
from profiler.devices.protocol import KernelFailure
from profiler.network.execute.cuda_network import CardNetwork
from profiler.network.execute.cuda_times import NetworkTimer
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.network.plan import parameter_bytes, plan
from profiler.quantize.stored import pack_activation
from profiler.record import FailureKind
from tests.devices.fake_cuda import FakeCuda
from tests.devices.fake_cuda_scenario import Scenario
from tests.network.cuda_drafts import chain, pretended, residual
from tests.network.integer_drafts import random_inputs

KERNEL_S = 2e-6


class Loaded:
    """A network on a driver, both within reach, and a timer on a card that is awake."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        artifacts = pretended(network)
        self.driver = FakeCuda(Scenario(kernel_s=KERNEL_S, noise=0.0), networks=True)
        for artifact in artifacts.values():
            self.driver.learn(artifact)
        self.timer = NetworkTimer(self.driver, lambda: self.driver.host_s)
        planned = plan(network, artifacts)
        parameters = parameter_bytes(network, artifacts, planned).tobytes()
        self.gpu = CardNetwork(self.driver, planned, parameters, list(artifacts.values()))
        self.inputs = random_inputs(network)
        self.set_inputs()
        self.gpu.ready()
        self.timer.undisturbed(self.gpu, 1)
        self.driver.history.clear()

    def set_inputs(self) -> None:
        packed = [
            pack_activation(self.inputs[name], self.network.value(name).dtype).tobytes() for name in self.network.inputs
        ]
        self.gpu.set_inputs(b"".join(packed))

    @property
    def entries(self) -> list[str]:
        """Of the kernels, in the order of the steps."""
        artifacts = pretended(self.network)
        return [artifacts[step.spec].entry for step in self.network.steps]

    def done(self) -> list[str]:
        """What the GPU did since the last time."""
        names = [ran.name for ran in self.driver.history]
        self.driver.history.clear()
        return names


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return Loaded(residual())


FLOOR = ["event", "nothing", "event", "clock"]


def test_an_undisturbed_run_is_one_graph(loaded: Loaded) -> None:
    loaded.driver.history.clear()
    times = loaded.timer.undisturbed(loaded.gpu, 2)
    run = ["event", "graph", *loaded.entries, "event"]
    assert loaded.done() == ["spin", *2 * run, *FLOOR]
    total_ns = round(len(loaded.entries) * KERNEL_S * 1e9)
    assert times.totals_ns.tolist() == pytest.approx([total_ns] * 2, abs=1)
    assert times.ends_ns.shape == (0, len(loaded.entries))
    assert times.floors_s == pytest.approx([2e-6])
    assert times.clocks_mhz == pytest.approx([1590], rel=1e-3)


def test_a_marked_run_is_its_kernels_one_by_one(loaded: Loaded) -> None:
    loaded.driver.history.clear()
    times = loaded.timer.marked(loaded.gpu, 2)
    run = ["event", *(name for entry in loaded.entries for name in (entry, "event"))]
    assert loaded.done() == ["spin", *2 * run, *FLOOR]
    marks_ns = np.arange(1, len(loaded.entries) + 1) * KERNEL_S * 1e9
    np.testing.assert_allclose(times.ends_ns, [marks_ns] * 2, atol=1)
    np.testing.assert_array_equal(times.totals_ns, times.ends_ns[:, -1])


def test_a_run_that_is_launched_while_it_runs(loaded: Loaded) -> None:
    """Without spinning kernel, the host's calls of 4 us decide."""
    loaded.driver.history.clear()
    duration_s = loaded.timer.launched(loaded.gpu)
    assert loaded.done() == ["event", *loaded.entries, "event"]
    assert duration_s == pytest.approx((len(loaded.entries) + 1) * 4e-6)


@pytest.mark.parametrize("way", ["run", "launch_all"])
def test_a_graph_and_its_launches_compute_the_same(loaded: Loaded, way: str) -> None:
    loaded.set_inputs()
    loaded.driver.history.clear()
    getattr(loaded.gpu, way)()
    raw = loaded.gpu.outputs()
    assert loaded.done() == (["graph"] if way == "run" else []) + loaded.entries
    values = oracle_run(loaded.network, loaded.inputs)
    network = loaded.network
    expected = [pack_activation(values[name], network.value(name).dtype).tobytes() for name in network.outputs]
    assert raw == b"".join(expected)


def test_capturing_runs_nothing(loaded: Loaded) -> None:
    loaded.driver.history.clear()
    graph = loaded.driver.capture(loaded.gpu.launch_all)
    assert loaded.done() == []
    loaded.driver.drop_graph(graph)


def test_work_goes_on_for_as_long_as_asked(loaded: Loaded) -> None:
    loaded.driver.history.clear()
    run_s = len(loaded.entries) * KERNEL_S
    worked = loaded.timer.work(loaded.gpu, 50 * run_s)
    assert loaded.done().count("graph") == worked.runs
    assert 50 * run_s <= worked.duration_s < 60 * run_s
    assert 40 <= worked.runs <= 60


def batches(done: list[str]) -> list[int]:
    """Commands of each batch between its spin and its clock, those of the empty kernel too."""
    parts = [list(part) for spin, part in groupby(done, lambda name: name == "spin") if not spin]
    return [len([name for name in part if name != "graph"]) - 1 for part in parts]


@pytest.mark.parametrize("steps", [3, 120, 348, 349, 900])
def test_no_batch_exceeds_the_queue(steps: int) -> None:
    """But for a graph that is longer. A marked run that does not fit goes in parts, as if it had not."""
    loaded = Loaded(chain(steps))
    runs = 3 if steps < 300 else 2
    undisturbed, graphs = loaded.timer.undisturbed(loaded.gpu, runs), batches(loaded.done())
    marked, marks = loaded.timer.marked(loaded.gpu, runs), batches(loaded.done())
    assert max(graphs) <= max(QUEUE_COMMANDS, steps + 5)
    assert max(marks) <= QUEUE_COMMANDS
    assert (len(graphs), len(marks)) == {
        3: (1, 1),
        120: (1, 2),
        348: (2, 2),
        349: (2, 4),
        900: (2, 6),
    }[steps]
    ends_ns = np.arange(1, steps + 1) * KERNEL_S * 1e9
    np.testing.assert_allclose(undisturbed.totals_ns, [ends_ns[-1]] * runs, atol=1)
    np.testing.assert_allclose(marked.ends_ns, [ends_ns] * runs, atol=3)
    np.testing.assert_array_equal(marked.totals_ns, marked.ends_ns[:, -1])
    assert len(marked.clocks_mhz) == len(marked.floors_s) == len(marks)


@pytest.mark.parametrize("call", ["undisturbed", "marked"])
def test_batches_that_are_always_held_up(loaded: Loaded, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probes, "was_released", lambda self: False)
    loaded.driver.history.clear()
    with pytest.raises(KernelFailure, match="1 runs could not be queued") as caught:
        getattr(loaded.timer, call)(loaded.gpu, 4)
    assert caught.value.kind is FailureKind.UNSTABLE
    assert loaded.done().count("spin") == ATTEMPTS


@pytest.mark.parametrize("call", ["undisturbed", "marked"])
def test_a_card_without_work_is_woken(loaded: Loaded, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    monkeypatch.setattr(Batches, "wake", lambda self: woken.append(call))
    time: Callable[[CardNetwork, int], object] = getattr(loaded.timer, call)
    time(loaded.gpu, 1)
    assert not woken
    loaded.driver.host_s += 0.06
    time(loaded.gpu, 1)
    assert woken == [call]
