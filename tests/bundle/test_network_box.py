"""Whole networks from home to a box and back: on this CPU as a user runs it, and on a pretended T4."""

from __future__ import annotations

import hashlib
import json
import platform
import signal
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from profiler.allocation import bits_file
from profiler.allocation.calibration import read_end_to_end
from profiler.bundle.box import plan, session, wheels
from profiler.bundle.box.manifest import Manifest
from profiler.bundle.box.network_record import NetworkFault, NetworkRound
from profiler.bundle.box.network_run import NetworkRunner
from profiler.bundle.box.plan import ROUNDS
from profiler.bundle.box.results import Reason, Results, parse
from profiler.bundle.box.start import main
from profiler.bundle.ingest import ingest
from profiler.bundle.pack import BundleRequest, BundleResult, bundle, write
from profiler.devices.discover import Vendor
from profiler.devices.graphs_package import PACKAGE
from profiler.devices.nvml import Nvml
from profiler.errors import InvalidFile, ProfilerError
from profiler.frontend import load_network
from profiler.hardware import host_cpu
from profiler.lut import store
from profiler.measure.rule import StoppingRule
from profiler.predictor.observation import Observation
from profiler.record import CacheMode, Conditions, FailureKind
from profiler.space.config import to_text
from profiler.space.cpu import config_space
from profiler.workload import INT8
from tests.allocation.bits_examples import with_a_copy
from tests.bundle.test_run import Box, oldest_python
from tests.devices.fake_cuda_network_worker import network_worker_command
from tests.devices.fake_cuda_scenario import Fault, Scenario
from tests.devices.fake_cuda_worker import worker_command
from tests.devices.fake_nvml import FakeGpu, FakeNvml
from tests.predictor.invented_lut import lut_row
from tests.rehearsal.machine import PRESENT, QUICK

pytestmark = [
    pytest.mark.compile,
    pytest.mark.skipif(platform.system() != "Linux", reason="the host device is Linux only"),
]
ONNX = Path(__file__).parents[1] / "data/tiny_torch.onnx"


def request(folder: Path, device: str = "cpu", **changes: object) -> BundleRequest:
    """INT8 in uniform and with one layer in INT4; one candidate of each kernel."""
    bits_file.save(folder / "mixed.json", with_a_copy(load_network(str(ONNX), 1)))
    asked = BundleRequest(
        model=str(ONNX),
        device=device,
        out=folder / "run.zip",
        configs=1,
        batch=1,
        precisions=(INT8,),
        mixed=False,
        kernels=folder,
        networks=("uniform:int8", str(folder / "mixed.json")),
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> BundleResult:
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("packed")
    made = bundle(request(folder))
    first = made.path.read_bytes()
    assert (bundle(request(folder)).manifest, made.path.read_bytes()) == (made.manifest, first)
    return made


@pytest.fixture
def box(packed: BundleResult, tmp_path: Path) -> Box:
    return Box(tmp_path / "box", packed.path, oldest_python())


def read(path: Path) -> Results:
    return parse(path.read_bytes(), path)


@dataclass(frozen=True)
class Journey:
    """What a box wrote and said: with its kernels alone; killed, when networks came in; at the end of the third run."""

    file: Path
    kernels: Results
    kernels_said: str
    killed: Results
    complete: Results
    complete_said: str


@pytest.fixture(scope="module")
def journey(packed: BundleResult, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Measuring takes most of the time of these tests, so that they look at one file."""
    box = Box(tmp_path_factory.mktemp("journey") / "box", packed.path, oldest_python())
    code, kernels_said, err = box.run("-o", "results.jsonl", "--no-networks")
    assert code == 0, err
    kernels = read(box.results)
    process = box.start("-o", "results.jsonl")
    while process.poll() is None and b'"network":{' not in box.results.read_bytes():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)  # a network was measured, and another one is under way
    process.communicate(timeout=60)
    killed = read(box.results)
    code, complete_said, err = box.run("-o", "results.jsonl")
    assert code == 0, err
    return Journey(box.results, kernels, kernels_said, killed, read(box.results), complete_said)


def changed(source: Path, target: Path, name: str, data: bytes) -> Path:
    """The same bundle with another content of one file."""
    with zipfile.ZipFile(source) as archive:
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    assert name in content
    write(target, {**content, name: data})
    return target


# -- on this CPU ------------------------------------------------------------------------------------------------------


def test_what_is_packed(packed: BundleResult) -> None:
    uniform, mixed_bits = packed.manifest.configurations
    assert (uniform.name, uniform.narrow_layers) == ("uniform int8", 0)
    assert (mixed_bits.name, mixed_bits.narrow_layers) == ("mixed.json", 1)
    assert len(mixed_bits.steps) == len(uniform.steps) + 2  # a conversion, and an addition by itself
    with zipfile.ZipFile(packed.path) as archive:
        networks = [name for name in archive.namelist() if name.startswith("networks/")]
        assert sum(len(archive.read(name)) for name in networks) == packed.networks_bytes
    assert len(networks) == 5  # two plans, two sets of parameters, one input
    first = {kernel.candidates[0].sha256 for kernel in packed.manifest.kernels}
    assert first.issuperset(uniform.steps)
    assert first.issuperset(mixed_bits.steps)
    assert any("ranges are those of noise" in note for note in packed.notes)
    assert any("run with the config that a model holds for the fastest" in note for note in packed.notes)


def test_list_and_check(box: Box) -> None:
    code, out, _ = box.run("--list")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()[1:3]] == ["network uniform int8", "network mixed.json"]
    code, out, err = box.run("--check")
    assert (code, err) == (0, ""), out
    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 11
    assert [line for line in out.splitlines() if "network " in line and "all steps in a row" in line]


def test_measure_and_ingest(journey: Journey, packed: BundleResult, tmp_path: Path) -> None:
    assert Counter(type(r) for r in journey.complete.networks) == {NetworkRound: 2 * ROUNDS}
    uniform, mixed_bits = packed.manifest.configurations
    for line, configuration in zip(journey.complete_said.splitlines(), (uniform, mixed_bits), strict=False):
        assert line.startswith(f"network {configuration.name}: ")
        assert "end to end (95% interval" in line
        assert f", {ROUNDS} rounds of " in line
        assert "; its kernels take" in line

    (taken,) = ingest([journey.file], tmp_path)
    assert taken.header.configurations == 2
    assert taken.end_to_end == tmp_path / "tuning_logs/cpu/end_to_end.csv"
    points = read_end_to_end(taken.end_to_end, taken.header.network, 1, taken.header.fingerprint.short)
    rows = {row.artifact_sha256: row.latency_median_s for row in store.read(tmp_path / "lut/cpu.csv")}
    sums = [sum(rows[artifact] for artifact in c.steps) for c in (mixed_bits, uniform)]
    assert [point.lut_sum_s for point in points] == pytest.approx(sums)  # with one candidate each, all are the best
    assert all(0 < point.latency_s < 0.01 for point in points)


def test_killed_among_networks_it_goes_on_there(journey: Journey) -> None:
    """With kill -9."""
    before, results = journey.killed, journey.complete
    assert before.end is None
    assert 1 <= len(before.networks) < 2 * ROUNDS
    assert results.end is not None
    assert results.end.reason is Reason.COMPLETE
    assert results.networks[: len(before.networks)] == before.networks
    assert results.records == journey.kernels.records, "no kernel is measured again"
    assert Counter(r.configuration for r in results.networks) == {"uniform int8": ROUNDS, "mixed.json": ROUNDS}


def test_networks_can_be_left_out(journey: Journey, box: Box) -> None:
    assert "all is measured" in journey.kernels_said
    assert journey.kernels.networks == ()
    code, out, _ = box.run("--check", "--no-networks")
    assert (code, len(out.splitlines())) == (0, 8)


@pytest.mark.parametrize("part", ["description", "parameters", "inputs"])
def test_what_was_edited_is_refused_ahead_of_any_launch(packed: BundleResult, tmp_path: Path, part: str) -> None:
    configuration = packed.manifest.configurations[1]
    name = f"networks/{getattr(configuration, part)}.{'json' if part == 'description' else 'bin'}"
    with zipfile.ZipFile(packed.path) as archive:
        data = archive.read(name)
    edited = changed(packed.path, tmp_path / "edited.zip", name, data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    box = Box(tmp_path / "box", edited, oldest_python())
    code, out, _ = box.run("--check")
    assert code == 2
    (line,) = [line for line in out.splitlines() if line.startswith("NO  networks")]
    assert line.endswith(f"{name} is another one than the manifest says; bundle it again")
    code, out, err = box.run("-o", "results.jsonl")
    assert (code, err.splitlines()[-1].startswith("error: ")) == (2, True)
    assert f"{name} is another one than the manifest says" in err.splitlines()[-1]
    assert not box.results.exists()


def test_a_wrong_answer_is_named_and_stops_nothing_else(packed: BundleResult, tmp_path: Path) -> None:
    """A digest that the oracle did not say, by somebody who knows how to write manifests. All in one run."""
    uniform, other = packed.manifest.configurations
    with zipfile.ZipFile(packed.path) as archive:
        body = json.loads(archive.read(f"networks/{uniform.description}.json"))
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    body["steps"][4]["sha256"] = "ab" * 32
    data = json.dumps(body).encode()
    wrong = replace(uniform, description=hashlib.sha256(data).hexdigest())
    made = replace(packed.manifest, configurations=(wrong, other))
    content[f"networks/{wrong.description}.json"] = data
    write(tmp_path / "wrong.zip", {**content, "manifest.json": made.to_bytes()})
    box = Box(tmp_path / "box", tmp_path / "wrong.zip", oldest_python())
    step = body["plan"]["steps"][4]
    named = f"step 4, layer '{step['layer']}'"
    code, out, _ = box.run("--check")
    assert code == 2
    (line,) = [line for line in out.splitlines() if line.startswith("NO")]
    assert named in line
    code, out, err = box.run("-o", "results.jsonl")
    assert code == 0, err
    results = read(box.results)
    assert results.end is not None
    assert (results.end.reason, results.end.failures) == (Reason.COMPLETE, 1)
    assert {record.spec for record in results.records} == {kernel.spec for kernel in made.kernels}
    (fault,) = [record for record in results.networks if isinstance(record, NetworkFault)]
    assert (fault.configuration, fault.kind, fault.step) == ("uniform int8", FailureKind.WRONG_OUTPUT, 4)
    assert named in fault.message
    assert body["plan"]["kernels"][step["kernel"]] in fault.message
    assert f"network uniform int8: failed (wrong_output): {fault.message}" in out
    assert {r.configuration for r in results.networks if isinstance(r, NetworkRound)} == {"mixed.json"}


# -- with the configs of a table --------------------------------------------------------------------------------------


def test_kernels_get_the_configs_of_the_table(packed: BundleResult, tmp_path: Path) -> None:
    """Also a config that is none of the best modelled ones, which is then the first candidate."""
    cpu = host_cpu()
    by_artifact = {c.sha256: (k.spec, c.config) for k in packed.manifest.kernels for c in k.candidates}
    spec, usual = by_artifact[packed.manifest.configurations[0].steps[0]]
    config = next(text for text in map(to_text, config_space(spec, cpu.isa, 1)) if text != usual)
    row = lut_row(Observation(spec, 1e-6, 0.001), Conditions(1, CacheMode.NETWORK))
    store.write(tmp_path / "lut.csv", [replace(row, device=cpu.slug, config=config)])
    asked = request(tmp_path, networks=("uniform:int8",), lut=tmp_path / "lut.csv", kernels=packed.path.parent)
    made = bundle(asked)
    (kernel,) = [kernel for kernel in made.manifest.kernels if kernel.spec == spec]
    assert [candidate.config for candidate in kernel.candidates] == [config, usual]
    assert made.manifest.configurations[0].steps[0] == kernel.candidates[0].sha256
    kernels = len(set(made.manifest.configurations[0].steps))
    note = f"{kernels - 1} of the networks' {kernels} kernels run with the config that a model holds for the fastest"
    assert note in made.notes
    store.write(tmp_path / "lut.csv", [replace(row, device=cpu.slug, config="nonsense")])
    with pytest.raises(InvalidFile, match=r"layer 'conv1': the table's config of kernel .* cannot be used"):
        bundle(asked)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 2}, "a network runs on one thread"),
        ({"skip_unsupported": True}, "a network runs whole or not at all"),
        ({"networks": (), "calibrate": Path("images.npz")}, "--calibrate is of networks"),
        ({"networks": (), "lut": Path("lut.csv")}, "--lut is of networks"),
        ({"lut": Path("none.csv")}, "none.csv"),
        ({"batch": 2}, "mixed.json: is of batch 1, and the network of 2"),
        ({"networks": ("uniform:int8", "uniform:int8")}, "two are called"),
        ({"model": "resnet18"}, "are of network 'tiny_torch', not of 'resnet18'"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    pytest.importorskip("onnx")
    asked = request(tmp_path, **changes)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ProfilerError) as caught:
        bundle(asked)
    assert said in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_the_batch_is_that_of_the_first_bits(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    of_one = tmp_path / "mixed.json"
    asked = request(tmp_path, batch=None, networks=(str(tmp_path / "of_three.json"), str(of_one)))
    bits_file.save(tmp_path / "of_three.json", replace(with_a_copy(load_network(str(ONNX), 1)), batch=3))
    with pytest.raises(InvalidFile, match="is of batch 1, and the network of 3"):
        bundle(asked)


# -- on a pretended T4 ------------------------------------------------------------------------------------------------

T4 = FakeGpu()


@pytest.fixture(scope="module")
def for_a_card(tmp_path_factory: pytest.TempPathFactory) -> BundleResult:
    pytest.importorskip("onnx")
    return bundle(request(tmp_path_factory.mktemp("card"), "t4"))


class Card:
    """A machine that pretends to have a T4."""

    def __init__(self, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.results = folder / "results.jsonl"
        self._folder, self._bundle, self._capsys = folder, bundle, capsys

    def run(self, *arguments: str, scenario: Scenario | None = None) -> tuple[int, str, str]:
        played = scenario or Scenario()
        nvml = FakeNvml([T4])
        vendor = Vendor(
            Nvml(load=lambda: nvml),
            worker_command(played, self._folder / "kernels.json"),
            network_worker_command(played, self._folder / "networks.json"),
            PRESENT,
        )
        code = main(arguments, self._bundle, vendor)
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def card(
    for_a_card: BundleResult, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Card:
    monkeypatch.setattr(wheels, "_missing", lambda modules: [])
    rule = StoppingRule(sample_s=1e-6, min_samples=2, max_samples=2, target=1.0, budget_s=1e-3)
    monkeypatch.setattr(NetworkRunner, "rule", rule)
    monkeypatch.setattr(session, "rules_of", lambda gpu: QUICK)
    monkeypatch.setattr(plan, "ROUNDS", 1)  # the pretended card is slow
    return Card(tmp_path, for_a_card.path, capsys)


def test_a_card_runs_networks_too(card: Card, for_a_card: BundleResult, tmp_path: Path) -> None:
    code, out, _ = card.run("--check")
    assert code == 0, out
    assert out.count("all steps in a row") == 2
    code, out, err = card.run("-o", str(card.results))
    assert code == 0, err
    results = read(card.results)
    assert results.end is not None
    assert (results.end.reason, results.end.failures) == (Reason.COMPLETE, 0)
    assert [r.configuration for r in results.networks] == ["uniform int8", "mixed.json"]
    (taken,) = ingest([card.results], tmp_path / "home")
    assert taken.end_to_end == tmp_path / "home/tuning_logs/t4/end_to_end.csv"
    assert [one.lut_sum_s is not None for one in taken.networks] == [True, True]


def test_a_kernel_that_crashes_the_card_is_named(card: Card, for_a_card: BundleResult) -> None:
    """An illegal access: the network fails, and everything else goes on in a fresh context."""
    uniform = for_a_card.manifest.configurations[0]
    step = next(i for i, a in enumerate(uniform.steps) if a not in for_a_card.manifest.configurations[1].steps)
    scenario = Scenario(faults={uniform.steps[step]: Fault(code=700)})
    code, out, err = card.run("-o", str(card.results), scenario=scenario)
    assert code == 0, err
    (fault,) = [r for r in read(card.results).networks if isinstance(r, NetworkFault)]
    assert (fault.configuration, fault.kind, fault.step) == ("uniform int8", FailureKind.CRASH, step)
    assert {r.configuration for r in read(card.results).networks if isinstance(r, NetworkRound)} == {"mixed.json"}
    assert "network uniform int8: failed (crash)" in out


def test_a_box_without_graphs_says_what_to_do(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_missing", lambda modules: [name for name in modules if name.startswith("cuda.")])
    code, out, err = card.run("-o", str(card.results))
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert f"pip install '{PACKAGE}'" in line
    assert "--no-networks measures the kernels alone" in line
    code, out, err = card.run("-o", str(card.results), "--no-networks", "--budget", "5s")
    assert code == 0, err


def test_the_manifest_is_of_the_card(for_a_card: BundleResult) -> None:
    with zipfile.ZipFile(for_a_card.path) as archive:
        made = Manifest.from_bytes(archive.read("manifest.json"))
    assert (made, made.is_gpu, len(made.configurations)) == (for_a_card.manifest, True, 2)
