"""Several configurations on a machine that is made up: what is measured, in which order, and what is concluded."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from profiler.allocation.calibration import calibrate, read_end_to_end
from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import launches
from profiler.allocation_stages.which_lut import LutChoice
from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.frontend import load_network, network_file
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.network.execute.process import NetworkFailure
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import integer_network
from profiler.network.random_weights import random_images
from profiler.network.real_numbers import quantized_inputs
from profiler.network_stages import configurations
from profiler.network_stages import sweep as stage
from profiler.network_stages.deployments import uniform_deployment
from profiler.network_stages.run import RunRequest
from profiler.network_stages.sweep import SweepRequest, kendall_tau, sweep
from profiler.network_stages.trained import ModelRequest, trained_network
from profiler.predictor.observation import Observation
from profiler.record import FailureKind
from profiler.workload import INT4, INT8, KernelSpec, Network, Op, Precision
from tests.allocation.networks import residual
from tests.predictor.invented_lut import lut_row

ROOT = Path(__file__).parents[2]
ONNX = ROOT / "tests/data/tiny_torch.onnx"
OFFSET_S, SLOPE = 3e-6, 1.25
FINGERPRINT = "01234567"
ROUNDS = (1.0, 0.98, 1.0, 1.03, 1.0)
"""How the machine's clock drifts."""


@dataclass
class Machine:
    """A network takes OFFSET + SLOPE * sum of its kernels, and a little more or less."""

    network: Network
    latencies_s: dict[KernelSpec, float]
    noise: float = 0.0
    slope: float = SLOPE
    wrong: str = ""
    busy: str = ""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)

    def prepared(self, bench: Any, name: str, deployment: Deployment) -> Prepared:
        """The pretended quantizer hands a deployment on as it is."""
        assert bench.fingerprint == FINGERPRINT
        self.deployments[name] = deployment
        return Prepared(self, name)

    def sum_s(self, name: str) -> float | None:
        found = [self.latencies_s.get(launch.spec) for launch in launches(self.network, self.deployments[name])]
        return None if None in found else sum(latency_s for latency_s in found if latency_s is not None)

    def latency_s(self, name: str) -> float:
        error = np.random.default_rng(sorted(self.deployments).index(name)).uniform(-self.noise, self.noise)
        return (OFFSET_S + self.slope * (self.sum_s(name) or 0.0)) * (1 + error)


@dataclass
class Prepared:
    machine: Machine
    name: str
    rounds: int = 0

    def __enter__(self) -> Prepared:
        self.machine.log.append(("open", self.name))
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.log.append(("close", self.name))

    def verify(self) -> None:
        self.machine.log.append(("verify", self.name))
        if self.machine.wrong == self.name:
            raise NetworkFailure(FailureKind.WRONG_OUTPUT, f"{self.name} differs")

    def latency(self, rule: object) -> Any:
        self.machine.log.append(("time", self.name))
        median_s = self.machine.latency_s(self.name) * ROUNDS[self.rounds % len(ROUNDS)]
        self.rounds += 1
        samples = [median_s, 0.9 * median_s, median_s, 1.2 * median_s, median_s]
        busy = self.machine.busy == self.name
        return SimpleNamespace(times=SimpleNamespace(samples_s=tuple(samples), contaminated=busy))

    @property
    def lut_sum_s(self) -> float | None:
        return self.machine.sum_s(self.name)


def priced(
    network: Network, folder: Path, seed: int = 0, mixed: bool = True, precisions: Sequence[Precision] = (INT8, INT4)
) -> tuple[Path, dict[KernelSpec, float]]:
    """A table of all kernels; four bits take about half the time."""
    generator = np.random.default_rng(seed)
    rows = []
    for wanted in demand(network, precisions, mixed=mixed):
        bits = wanted.spec.input_dtype.bits
        latency_s = (1 + wanted.spec.workload.macs / 1e4) * bits * float(generator.uniform(0.9, 1.1)) * 1e-7
        rows.append(lut_row(Observation(wanted.spec, latency_s, 0.001)))
    path = folder / "table.csv"
    store.write(path, rows)
    return path, {row.spec: row.latency_median_s for row in rows}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path, dict[KernelSpec, float]]:
    pytest.importorskip("onnx")
    network = load_network(str(ONNX), 1)
    return network, *priced(network, tmp_path_factory.mktemp("table"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tiny: tuple[Network, Path, dict[KernelSpec, float]]) -> Machine:
    made = Machine(tiny[0], dict(tiny[2]))
    install(monkeypatch, made)
    return made


def install(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    def site(request: RunRequest) -> Any:
        table = None if request.lut is None else LutChoice(request.lut)
        return SimpleNamespace(batch=1, table=table, latencies_s=machine.latencies_s, notes=("a note",))

    bench = SimpleNamespace(fingerprint=FINGERPRINT)
    monkeypatch.setattr(stage, "find_site", site)
    monkeypatch.setattr(stage, "opened_bench", lambda request, place: nullcontext(bench))
    monkeypatch.setattr(
        stage,
        "quantizer",
        lambda request, network, precisions: SimpleNamespace(
            network=machine.network, integers=lambda chosen: chosen, notes=()
        ),
    )
    monkeypatch.setattr(stage, "Prepared", machine.prepared)


def asked(table: Path, configurations: int = 8, **changes: Any) -> SweepRequest:
    return replace(SweepRequest(RunRequest(model=str(ONNX), device="cpu", lut=table), configurations), **changes)


# -- what is measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("configurations", [0, 1, 2, 3, 8])
def test_as_many_configurations_as_asked_no_two_alike(machine: Machine, tiny: Any, configurations: int) -> None:
    found = sweep(asked(tiny[1], configurations))
    names = [point.name for point in found.points]
    assert len(names) == 2 + configurations
    assert names[:2] == ["uniform int8", "uniform int4"]
    kernels = {tuple(launch.spec for launch in launches(tiny[0], d)) for d in machine.deployments.values()}
    assert len(kernels) == len(names)
    layers = [layer.name for layer in tiny[0].weighted_layers]
    for point in found.points:
        chosen = machine.deployments[point.name]
        assert list(chosen.layers) == layers
        assert point.narrow == sum(chosen.layers[name] is INT4 for name in layers)
        assert point.lut_sum_s == pytest.approx(machine.sum_s(point.name))
    assert (found.points[0].narrow, found.points[1].narrow) == (0, len(layers))
    if configurations == 8:
        assert len({point.narrow for point in found.points}) >= 5
        assert len({name.split()[0] for name in names}) == 3


def test_a_sweep_of_five_precisions(machine: Machine, tiny: Any, tmp_path: Path) -> None:
    """In whatever order they are given: all uniform, and mixtures of all of them."""
    given = tuple(map(Precision.parse, ("a1w1", "int8", "a2w1", "int4", "a2w2")))
    table, latencies_s = priced(tiny[0], tmp_path, precisions=given)
    machine.latencies_s.clear()
    machine.latencies_s |= latencies_s
    found = sweep(asked(table, 6, precisions=given, sensitivity="max-abs"))
    names = [point.name for point in found.points]
    assert names[:5] == [f"uniform {name}" for name in ("int8", "int4", "a2w2", "a2w1", "a1w1")]
    assert len(names) == 11
    layers = len(tiny[0].weighted_layers)
    assert [point.narrow for point in found.points[:5]] == [0, layers, layers, layers, layers]
    drawn = {p for name in names if name.startswith("drawn") for p in machine.deployments[name].layers.values()}
    assert len(drawn) >= 4
    for point in found.points:
        assert point.narrow == sum(p is not INT8 for p in machine.deployments[point.name].layers.values())


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_layers_are_drawn_alike_among_the_narrower_precisions(share: float) -> None:
    draw = random.Random(1)
    narrower = tuple(map(Precision.parse, ("a2w2", "a2w1", "a1w1")))
    counts = Counter(configurations._drawn(INT4, narrower, share, draw) for _ in range(6000))
    for precision in narrower:
        assert counts[precision] == pytest.approx(2000 * share, rel=0.15)
    assert counts[INT4] == pytest.approx(6000 * (1 - share), rel=0.05)
    assert configurations._drawn(INT4, (INT8,), 1.0, draw) is INT4, "no wider than the widest"


def test_every_configuration_can_be_quantized_and_run(machine: Machine, tiny: Any) -> None:
    sweep(asked(tiny[1]))
    trained, _ = trained_network(ModelRequest(str(ONNX)), tiny[0])
    images = random_images(trained.network, 1, 0).inputs
    for name, deployment in machine.deployments.items():
        made = integer_network(trained, deployment)
        assert [step.spec for step in made.steps] == [launch.spec for launch in launches(tiny[0], deployment)], name
        assert oracle_run(made, quantized_inputs(made, images))


def test_all_are_verified_before_any_is_timed_and_timed_in_turn(machine: Machine, tiny: Any) -> None:
    told: list[str] = []
    found = sweep(asked(tiny[1], 2), told.append)
    names = [point.name for point in found.points]
    kinds = [kind for kind, _ in machine.log]
    assert kinds.index("time") > max(i for i, kind in enumerate(kinds) if kind == "verify")
    timed = [name for kind, name in machine.log if kind == "time"]
    rounds = len(timed) // len(names)
    assert rounds > 2
    assert timed == names * rounds
    assert sorted(name for kind, name in machine.log if kind == "close") == sorted(names)
    assert len(told) == len(names) + rounds
    assert found.notes == ("a note",)


def test_a_wrong_network_is_not_timed(machine: Machine, tiny: Any) -> None:
    machine.wrong = "uniform int4"
    with pytest.raises(NetworkFailure, match="uniform int4 differs"):
        sweep(asked(tiny[1]))
    assert "time" not in [kind for kind, _ in machine.log]
    assert [name for kind, name in machine.log if kind == "close"] == ["uniform int4", "uniform int8"]


def test_kernels_without_a_row_are_told_before_minutes_are_spent(machine: Machine, tiny: Any, tmp_path: Path) -> None:
    machine.latencies_s.pop(next(spec for spec in machine.latencies_s if spec.input_dtype.bits == 4))
    with pytest.raises(InvalidFile, match="uniform int4: kernels without a row"):
        sweep(asked(tiny[1], 0, out=tmp_path / "end.csv"))
    assert "time" not in [kind for kind, _ in machine.log]
    assert not (tmp_path / "end.csv").exists()


def test_a_file_that_never_ends_is_not_read(machine: Machine, tiny: Any) -> None:
    with pytest.raises(OutputError, match="holds no end-to-end latencies"):
        sweep(asked(tiny[1], 0, out=Path("/dev/zero")))


def test_an_error_leaves_no_folder(machine: Machine, tiny: Any, tmp_path: Path) -> None:
    machine.wrong = "uniform int4"
    with pytest.raises(NetworkFailure):
        sweep(asked(tiny[1], 0, out=tmp_path / "new" / "end.csv"))
    assert not (tmp_path / "new").exists()


def test_a_table_without_mixed_rows(machine: Machine, tiny: Any, tmp_path: Path) -> None:
    """Which layers may differ is then up to their ties: what has no row is left out, and told."""
    table, latencies_s = priced(tiny[0], tmp_path, mixed=False)
    machine.latencies_s.clear()
    machine.latencies_s |= latencies_s
    found = sweep(asked(table, 4))
    assert [point.name for point in found.points[:2]] == ["uniform int8", "uniform int4"]
    assert found.notes[0] == "a note"
    assert "left out, since the table has no rows of their kernels" in found.notes[1]


NAMES = ("a*", "a[*]", "[!x]", " blanks ", "first", "c?", "x=int4", "*")


def test_layers_may_be_called_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Patterns choose the layers of an allocation; names of layers are no patterns."""
    network = residual(1)
    names = dict(zip([layer.name for layer in network.weighted_layers], NAMES, strict=False))
    network = replace(
        network, layers=tuple(replace(layer, name=names.get(layer.name, layer.name)) for layer in network.layers)
    )
    layers = [layer.name for layer in network.weighted_layers]
    assert set(NAMES[:7]) <= set(layers)
    model, sensitivity = tmp_path / "odd.json", tmp_path / "sensitivity.csv"
    network_file.save(network, model)
    with sensitivity.open("w", newline="") as file:
        csv.writer(file).writerows([("layer", "int8", "int4"), *((name, 0, 1) for name in layers)])
    table, latencies_s = priced(network, tmp_path)
    machine = Machine(network, latencies_s)
    install(monkeypatch, machine)
    drawn: list[dict[str, str]] = []
    forced = configurations._forced
    monkeypatch.setattr(configurations, "_forced", lambda a, p, layers: drawn.append(layers) or forced(a, p, layers))
    run = RunRequest(model=str(model), device="cpu", lut=table)
    found = sweep(SweepRequest(run, 4, sensitivity=str(sensitivity)))
    assert len(found.points) == 6
    kept = [{n: p.name for n, p in machine.deployments[point.name].layers.items()} for point in found.points[2:]]
    assert all(layers in drawn for layers in kept)
    assert len({tuple(layers.values()) for layers in kept}) > 2


# -- what is concluded ------------------------------------------------------------------------------------------------


def test_the_calibration_is_the_machines(machine: Machine, tiny: Any) -> None:
    found = sweep(asked(tiny[1]))
    assert found.calibration.offset_s == pytest.approx(OFFSET_S)
    assert found.calibration.slope == pytest.approx(SLOPE)
    assert max(map(abs, found.errors)) < 1e-9
    assert found.tau == pytest.approx(1.0)
    for point in found.points:
        assert point.latency_s == pytest.approx(machine.latency_s(point.name))
        assert (point.low_s, point.high_s) == pytest.approx((0.98 * point.latency_s, 1.03 * point.latency_s))


def test_a_busy_machine_is_told(machine: Machine, tiny: Any) -> None:
    """The calibration is for deployments on an idle one."""
    machine.busy = "uniform int4"
    assert "something else ran on the machine during 5 of 20 timings" in sweep(asked(tiny[1], 2)).notes[-1]


def test_pairs_whose_rounds_overlap_decide_nothing(machine: Machine, tiny: Any) -> None:
    machine.noise = 0.2
    found = sweep(asked(tiny[1]))
    pairs = list(combinations([(p.lut_sum_s, p.latency_s) for p in found.points], 2))
    assert found.pairs == len(pairs) == 45
    apart = [(a, b) for a, b in pairs if max(a[1], b[1]) * 0.98 > min(a[1], b[1]) * 1.03]
    kept = [(a, b) for a, b in apart if (a[0] < b[0]) == (a[1] < b[1])]
    assert (found.decided, found.kept) == (len(apart), len(kept))
    assert len(kept) < len(apart) < len(pairs)


def test_held_out_errors_are_those_of_a_refit(machine: Machine, tiny: Any) -> None:
    machine.noise = 0.03
    found = sweep(asked(tiny[1]))
    points = [(point.lut_sum_s, point.latency_s) for point in found.points]
    assert len(found.errors) == len(points)
    for index, error in enumerate(found.errors):
        sums, latencies = np.array(points[:index] + points[index + 1 :]).T
        design = np.stack([np.ones_like(sums), sums], axis=1)
        offset_s, slope = np.linalg.lstsq(design, latencies, rcond=None)[0]
        expected_s = offset_s + slope * points[index][0]
        assert error == pytest.approx(expected_s / points[index][1] - 1, rel=1e-6, abs=1e-12)
    assert 0.001 < max(map(abs, found.errors)) < 0.3
    assert found.tau == pytest.approx(stats.kendalltau(*np.array(points).T).statistic)


def test_the_file_is_what_allocate_reads(machine: Machine, tiny: Any, tmp_path: Path) -> None:
    machine.noise = 0.03
    machine.network = replace(tiny[0], name='a "network", with; signs')
    out = tmp_path / "folder" / "end.csv"
    found = sweep(asked(tiny[1], 3, out=out))
    points = read_end_to_end(out, machine.network.name, 1, FINGERPRINT)
    assert [(p.lut_sum_s, p.latency_s) for p in points] == [(p.lut_sum_s, p.latency_s) for p in found.points]
    assert calibrate(points) == found.calibration
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["configuration"], int(row["narrow_layers"])) for row in rows] == [
        (p.name, p.narrow) for p in found.points
    ]
    assert out.read_text() == stage.to_csv(found)
    with pytest.raises(InvalidFile, match="no measurement of"):
        read_end_to_end(out, machine.network.name, 2, FINGERPRINT)


def test_another_file_is_not_replaced(machine: Machine, tiny: Any, tmp_path: Path) -> None:
    """And it is said before anything is measured; an older one of ours is replaced."""
    notes = tmp_path / "notes.csv"
    notes.write_text("my,own,notes\n")
    for out, message in ((notes, "is there and holds no end-to-end latencies"), (tmp_path, "is a folder")):
        with pytest.raises(OutputError, match=message):
            sweep(asked(tiny[1], 0, out=out))
    assert notes.read_text() == "my,own,notes\n"
    assert not machine.log
    out = tmp_path / "end.csv"
    sweep(asked(tiny[1], 0, out=out))
    first = out.read_bytes()
    sweep(asked(tiny[1], 1, out=out))
    assert out.read_bytes() != first


def test_a_network_that_gets_faster_with_slower_kernels_is_refused(machine: Machine, tiny: Any) -> None:
    machine.slope = -0.01
    with pytest.raises((ProfilerError, ValueError), match="do not grow with the sums") as caught:
        sweep(asked(tiny[1], 3))
    assert isinstance(caught.value, ProfilerError)


def test_a_refusal_says_where_the_measurements_are(machine: Machine, tiny: Any, tmp_path: Path) -> None:
    """Minutes went into them, and they are what shows why there is no calibration."""
    machine.slope = -0.01
    out = tmp_path / "end.csv"
    with pytest.raises(ProfilerError, match=rf"measure again; what was measured is in {out}$"):
        sweep(asked(tiny[1], 3, out=out))
    assert len(out.read_text().splitlines()) == 6
    with pytest.raises(ProfilerError, match=r"measure again; -o FILE keeps what was measured$"):
        sweep(asked(tiny[1], 3))


def test_what_is_quantized_already_is_refused_before_a_table_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody shall measure for minutes first."""
    monkeypatch.setattr(stage, "find_site", lambda request: pytest.fail("looked for a table"))
    with pytest.raises(ProfilerError, match=r"net\.npz is quantized already.* name its model"):
        sweep(SweepRequest(RunRequest(model="net.npz", device="cpu")))


LISTS = st.integers(1, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 6).map(float), min_size=n, max_size=n)] * 2)
)


@given(LISTS)
def test_kendalls_tau(lists: tuple[Sequence[float], Sequence[float]]) -> None:
    first, second = lists
    found = kendall_tau(first, second)
    if len(set(first)) < 2 or len(set(second)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(stats.kendalltau(first, second).statistic, abs=1e-12)


# -- uniform networks -------------------------------------------------------------------------------------------------


def total_s(network: Network, deployment: Deployment, latencies_s: dict[KernelSpec, float]) -> float:
    return sum(latencies_s[launch.spec] for launch in launches(network, deployment))


@given(st.integers(0, 10_000))
def test_each_addition_runs_in_the_faster_way(seed: int) -> None:
    """The total is the least of all ways to choose."""
    network = residual()
    rng = np.random.default_rng(seed)
    specs = [wanted.spec for wanted in demand(network, (INT8, INT4), mixed=False)]
    latencies_s = {spec: float(rng.uniform(1, 2)) for spec in specs}
    additions = list(network.fusions())
    for precision in (INT8, INT4):
        found = uniform_deployment(network, precision, latencies_s)
        assert set(found.layers.values()) | set(found.tensors.values()) == {precision}
        assert found.conversions == ()
        every = [
            total_s(network, Deployment.uniform(network, precision, chosen), latencies_s)
            for count in range(len(additions) + 1)
            for chosen in combinations(additions, count)
        ]
        assert len(every) == 4
        assert total_s(network, found, latencies_s) == pytest.approx(min(every), rel=1e-12)


def test_what_is_not_known_decides_nothing() -> None:
    """Without latencies an addition is fused; where only one way is known, that one is taken."""
    network = residual()
    assert uniform_deployment(network, INT8, {}).separate == frozenset()
    specs = {wanted.spec: 1.0 for wanted in demand(network, (INT8,), mixed=False)}
    fused = {spec: t for spec, t in specs.items() if spec.epilogue.adds}
    assert uniform_deployment(network, INT8, fused).separate == frozenset()
    apart = {spec: t for spec, t in specs.items() if not spec.epilogue.adds}
    assert uniform_deployment(network, INT8, apart).separate == frozenset(network.fusions())
    adds = {spec: t for spec, t in specs.items() if spec.workload.op is Op.ADD}
    assert adds
    assert uniform_deployment(network, INT8, adds).separate == frozenset()  # half of a way is none
    assert uniform_deployment(network, INT8, {**fused, **adds}).separate == frozenset()
