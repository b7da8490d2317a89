"""Whole networks on this CPU: bit for bit with kernels of all operators, and everything that can go wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.allocation.bits_file import TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.artifact import ArgSpec, Artifact, Role
from profiler.errors import UnsupportedModel
from profiler.frontend import load_network
from profiler.hardware import host_cpu
from profiler.kernels.cpu.build import Toolchain, build
from profiler.kernels.cpu.target import target_of
from profiler.measure.rule import StoppingRule
from profiler.network.calibrate import calibrate
from profiler.network.device_network import WrongStep
from profiler.network.execute.process import NetworkFailure
from profiler.network.host_run import HostNetwork
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.random_weights import random_images, random_weights
from profiler.network.steady import SteadyRule
from profiler.record import FailureKind
from profiler.space.cpu_default import default_config
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Network, Op, Precision
from tests.devices.c_kernels import SPEC, artifact, needs_compiler
from tests.network.integer_drafts import Draft, codeless, random_inputs

Array = npt.NDArray[Any]
U8, S8, U4, S4, U2, I32 = DType.UINT8, DType.INT8, DType.UINT4, DType.INT4, DType.UINT2, DType.INT32
QUICK = StoppingRule(sample_s=0.001, min_samples=6, max_samples=12, target=1.0, budget_s=1.0)


# -- bit for bit, with kernels of our compiler ------------------------------------------------------------------------


class Kernels:
    """Compiled when they are first wanted."""

    def __init__(self, folder: Path) -> None:
        self._toolchain = Toolchain.prepare(folder)
        self._cpu = host_cpu()
        self._built: dict[KernelSpec, Artifact] = {}

    def of(self, network: IntegerNetwork) -> Mapping[KernelSpec, Artifact]:
        for spec in {step.spec: None for step in network.steps}:
            if spec not in self._built:
                config = default_config(spec, self._cpu)
                self._built[spec] = build(spec, config, target_of(self._cpu), 1, self._toolchain)
        return self._built


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(tmp_path_factory.mktemp("toolchain"))


def residual() -> IntegerNetwork:
    """A 3-channel stem, a fused addition and a separate one of accumulators, both pools, logits; two images."""
    draft = Draft(seed=1, batch=2)
    x = draft.input(9, 9, 3, S8)
    stem = draft.max_pool(draft.conv(x, 17, 3))
    a = draft.conv(stem, 17, 3)
    fused = draft.conv(a, 17, 1, epilogue=Epilogue.ADD_REQUANT_RELU, residual=stem)
    sums = draft.conv(fused, 17, 3, output=I32, epilogue=Epilogue.BIAS)
    added = draft.add(sums, fused)
    return draft.network([draft.dense(draft.avg_pool(added), 10)], "residual")


def branches() -> IntegerNetwork:
    """Slices of 16, 5 and 11 channels, one of them converted from INT4, read by two; a grouped and a depthwise one."""
    draft = Draft(seed=2)
    x = draft.input(7, 5, 12, U8)
    a, b, c = draft.conv(x, 16), draft.conv(x, 5, 3), draft.conv(draft.convert(x, U4), 11, 3, weight=S4, output=U4)
    whole = draft.concat([a, b, c])
    depthwise = draft.conv(whole, 32, 3, groups=32)
    grouped = draft.conv(whole, 32, 3, groups=4, output=S8, epilogue=Epilogue.REQUANT)
    return draft.network([draft.add(depthwise, grouped), draft.dense(whole, 6)], "branches")


def nibbles() -> IntegerNetwork:
    """INT4 with odd numbers of channels all the way, behind a concatenation too, whose last nibble nobody writes."""
    draft = Draft(seed=3)
    x = draft.input(6, 7, 5, S4)
    a = draft.conv(x, 6, 3, output=U4, weight=S4)
    b = draft.conv(x, 7, 3, output=U4, weight=S4, stride=1)
    whole = draft.concat([a, b], U4)
    read = draft.conv(whole, 9, 3, output=U4, weight=S4, epilogue=Epilogue.REQUANT)
    again = draft.conv(whole, 9, output=U4, weight=S4, epilogue=Epilogue.ADD_REQUANT_RELU, residual=read)
    pooled = draft.max_pool(draft.add(again, read, U4))
    converted = draft.convert(draft.avg_pool(pooled, U4), S8)
    return draft.network([draft.dense(converted, 3, weight=S4), whole, draft.add(whole, whole, U4)], "nibbles")


def planes() -> IntegerNetwork:
    """Bit planes behind concatenations of 29 and 40 channels, whose last slices clear the end of the words; the first
    slice of the other does so, too, ahead of the next."""
    draft = Draft(seed=4)
    x = draft.input(6, 7, 5, S8)
    a, b, c = draft.conv(x, 16, output=U2), draft.conv(x, 8, 3), draft.conv(x, 5, output=U2)
    whole = draft.concat([a, b, c], U2)
    read = draft.conv(whole, 32, 3, weight=DType.INT1, output=DType.UINT1)
    again = draft.concat([b, read], DType.UINT1)
    logits = draft.dense(draft.avg_pool(draft.conv(again, 8, weight=DType.INT1)), 3)
    return draft.network([logits, whole, again], "planes")


@pytest.mark.compile
@pytest.mark.parametrize("network", [residual(), branches(), nibbles(), planes()], ids=lambda network: network.name)
def test_every_step_is_the_oracles(kernels: Kernels, network: IntegerNetwork) -> None:
    inputs = random_inputs(network)
    expected = oracle_run(network, inputs)
    with HostNetwork(network, kernels.of(network)) as host:
        verified = host.verify(inputs)
        assert verified.steps == len(network.steps)
        for outputs in (verified.outputs, host.run(inputs), host.run(inputs)):
            assert list(outputs) == list(network.outputs)
            for name, found in outputs.items():
                np.testing.assert_array_equal(found, expected[name])
                assert found.dtype == expected[name].dtype
                assert len(np.unique(found)) > 1
        others = random_inputs(network, seed=2)
        again = host.run(others)
        for name, values in oracle_run(network, others).items():
            if name in again:
                np.testing.assert_array_equal(again[name], values)


@pytest.mark.compile
def test_samples_of_runs_and_steps(kernels: Kernels) -> None:
    network = branches()
    with HostNetwork(network, kernels.of(network)) as host:
        latency = host.latency(random_inputs(network), QUICK)
    times = latency.times
    assert len(times.samples_s) >= 6
    assert len(times.steps_s) == len(network.steps)
    assert {len(samples) for samples in times.steps_s} == {len(times.marked_s)}
    assert min(times.samples_s) > 0
    for run_s, steps_s in zip(times.marked_s, zip(*times.steps_s, strict=True), strict=True):
        assert min(steps_s) > 0
        assert sum(steps_s) <= run_s
    assert latency.circumstances.sm_clock_mhz_low is not None


@pytest.mark.compile
def test_a_wrong_parameter_is_found_in_its_layer(kernels: Kernels) -> None:
    """The comparison is with the network that was asked for: kernels that get other weights do not pass."""
    network = residual()
    host = HostNetwork(network, kernels.of(network))
    place = host.plan.steps[3].args[1]
    assert network.steps[3].spec.workload.op is Op.CONV2D
    wrong = bytearray(host._process._parameters)
    wrong[place.offset] ^= 1
    host._process._parameters = bytes(wrong)
    with (
        host,
        pytest.raises(WrongStep, match=r"step 3, layer 'layer3', kernel conv2d.*: \d+ of .* channel") as caught,
    ):
        host.verify(random_inputs(network))
    assert caught.value.step == 3
    assert caught.value.difference.at is not None
    assert caught.value.difference.at[3] == 0  # the first byte of the packed weights is the first channel's


def random_deployment(network: Network, seed: int) -> Deployment:
    """Any tensor in INT8 or INT4, some layers with a copy in the other one, some additions by themselves."""
    rng = np.random.default_rng(seed)
    either = {tensor: (INT8, INT4)[rng.integers(2)] for tensor in map(network.type_owner, names(network))}
    tensors = {name: either[network.type_owner(name)] for name in names(network)}
    layers, copies = {}, {}
    for layer in network.weighted_layers:
        source: Precision = tensors[layer.inputs[0]]
        layers[layer.name] = source
        if rng.random() < 0.3:
            layers[layer.name] = other = INT4 if source is INT8 else INT8
            copies.setdefault((layer.inputs[0], source.name, other.name), []).append(layer.name)
    conversions = tuple(TensorConversion(*key, tuple(readers)) for key, readers in copies.items())
    additions = [layer.name for layer in network.layers if layer.workload.op is Op.ADD]
    return Deployment(layers, tensors, conversions, frozenset(name for name in additions if rng.random() < 0.5))


def names(network: Network) -> list[str]:
    return [tensor.name for tensor in network.tensors]


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.parametrize(("model", "additions"), [("resnet18", 8), ("resnet50", 16), ("inceptionv3", 0)])
def test_whole_networks_in_mixed_precision(kernels: Kernels, model: str, additions: int) -> None:
    network = load_network(model, 1)
    assert len(network.fusions()) == additions
    weights, images = random_weights(network, 0), random_images(network, 2, 0)
    trained = TrainedNetwork(network, weights, calibrate(network, weights, images))
    integers = integer_network(trained, random_deployment(network, 1))
    ops = {step.spec.workload.op for step in integers.steps}
    assert ops >= {Op.CONVERT, Op.MAX_POOL, Op.AVG_POOL, Op.ADD if additions else Op.CONCAT}
    with HostNetwork(integers, kernels.of(integers)) as host:
        verified = host.verify(random_inputs(integers))
        (logits,) = verified.outputs.values()
        assert len(np.unique(logits)) > 300
        assert host.plan.arena_nbytes < 1.1 * host.plan.needed_nbytes < 0.5 * host.plan.unshared_nbytes


# -- what goes wrong, with kernels in C -------------------------------------------------------------------------------


def pools(count: int = 1) -> IntegerNetwork:
    """So many max pools of one input."""
    draft = Draft()
    x = draft.input(16, 16, 32, S8)
    return draft.network([draft.max_pool(x) for _ in range(count)], "pools")


def host_of(body: str, count: int = 1, **options: Any) -> HostNetwork:
    needs_compiler()
    network = pools(count)
    assert network.steps[0].spec == SPEC
    return HostNetwork(network, {SPEC: artifact(body)}, **options)


def failure(host: HostNetwork, call: str = "verify") -> NetworkFailure:
    with host, pytest.raises(NetworkFailure) as caught:
        getattr(host, call)(random_inputs(pools()))
    return caught.value


@pytest.mark.parametrize("body", ["right", "prints", "uses_workspace", "aligned"])
def test_kernels_in_c(body: str) -> None:
    inputs = random_inputs(pools(2))
    expected = inputs["v0"].reshape(8, 2, 8, 2, 32).max(axis=(1, 3))[None]
    with host_of(body, 2) as host:
        verified = host.verify(inputs)
        assert (verified.steps, verified.nbytes) == (2, 4096)
        for found in (verified.outputs, host.run(inputs)):
            np.testing.assert_array_equal(found["v1"], expected)
            np.testing.assert_array_equal(found["v2"], expected)
        assert len(host.latency(inputs, QUICK).times.steps_s) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("wrong", "1 of 2048 bytes of 'v1' differ; the first is byte 17, image 0, row 0, column 0, channel 17: "),
        ("pool(a); ((int8_t*)a[1])[1234] ^= 1;", "byte 1234, image 0, row 4, column 6, channel 18: "),
        ("unfinished", "bytes of 'v1' differ; the first is byte 0"),
        ("accumulates", "byte 9"),
        ("behind_output", "wrote outside of its output"),
        ("ahead_of_output", "wrote outside of its output"),
        ("into_input", "wrote outside of its output"),
        ("pool(a); ((int8_t*)a[0])[-3000] ^= 1;", "wrote outside of the activations' memory"),
    ],
)
def test_wrong_outputs(body: str, said: str) -> None:
    found = failure(host_of(body))
    assert found.kind is FailureKind.WRONG_OUTPUT
    assert found.step == 0
    assert said in str(found)
    assert str(found).startswith(f"network 'pools', step 0, layer 'layer0', kernel {SPEC.key}: ")


def test_the_step_that_is_wrong_is_named() -> None:
    found = failure(host_of("static int calls; pool(a); if (++calls == 2) ((int8_t*)a[1])[17] ^= 1;", 2))
    assert found.step == 1
    assert "layer 'layer1'" in str(found)
    assert isinstance(found, WrongStep)
    assert (found.difference.value, found.difference.at) == ("v2", (0, 0, 0, 17))


def test_an_output_that_nobody_wrote_over_the_same_one() -> None:
    """The second pool does nothing. Its memory is that of the first one, which holds what it should have written."""
    draft = Draft()
    x = draft.input(16, 16, 32, S8)
    draft.max_pool(x)
    network = draft.network([draft.max_pool(x)])
    host = HostNetwork(network, {SPEC: artifact("static int calls; if (++calls != 2) pool(a);")})
    first, second = host.plan.steps
    assert first.output == second.output
    with host, pytest.raises(NetworkFailure, match=r"layer 'layer1'.* bytes of 'v2' differ"):
        host.verify(random_inputs(network))


def test_right_by_itself_and_wrong_in_a_row() -> None:
    found = failure(host_of("static int calls; pool(a); if (++calls == 2) ((int8_t*)a[1])[17] ^= 1;"))
    assert (found.kind, found.step) == (FailureKind.WRONG_OUTPUT, None)
    assert "each step by itself is right, but 'v1' is not" in str(found)


def test_wrong_when_it_was_timed() -> None:
    with host_of("tires") as host:
        host.verify(random_inputs(pools()))
        with pytest.raises(NetworkFailure, match="'v1' after the timed runs is not what it was after the first one"):
            host.latency(random_inputs(pools()), QUICK)


@pytest.mark.parametrize("call", ["verify", "run"])
@pytest.mark.parametrize(
    ("body", "named"), [("segfaults", "SIGSEGV"), ("illegal", "SIG"), ("exits", "exit status 3"), ("killed", "SIGKILL")]
)
def test_crashes(body: str, named: str, call: str) -> None:
    host = host_of(body)
    found = failure(host, call)
    assert found.kind is FailureKind.CRASH
    assert named in str(found)
    assert ("layer 'layer0'" in str(found)) == (call == "verify")
    assert host.worker_pid is None


@pytest.mark.alone
def test_hangs() -> None:
    assert failure(host_of("hangs", time_limit_s=0.5)).kind is FailureKind.TIMEOUT
    assert failure(host_of("spins", run_limit_s=0.5), "run").kind is FailureKind.TIMEOUT


@pytest.mark.alone
def test_a_window_of_steady_state() -> None:
    """On the clock of this machine: what is counted fits into it."""
    with host_of("right", 2) as host:
        found = host.steady(random_inputs(pools(2)), SteadyRule(window_s=0.1, settle_s=0.0))
        assert found.window.duration_s >= 0.1
        assert found.window.runs > 1
        assert (found.window.counted_j, found.no_energy) == (None, "")


def test_wrong_behind_a_window() -> None:
    body = "static int calls; pool(a); if (++calls > 1) ((int8_t*)a[1])[17] ^= 1;"
    with host_of(body) as host, pytest.raises(NetworkFailure, match="is not what it was after the first one") as caught:
        host.steady(random_inputs(pools()), SteadyRule(window_s=0.01, settle_s=0.0))
    assert caught.value.kind is FailureKind.WRONG_OUTPUT


def test_hangs_while_timed() -> None:
    body = "static int calls; if (++calls == 4) for (;;) pause(); pool(a);"
    with host_of(body, run_limit_s=0.5) as host, pytest.raises(NetworkFailure, match="no answer within") as caught:
        host.latency(random_inputs(pools()), QUICK)
    assert caught.value.kind is FailureKind.TIMEOUT


def test_the_worker_is_replaced() -> None:
    inputs = random_inputs(pools())
    with host_of("right") as host:
        first = host.worker_pid
        before = host.run(inputs)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        np.testing.assert_array_equal(host.run(inputs)["v1"], before["v1"])
        assert host.worker_pid not in (first, None)
    assert host.worker_pid is None
    host.close()


def test_kernels_that_cannot_be_loaded() -> None:
    needs_compiler()
    old = "int lowbit_abi(void) { return 1; } long lowbit_clock_hz(void) { return 1; }"
    unloadable = {
        "no function 'lowbit_abi'": artifact(runtime=False),
        "runtime version 9, not 1": artifact("", runtime=False, extra="int lowbit_abi(void) { return 9; }"),
        "built by a version that does not run networks; build them again": artifact(runtime=False, extra=old),
        "no function 'no_such_entry'": artifact(entry="no_such_entry"),
        "the code does not load": replace(artifact(), code=b"\x7fELF nothing"),
        "is built for 2 threads; networks run on one": artifact(threads=2),
        "uses no_such_feature, which this CPU lacks": artifact(features=("no_such_feature",)),
    }
    for said, kernel in unloadable.items():
        with pytest.raises(NetworkFailure, match=said) as caught, HostNetwork(pools(), {SPEC: kernel}):
            pass
        assert caught.value.kind is FailureKind.LAUNCH


def test_old_kernels_run_beside_one_that_has_the_loop() -> None:
    """Artifacts of an earlier version need no rebuild, as long as one is new."""
    needs_compiler()
    old = "int lowbit_abi(void) { return 1; } long lowbit_clock_hz(void) { return 1; }"
    draft = Draft()
    x = draft.input(16, 16, 32, S8)
    pooled = draft.max_pool(x)
    copied = draft.convert(pooled, S8)
    network = draft.network([copied])
    copy = network.steps[1].spec
    network.steps[1].parameters["multiplier"][:], network.steps[1].parameters["shift"][:] = 1 << 30, 30
    args = (
        ArgSpec("input", Role.INPUT, 2048),
        ArgSpec("multiplier", Role.PARAMETER, 128),
        ArgSpec("shift", Role.PARAMETER, 128),
        ArgSpec("output", Role.OUTPUT, 2048),
    )
    new = artifact("memcpy(a[3], a[0], 2048);", spec=copy, args=args)
    bad = artifact("memcpy(a[3], a[0], 2048); ++*(int*)a[1];", spec=copy, args=args)
    with HostNetwork(network, {SPEC: artifact(runtime=False, extra=old), copy: new}) as host:
        assert host.verify(random_inputs(network)).steps == 2
    with (
        HostNetwork(network, {SPEC: artifact(), copy: bad}) as host,
        pytest.raises(NetworkFailure, match="into the par"),
    ):
        host.verify(random_inputs(network))


def test_inputs_that_do_not_fit() -> None:
    needs_compiler()
    host = HostNetwork(pools(), {SPEC: artifact()})
    good = random_inputs(pools())["v0"]
    for given, said in (
        ({}, "input 'v0' is missing"),
        ({"v0": good[:, :8]}, "shape"),
        ({"v0": good.astype(np.float32)}, "integers"),
        ({"v0": good.astype(np.int64) + 200}, "out of the range of int8"),
    ):
        for call in (host.run, host.verify, host.latency):
            with pytest.raises(ValueError, match=said):
                call(given)
    assert host.worker_pid is None


def test_values_that_no_kernel_reads_as_they_lie() -> None:
    draft = Draft()
    network = draft.network([draft.dense(draft.input(2, 2, 3, U4), 5)])
    with pytest.raises(UnsupportedModel, match=r"pixels of \d+ channels in uint4 cannot be read as one row"):
        HostNetwork(network, codeless(network))
