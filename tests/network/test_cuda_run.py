"""Whole networks on a pretended GPU: bit for bit, as one graph, and everything that can go wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.artifact import Artifact, Role
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.nvml import Nvml
from profiler.errors import DeviceError
from profiler.measure.energy import EnergyRule, NoEnergy
from profiler.measure.rule import StoppingRule
from profiler.measure.throttle import KERNEL_WAITS_S
from profiler.network.cuda_run import CudaNetwork
from profiler.network.device_network import WrongStep
from profiler.network.execute.process import NetworkFailure
from profiler.network.execute.timed import NetworkLatency
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.network.plan import plan
from profiler.network.steady import SteadyRule
from profiler.record import Energy, FailureKind
from profiler.workload import KernelSpec
from tests.devices.fake_cuda_network_worker import network_worker_command
from tests.devices.fake_cuda_scenario import Fault, Scenario
from tests.devices.fake_nvml import HW_SLOWDOWN, NOT_SUPPORTED, SW_POWER_CAP, FakeGpu, FakeNvml, FakeProcess
from tests.network.cuda_drafts import pretended, residual, sha256_of
from tests.network.integer_drafts import random_inputs

KERNEL_S = 20e-6
USUAL = Scenario(kernel_s=KERNEL_S)
QUICK = StoppingRule(sample_s=1e-4, min_samples=6, max_samples=12, target=1.0, budget_s=0.05)

Open = Callable[..., CudaNetwork]


def monitor_of(card: FakeGpu) -> GpuMonitor:
    fake = FakeNvml(gpus=[card])
    return GpuMonitor(Nvml(load=lambda: fake), card.uuid)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens networks on a pretended T4, and closes them in the end."""
    found: list[CudaNetwork] = []

    def open_one(
        network: IntegerNetwork,
        scenario: Scenario = USUAL,
        artifacts: Mapping[KernelSpec, Artifact] | None = None,
        card: FakeGpu | None = None,
        **options: Any,
    ) -> CudaNetwork:
        command = network_worker_command(scenario, tmp_path / f"{len(found)}.json")
        monitor = monitor_of(card or FakeGpu())
        found.append(CudaNetwork(network, artifacts or pretended(network), command, monitor, **options))
        return found[-1]

    yield open_one
    for network in found:
        network.close()


class Clock:
    """Of the parent, in which nothing but sleeping takes long."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        self.now_s += 1e-5
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def timed(gpu: CudaNetwork, network: IntegerNetwork, rule: StoppingRule = QUICK) -> NetworkLatency:
    """By a clock of its own: the pretended card takes long, and its times are short."""
    return gpu.latency(random_inputs(network), rule, Clock())


def failure(gpu: CudaNetwork, network: IntegerNetwork, call: str = "verify") -> NetworkFailure:
    with pytest.raises(NetworkFailure) as caught, gpu:
        getattr(gpu, call)(random_inputs(network))
    assert "\n" not in str(caught.value)
    return caught.value


def with_fault(network: IntegerNetwork, step: int, fault: Fault) -> Scenario:
    return replace(USUAL, faults={sha256_of(pretended(network), network, step): fault})


# -- right -------------------------------------------------------------------------------------------------------------


def test_every_step_is_the_oracles(opened: Open) -> None:
    network = residual()
    inputs = random_inputs(network)
    expected = oracle_run(network, inputs)
    roles = {arg.role for artifact in pretended(network).values() for arg in artifact.args}
    assert roles == set(Role)
    with opened(network) as gpu:
        verified = gpu.verify(inputs)
        assert verified.steps == len(network.steps)
        for outputs in (verified.outputs, gpu.run(inputs), gpu.run(inputs)):
            assert list(outputs) == list(network.outputs)
            for name, found in outputs.items():
                np.testing.assert_array_equal(found, expected[name])
                assert len(np.unique(found)) > 5
        others = random_inputs(network, seed=2)
        again = gpu.run(others)
        for name, values in oracle_run(network, others).items():
            if name in again:
                np.testing.assert_array_equal(again[name], values)


def test_the_worker_is_replaced(opened: Open) -> None:
    network = residual()
    inputs = random_inputs(network)
    with opened(network) as gpu:
        first = gpu.worker_pid
        before = gpu.run(inputs)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        again = gpu.run(inputs)
        for name, values in before.items():
            np.testing.assert_array_equal(again[name], values)
        assert gpu.worker_pid not in (first, None)
    assert gpu.worker_pid is None


# -- wrong -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 3, 8])
def test_the_step_that_is_wrong_is_named(opened: Open, step: int) -> None:
    network = residual()
    found = failure(opened(network, with_fault(network, step, Fault(flip=5))), network)
    assert isinstance(found, WrongStep)
    assert (found.kind, found.step) == (FailureKind.WRONG_OUTPUT, step)
    assert f"network 'residual', step {step}, layer 'layer{step}', kernel {network.steps[step].spec.key}: " in str(
        found
    )
    assert found.difference.value == network.steps[step].writes


def test_right_by_itself_and_wrong_in_a_row(opened: Open) -> None:
    network = residual()
    last = next(i for i, step in enumerate(network.steps) if step.writes == network.outputs[0])
    found = failure(opened(network, with_fault(network, last, Fault(flip=1, right_launches=1))), network)
    assert (found.kind, found.step) == (FailureKind.WRONG_OUTPUT, None)
    assert "each step by itself is right, but" in str(found)


def test_wrong_when_it_was_timed(opened: Open) -> None:
    network = residual()
    last = next(i for i, step in enumerate(network.steps) if step.writes == network.outputs[0])
    scenario = with_fault(network, last, Fault(flip=1, right_launches=4))
    with opened(network, scenario) as gpu:
        gpu.verify(random_inputs(network))
        with pytest.raises(NetworkFailure, match="after the timed runs is not what it was after the first one"):
            timed(gpu, network)


def writes(network: IntegerNetwork, step: int, name: str, offset: int) -> Scenario:
    """A kernel that writes a byte so far from the beginning of its argument."""
    return with_fault(network, step, Fault(writes_at=(name, offset)))


def test_writes_outside_of_the_output(opened: Open) -> None:
    network = residual()
    artifacts = pretended(network)
    planned = plan(network, artifacts)
    output = planned.steps[1].output
    behind = planned.arena_nbytes - output.offset
    for offset, said in (
        (output.nbytes, f"wrote outside of its output, into byte {output.offset + output.nbytes} of the activations'"),
        (-1 - output.offset, "wrote outside of the activations' memory"),
        (behind + 300, "wrote outside of the activations' memory"),
    ):
        found = failure(opened(network, writes(network, 1, "output", offset)), network)
        assert (found.kind, found.step) == (FailureKind.WRONG_OUTPUT, 1)
        assert said in str(found)


def test_writes_beside_the_parameters(opened: Open) -> None:
    network = residual()
    found = failure(opened(network, writes(network, 0, "weight", -100)), network)
    assert "wrote outside of the parameters' memory" in str(found)


def test_writes_into_the_parameters(opened: Open) -> None:
    network = residual()
    last = len(network.steps) - 1
    with_weights = next(i for i in range(last, -1, -1) if "weight" in network.steps[i].parameters)
    found = failure(opened(network, writes(network, with_weights, "bias", 0)), network)
    assert found.kind is FailureKind.WRONG_OUTPUT
    assert "wrote into the parameters" in str(found)


def test_counters_that_are_left_other_than_zero(opened: Open) -> None:
    network = residual()
    step = next(i for i, s in enumerate(network.steps) if "weight" in s.parameters)
    found = failure(opened(network, writes(network, step, "counters", 11)), network)
    assert (found.kind, found.step) == (FailureKind.WRONG_OUTPUT, step)
    assert f"left the counters of {network.steps[step].spec.key} other than zero" in str(found)


# -- broken ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["verify", "run"])
def test_crashes(opened: Open, call: str) -> None:
    network = residual()
    gpu = opened(network, with_fault(network, 2, Fault(code=700)))
    found = failure(gpu, network, call)
    assert found.kind is FailureKind.CRASH
    assert "illegal memory access" in str(found)
    assert (found.step, "layer 'layer2'" in str(found)) == ((2, True) if call == "verify" else (None, False))
    assert gpu.worker_pid is None
    assert failure(gpu, network).step == 2, "in a new process, with a new context"


def test_crashes_while_timed(opened: Open) -> None:
    network = residual()
    gpu = opened(network, with_fault(network, 2, Fault(code=716, right_launches=2)))
    with gpu, pytest.raises(NetworkFailure, match="misaligned") as caught:
        timed(gpu, network)
    assert caught.value.kind is FailureKind.CRASH


@pytest.mark.alone
def test_hangs(opened: Open) -> None:
    network = residual()
    hanging = with_fault(network, 2, Fault(hang=True))
    found = failure(opened(network, hanging, time_limit_s=0.5), network)
    assert (found.kind, found.step) == (FailureKind.TIMEOUT, 2)
    assert failure(opened(network, hanging, run_limit_s=0.5), network, "run").kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("code", [214, 802])
def test_a_broken_gpu_is_not_blamed_on_the_network(opened: Open, code: int) -> None:
    network = residual()
    with pytest.raises(DeviceError, match=str(code)):
        opened(network, with_fault(network, 0, Fault(code=code))).run(random_inputs(network))


def test_a_gpu_that_cannot_be_opened(opened: Open) -> None:
    with pytest.raises(DeviceError, match="different versions"):
        opened(residual(), replace(USUAL, start_code=803)).run(random_inputs(residual()))


def test_a_machine_without_graphs(opened: Open) -> None:
    with pytest.raises(DeviceError, match="there is no package for graphs here"):
        opened(residual(), replace(USUAL, graphs=False)).verify(random_inputs(residual()))


def of_another(change: Callable[[Artifact], Artifact]) -> dict[KernelSpec, Artifact]:
    """One of the kernels is another one."""
    artifacts = pretended(residual())
    spec = residual().steps[3].spec
    return {**artifacts, spec: change(artifacts[spec])}


def test_kernels_that_do_not_fit(opened: Open) -> None:
    network = residual()
    key = network.steps[3].spec.key
    resources = pretended(network)[network.steps[3].spec].resources
    assert resources is not None
    unloadable: dict[str, tuple[Callable[[Artifact], Artifact], Scenario]] = {
        f"kernel {key}: the kernel is built for sm_90, and Tesla T4 is sm_75": (
            lambda a: replace(a, arch="sm_90"),
            USUAL,
        ),
        f"kernel {key}: the driver is too old": (
            lambda a: replace(a, resources=replace(resources, cubin_abi=8)),
            USUAL,
        ),
        f"kernel {key}: the kernel is built for x86, which is no GPU": (
            lambda a: replace(a, arch="x86", launch=None, resources=None),
            USUAL,
        ),
        "loading the code: the driver cannot read the code": (lambda a: replace(a, code=b"nothing"), USUAL),
        "the code has no kernel of that name": (lambda a: replace(a, entry="other"), USUAL),
    }
    for said, (change, scenario) in unloadable.items():
        found = failure(opened(network, scenario, of_another(change)), network)
        assert (found.kind, found.step) == (FailureKind.LAUNCH, None)
        assert said in str(found)


def test_memory_that_is_short(opened: Open) -> None:
    """Of the card, and at the moment: 12 MiB and a little are for what evicts L2."""
    network = residual()
    planned = plan(network, pretended(network))
    wanted = planned.arena_nbytes + planned.parameter_nbytes
    scratch = 3 * (4 << 20) + 48
    for memory_bytes, kind, said in (
        (scratch + 100, FailureKind.UNSTABLE, f"no memory for the network's {wanted} bytes: the GPU's memory is full"),
        (1 << 30, None, ""),
    ):
        gpu = opened(network, replace(USUAL, memory_bytes=memory_bytes))
        if kind is None:
            assert gpu.verify(random_inputs(network)).steps
        else:
            found = failure(gpu, network)
            assert (found.kind, said in str(found)) == (kind, True)


# -- timed -------------------------------------------------------------------------------------------------------------


def test_samples_of_runs_and_steps(opened: Open) -> None:
    """Nothing of the host's lies between kernels, of a graph or not; one by one without spinning it does."""
    network = residual()
    steps = len(network.steps)
    with opened(network, replace(USUAL, kernel_s=2e-6, noise=0.0)) as gpu:
        assert gpu.stream_launch_s is None
        latency = timed(gpu, network)
        times = latency.times
        assert len(times.samples_s) >= 6
        assert times.samples_s == pytest.approx([steps * 2e-6] * len(times.samples_s), abs=1e-9)
        assert len(times.steps_s) == steps
        assert {len(samples) for samples in times.steps_s} == {len(times.marked_s)}
        for run_s, steps_s in zip(times.marked_s, zip(*times.steps_s, strict=True), strict=True):
            assert steps_s == pytest.approx([2e-6] * steps, abs=2e-9)
            assert sum(steps_s) == pytest.approx(run_s)
        seen = latency.circumstances
        assert (seen.sm_clock_mhz_low, seen.sm_clock_mhz_high) == pytest.approx((1590, 1590), rel=1e-3)
        assert seen.floor_s == pytest.approx(2e-6)
        assert (seen.temperature_c, seen.power_w, seen.power_capped_fraction) == (45, 27.5, 0.0)
        assert gpu.stream_launch_s == pytest.approx((steps + 1) * 4e-6, rel=0.3), "4 us of the host's for each call"
        assert any("kernel by kernel instead of as a graph" in note for note in seen.notes)


def test_what_was_slowed_down_is_taken_again(opened: Open) -> None:
    network, card, clock = residual(), FakeGpu(), Clock()
    with opened(network, card=card, clock=clock, sleep=clock.sleep) as gpu:
        usual = timed(gpu, network)
        card.coming_reasons = [0, HW_SLOWDOWN]  # around the first request
        slowed = timed(gpu, network)
    assert not usual.circumstances.notes[1:-1]
    assert "requests that were slowed down and made again: 1" in slowed.circumstances.notes
    assert clock.slept_s == [0.5]
    assert len(slowed.times.samples_s) == len(usual.times.samples_s)


def test_a_slowdown_that_does_not_end(opened: Open) -> None:
    network, clock = residual(), Clock()
    gpu = opened(network, card=FakeGpu(reasons=HW_SLOWDOWN), clock=clock, sleep=clock.sleep)
    with (
        gpu,
        pytest.raises(NetworkFailure, match=r"network 'residual': the card is slowed down .* this network") as caught,
    ):
        timed(gpu, network)
    assert caught.value.kind is FailureKind.UNSTABLE
    assert sum(clock.slept_s) == pytest.approx(KERNEL_WAITS_S)


@pytest.mark.parametrize("sustained", [False, True])
def test_a_power_cap_counts_and_is_told(opened: Open, sustained: bool) -> None:
    network, clock = residual(), Clock()
    card = FakeGpu(reasons=SW_POWER_CAP)
    with opened(network, card=card, clock=clock, sleep=clock.sleep, sustained=sustained) as gpu:
        seen = timed(gpu, network).circumstances
    assert seen.power_capped_fraction == 1.0
    assert any("the power limit held the clock back in" in note for note in seen.notes)
    assert bool(clock.slept_s) == (not sustained), "rests"


# -- in steady state ---------------------------------------------------------------------------------------------------

STEADY = SteadyRule(window_s=0.002, settle_s=0.001)


def test_a_window_of_runs_back_to_back(opened: Open) -> None:
    """Under its power limit, too, a card is not given rests: that would be no steady state."""
    network, clock = residual(), Clock()
    card = FakeGpu(reasons=SW_POWER_CAP)
    with opened(network, replace(USUAL, kernel_s=1e-4), card=card, clock=clock, sleep=clock.sleep) as gpu:
        found = gpu.steady(random_inputs(network), STEADY, Meter(clock), (), clock, clock.sleep)
    assert found.window.runs >= 0.002 / (len(network.steps) * 1e-4)
    assert found.window.counted_j is not None
    assert found.no_energy == ""
    assert any("the power limit held the clock back in 1 of 1" in note for note in found.notes)
    assert not clock.slept_s


def test_a_window_that_was_slowed_down_is_taken_again(opened: Open) -> None:
    network, card, clock = residual(), FakeGpu(), Clock()
    with opened(network, card=card, clock=clock, sleep=clock.sleep) as gpu:
        card.coming_reasons = [0, HW_SLOWDOWN]
        found = gpu.steady(random_inputs(network), STEADY, None, (), clock, clock.sleep)
        card.reasons = HW_SLOWDOWN
        with pytest.raises(NetworkFailure, match=r"network 'residual': the card is slowed down") as caught:
            gpu.steady(random_inputs(network), STEADY, None, (), clock, clock.sleep)
    assert "requests that were slowed down and made again: 1" in found.notes
    assert clock.slept_s[0] == 0.5
    assert caught.value.kind is FailureKind.UNSTABLE


def test_processes_of_ours_are_no_others(opened: Open) -> None:
    """Networks that wait for their turn are on the card, too."""
    network = residual()
    card = FakeGpu(compute_processes=[FakeProcess(2**22 + 1, "one"), FakeProcess(2**22 + 2, "two")])
    said = []
    with opened(network, card=card) as gpu:
        for own in ((), (2**22 + 1,), (2**22 + 1, 2**22 + 2)):  # larger numbers than any that runs
            notes = gpu.steady(random_inputs(network), STEADY, None, own).notes
            said.append([note for note in notes if "on the card" in note])
    assert said == [["other processes on the card: one, two"], ["other processes on the card: two"], []]


# -- energy ------------------------------------------------------------------------------------------------------------


class Meter:
    """A card that draws 30 W, by its sensor and by its counter; time is that of the parent."""

    name = "NVML"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.refusals: tuple[str, ...] = ()

    def read_j(self) -> float:
        return 30 * self._clock.now_s

    def power_w(self) -> float:
        return 30.0


SHORT = EnergyRule(window_s=0.002, windows=2, settle_s=0.001, idle_s=0.001)


def test_the_energy_of_a_run(opened: Open) -> None:
    network, clock = residual(), Clock()
    with opened(network, replace(USUAL, kernel_s=1e-4)) as gpu:
        energy = gpu.energy(random_inputs(network), Meter(clock), SHORT, clock, clock.sleep)
    assert isinstance(energy, Energy)
    assert len(energy.windows) == 2
    for window in energy.windows:
        assert window.runs >= 0.002 / (len(network.steps) * 1e-4)
        assert window.counted_j is not None
    assert energy.idle_w == pytest.approx(30)


def test_an_energy_that_the_card_does_not_tell(opened: Open) -> None:
    network = residual()
    refusals = {"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED, "nvmlDeviceGetPowerUsage": NOT_SUPPORTED}
    with opened(network) as gpu:
        found = gpu.energy(random_inputs(network), monitor_of(FakeGpu(refusals=refusals)), SHORT)
    assert found == NoEnergy("energy counter: Not Supported; power: Not Supported")
