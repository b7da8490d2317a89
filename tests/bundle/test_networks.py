"""Whole networks in a bundle: what is packed of them is what kernels compute; what is not is found and named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from profiler.artifact import Artifact
from profiler.bundle.box.archive import MANIFEST, Archive
from profiler.bundle.box.manifest import Candidate, Configuration, Kernel, Manifest, artifact_path
from profiler.bundle.box.network_record import NetworkFault, NetworkRound
from profiler.bundle.box.network_run import NetworkDevice, NetworkRunner, opened_network_device
from profiler.bundle.box.packed import Expected, PackedNetwork, bytes_path, description_path
from profiler.bundle.networks import Integers, choices, measured_rows, packed
from profiler.bundle.pack import write
from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import FoundDevice, Vendor
from profiler.devices.nvml import Nvml
from profiler.errors import InvalidFile, InvalidWorkload, ProfilerError
from profiler.hardware import host_cpu
from profiler.lut import store
from profiler.measure import Run
from profiler.measure.rule import StoppingRule
from profiler.network.execute.host_watch import WORKER, HostWatch
from profiler.network.execute.process import NetworkFailure
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.predictor.observation import Observation
from profiler.quantize.spare_bits import SpareBits
from profiler.quantize.stored import pack_activation
from profiler.record import CacheMode, Conditions, FailureKind
from profiler.workload import DType, Epilogue, KernelSpec, Op
from tests.bundle.examples import INSTRUMENT, manifest
from tests.bundle.examples import kernel as invented
from tests.bundle.examples import spec as invented_spec
from tests.devices.fake_nvml import FakeGpu, FakeNvml
from tests.network.integer_drafts import Draft, codeless
from tests.network.test_host_run import Kernels, branches, nibbles, planes, residual
from tests.predictor.invented_lut import lut_row

QUICK = StoppingRule(sample_s=0.001, min_samples=6, max_samples=12, target=1.0, budget_s=1.0)
RUN = Run("run", "0.1.0", "a compiler")
U8, S8, U4, S4 = DType.UINT8, DType.INT8, DType.UINT4, DType.INT4


class Zip:
    """The content of a bundle with one network, to be changed and written."""

    def __init__(self, network: IntegerNetwork, artifacts: Mapping[KernelSpec, Artifact]) -> None:
        own = {spec: artifacts[spec] for spec in {step.spec: None for step in network.steps}}
        made = packed(Integers("uniform int8", 0, network), own)
        self.artifacts = list(own.values())
        self.files = dict(made.files)
        self.configuration = made.configuration

    @property
    def description(self) -> PackedNetwork:
        return PackedNetwork.from_bytes(self.files[description_path(self.configuration.description)])

    def describe(self, description: PackedNetwork) -> None:
        """Replaced, and the manifest with it."""
        data = description.to_bytes()
        self.configuration = replace(self.configuration, description=hashlib.sha256(data).hexdigest())
        self.files[description_path(self.configuration.description)] = data

    def replace_artifact(self, index: int, artifact: Artifact) -> None:
        old = self.artifacts[index].sha256
        self.artifacts[index] = artifact
        steps = tuple(artifact.sha256 if sha256 == old else sha256 for sha256 in self.configuration.steps)
        self.configuration = replace(self.configuration, steps=steps)

    @property
    def manifest(self) -> Manifest:
        kernels = [Kernel(a.spec, ("layer",), False, (Candidate(a.config, 1.0, a.sha256),)) for a in self.artifacts]
        return manifest(tuple(kernels), configurations=(self.configuration,))

    def archive(self, path: Path) -> Archive:
        artifacts = {artifact_path(a.sha256): a.to_bytes() for a in self.artifacts}
        write(path, {MANIFEST: self.manifest.to_bytes(), **artifacts, **self.files})
        return Archive(path)

    def runner(self, path: Path) -> NetworkRunner:
        runner = NetworkRunner(self.archive(path), NetworkDevice(WORKER, HostWatch(host_cpu())))
        runner.rule = QUICK
        return runner


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(tmp_path_factory.mktemp("toolchain"))


@pytest.fixture
def bundled(kernels: Kernels) -> Zip:
    network = branches()
    return Zip(network, kernels.of(network))


# -- what kernels compute ---------------------------------------------------------------------------------------------


@pytest.mark.compile
@pytest.mark.parametrize("network", [residual(), branches(), nibbles(), planes()], ids=lambda network: network.name)
def test_kernels_write_what_was_packed(kernels: Kernels, network: IntegerNetwork, tmp_path: Path) -> None:
    """With slices of concatenations, and odd numbers of 4-bit channels whose spare bits nobody writes."""
    bundled = Zip(network, kernels.of(network))
    runner = bundled.runner(tmp_path / "run.zip")
    steps, nbytes = runner.verify(bundled.configuration)
    assert steps == len(network.steps)
    assert nbytes == sum(step.output.nbytes for step in bundled.description.plan.steps)
    record = runner.round(bundled.configuration, RUN, INSTRUMENT.digest)
    assert isinstance(record, NetworkRound), record
    assert [step.kernel for step in record.steps] == [step.spec.key for step in network.steps]
    assert [step.artifact_sha256 for step in record.steps] == list(bundled.configuration.steps)
    assert (record.configuration, record.verified_bytes) == ("uniform int8", nbytes)
    assert 0 < min(record.samples_s) < 0.1
    assert len(record.samples_s) >= 6
    assert record.circumstances.sm_clock_mhz_low is not None


@pytest.mark.compile
def test_every_step_that_is_not_as_expected_is_named(bundled: Zip, tmp_path: Path) -> None:
    sound = bundled.description
    for index, step in enumerate(sound.plan.steps):
        wrong = [*sound.steps]
        wrong[index] = Expected("ab" * 32)
        bundled.describe(replace(sound, steps=tuple(wrong)))
        runner = bundled.runner(tmp_path / "run.zip")
        with pytest.raises(NetworkFailure, match=f"step {index}, layer '{step.layer}', kernel ") as caught:
            runner.verify(bundled.configuration)
        assert (caught.value.kind, caught.value.step) == (FailureKind.WRONG_OUTPUT, index)
        assert sound.plan.kernels[step.kernel] in str(caught.value)


@pytest.mark.compile
def test_outputs_of_all_steps_in_a_row_are_compared(bundled: Zip, tmp_path: Path) -> None:
    sound = bundled.description
    for index, value in enumerate(sound.plan.outputs):
        wrong = [*sound.outputs]
        wrong[index] = Expected("ab" * 32)
        bundled.describe(replace(sound, outputs=tuple(wrong)))
        record = bundled.runner(tmp_path / "run.zip").round(bundled.configuration, RUN, INSTRUMENT.digest)
        assert isinstance(record, NetworkFault)
        assert (record.kind, record.step) == (FailureKind.WRONG_OUTPUT, None)
        assert f"each step by itself is right, but '{value.name}' is not when all of them" in record.message


@pytest.mark.compile
def test_a_kernel_that_computes_something_else_is_named(kernels: Kernels, tmp_path: Path) -> None:
    """The second of two convolutions runs the first one's code, which clamps at zero."""
    draft = Draft(seed=4)
    x = draft.input(5, 5, 8, U8)
    network = draft.network([draft.conv(draft.conv(x, 8), 8, output=S8, epilogue=Epilogue.REQUANT)])
    bundled = Zip(network, kernels.of(network))
    first, second = bundled.artifacts
    bundled.replace_artifact(1, replace(second, code=first.code, entry=first.entry))
    record = bundled.runner(tmp_path / "run.zip").round(bundled.configuration, RUN, INSTRUMENT.digest)
    assert isinstance(record, NetworkFault)
    assert (record.kind, record.step) == (FailureKind.WRONG_OUTPUT, 1)
    assert f"network 'made up, uniform int8', step 1, layer 'layer1', kernel {second.spec.key}" in record.message


@pytest.mark.compile
def test_a_kernel_that_does_not_load_is_a_failure(bundled: Zip, tmp_path: Path) -> None:
    bundled.replace_artifact(0, replace(bundled.artifacts[0], code=b"no code"))
    record = bundled.runner(tmp_path / "run.zip").round(bundled.configuration, RUN, INSTRUMENT.digest)
    assert isinstance(record, NetworkFault)
    assert record.kind is FailureKind.LAUNCH


def test_a_worker_that_was_replaced_is_no_load_of_others() -> None:
    """A kernel may end the worker of kernels; the process behind it is ours as well."""
    device = mock.create_autospec(CudaDevice, instance=True, worker_pid=5)
    card = FakeGpu()
    found = FoundDevice("t4", card.name, index=0, uuid=card.uuid, pci_bus_id=card.pci_bus_id)
    nvml = FakeNvml([card])
    with opened_network_device(found, device, Vendor(Nvml(load=lambda: nvml))) as place:
        assert set(place.own_processes()) == {os.getpid(), 5}
        device.worker_pid = 6
        assert set(place.own_processes()) == {os.getpid(), 6}


# -- what is packed ---------------------------------------------------------------------------------------------------


def small() -> IntegerNetwork:
    draft = Draft(seed=5)
    x = draft.input(3, 3, 5, S4)
    return draft.network([draft.conv(x, 7, 3, output=U4, weight=S4)])


def test_the_oracles_values_travel_as_digests_alone() -> None:
    network = small()
    bundled = Zip(network, codeless(network))
    (inputs,) = (bundled.files[bytes_path(bundled.configuration.inputs)],)
    value = network.value(network.inputs[0])
    low, high = np.frombuffer(inputs, np.uint8) & 15, np.frombuffer(inputs, np.uint8) >> 4
    pairs = np.stack([low, high], axis=-1).reshape(3, 3, 6)[..., :5].astype(np.int8)
    given = np.where(pairs > 7, pairs - 16, pairs).reshape(value.shape).astype(np.int8)
    assert len(np.unique(given)) > 3
    expected = oracle_run(network, {network.inputs[0]: given})["v1"]
    stored = pack_activation(expected, U4).tobytes()
    assert bundled.description.steps == (Expected(hashlib.sha256(stored).hexdigest()),)
    assert bundled.description.outputs == bundled.description.steps
    assert all(stored not in data for data in bundled.files.values())


def test_spare_bits_are_known_where_a_concatenation_leaves_them() -> None:
    network = nibbles()
    description = Zip(network, codeless(network)).description
    spare = [expected.spare for expected in description.steps]
    odd = SpareBits(7, 4)  # of 13 channels
    assert spare == [odd if step.spec.workload.op is Op.CONCAT else SpareBits() for step in network.steps]
    assert [expected.spare for expected in description.outputs] == [SpareBits(), odd, SpareBits()]
    network = planes()
    description = Zip(network, codeless(network)).description
    spare = [expected.spare for expected in description.steps if expected.spare.bits]
    assert spare == [SpareBits(8, 35)] * 2 + [SpareBits(8, 24)]  # ahead of the last slices, which clear the rest
    assert not any(expected.spare.bits for expected in description.outputs)


def test_the_same_network_gives_the_same_bytes_and_shares_what_is_the_same() -> None:
    network = small()
    first, second = (Zip(network, codeless(network)) for _ in range(2))
    assert (first.files, first.manifest) == (second.files, second.manifest)
    draft = Draft(seed=6)  # other parameters
    x = draft.input(3, 3, 5, S4)
    other = draft.network([draft.conv(x, 7, 3, output=U4, weight=S4)])
    third = Zip(other, codeless(other))
    assert first.configuration.inputs == third.configuration.inputs
    assert first.configuration.parameters != third.configuration.parameters


def test_a_description_survives_its_file() -> None:
    network = nibbles()
    description = Zip(network, codeless(network)).description
    assert PackedNetwork.from_bytes(description.to_bytes()) == description


# -- what was changed on its way --------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


@pytest.mark.parametrize("part", ["description", "parameters", "inputs"])
@pytest.mark.parametrize("change", [flipped, lambda data: b"", lambda data: data + b"\0", None])
def test_what_the_manifest_does_not_know_is_refused(
    tmp_path: Path, part: str, change: Callable[[bytes], bytes] | None
) -> None:
    network = small()
    bundled = Zip(network, codeless(network))
    path = {"description": description_path, "parameters": bytes_path, "inputs": bytes_path}[part]
    name = path(getattr(bundled.configuration, part))
    data = bundled.files.pop(name)
    if change is not None:
        bundled.files[name] = change(data)
    archive = bundled.archive(tmp_path / "run.zip")
    said = "is another one than the manifest says" if change is not None else "is missing or damaged"
    with pytest.raises(InvalidFile, match=said):
        archive.network(bundled.configuration)


def fewer_steps(bundled: Zip) -> Configuration:
    return replace(bundled.configuration, steps=bundled.configuration.steps[:-1])


def other_kernels(bundled: Zip) -> Configuration:
    return replace(bundled.configuration, steps=bundled.configuration.steps[::-1])


def short_parameters(bundled: Zip) -> Configuration:
    return replace(bundled.configuration, parameters=bundled.configuration.inputs)


def other_inputs(bundled: Zip) -> Configuration:
    return replace(bundled.configuration, inputs=bundled.configuration.parameters)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (fewer_steps, "has other steps than the manifest says"),
        (other_kernels, "its kernels are not those of its plan"),
        (short_parameters, "bytes of parameters, not"),
        (other_inputs, "bytes of inputs, not"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: Callable[[Zip], Configuration], said: str
) -> None:
    network = residual()
    bundled = Zip(network, codeless(network))
    bundled.configuration = change(bundled)
    archive = bundled.archive(tmp_path / "run.zip")
    with pytest.raises(InvalidFile, match=said):
        archive.network(bundled.configuration)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"steps": []},
        {"outputs": [{"sha256": "x", "spare": {"every": 0, "bits": 0}}]},
        {"steps": [{"sha256": "ab" * 32, "spare": {"every": 5, "bits": 4}}]},
        {"steps": [{"sha256": "ab" * 32, "spare": {"every": 4, "bits": 32}}]},
        {"steps": [{"sha256": "ab" * 32, "spare": {"every": 1, "bits": 0.5}}]},
        {"plan": None},
        {"plan": {"kernels": 5}},
    ],
)
def test_a_description_with_a_wrong_value_is_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    network = small()
    bundled = Zip(network, codeless(network))
    data = json.dumps({**json.loads(bundled.description.to_bytes()), **change}).encode()
    bundled.configuration = replace(bundled.configuration, description=hashlib.sha256(data).hexdigest())
    bundled.files[description_path(bundled.configuration.description)] = data
    archive = bundled.archive(tmp_path / "run.zip")
    with pytest.raises(InvalidFile, match="is not a network: ") as caught:
        archive.network(bundled.configuration)
    assert str(caught.value).isprintable()


# -- what the user names ----------------------------------------------------------------------------------------------


def test_names_of_networks(tmp_path: Path) -> None:
    assert [choice.name for choice in choices(["uniform:int8", " Uniform:INT4 "])] == ["uniform int8", "uniform int4"]
    with pytest.raises(ProfilerError, match="two are called 'uniform int8'"):
        choices(["uniform:int8", "uniform:INT8"])
    with pytest.raises(InvalidWorkload, match="unknown precision 'int9'"):
        choices(["uniform:int9"])
    with pytest.raises(InvalidFile, match=r"none\.json: cannot be read"):
        choices([str(tmp_path / "none.json")])


def test_a_table_of_another_device_is_refused(tmp_path: Path) -> None:
    conditions = Conditions(1, CacheMode.NETWORK)
    row = lut_row(Observation(invented_spec(), 1e-6, 0.001), conditions)
    store.write(tmp_path / "lut.csv", [replace(row, config="c0")])
    assert [found.spec for found in measured_rows(tmp_path / "lut.csv", row.device, conditions)] == [invented_spec()]
    assert measured_rows(tmp_path / "lut.csv", row.device, Conditions(1, CacheMode.HOT)) == ()
    with pytest.raises(InvalidFile, match=rf"\({row.device}\), and the bundle for h200"):
        measured_rows(tmp_path / "lut.csv", "h200", conditions)


def test_a_network_of_a_kernel_that_is_no_candidate_is_no_manifest() -> None:
    stranger = Configuration("a", 0, ("ab" * 32,), "00" * 32, "00" * 32, "00" * 32)
    with pytest.raises(ValueError, match="runs a kernel that is no candidate"):
        manifest((invented(invented_spec()),), configurations=(stranger,))
