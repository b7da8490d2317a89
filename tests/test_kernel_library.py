"""The stage `kernels`: which configs are built, what is kept, what is said. Compilers are replaced by a fake one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import targets
from profiler.artifact import Artifact, Check, Launch, Resources
from profiler.errors import DeviceError, OutputError, ProfilerError, UnsupportedModel
from profiler.frontend import network_file
from profiler.hardware import GPUS, GpuSpec
from profiler.kernel_library.candidates import BuildPlan, Progress, Tried
from profiler.kernel_library.choice import choose
from profiler.kernel_library.result import BuiltKernel
from profiler.kernel_library.stage import KernelsRequest, build_kernels
from profiler.kernels import cached_build
from profiler.kernels.pool_build import BuildFailure
from profiler.kernels.toolchain import ToolchainError
from profiler.lut.demand import demand
from profiler.quantize.packing import Packing
from profiler.record import FailureKind
from profiler.space.config import GpuConfig, MmaConfig, ScheduleConfig, SimtDirectConfig, SimtVectorConfig, to_text
from profiler.space.gpu import config_space, default_config
from profiler.space.gpu_model import analytic_latency_s
from profiler.workload import INT4, INT8, DType, KernelSpec, Op
from tests.e2e.command import NETWORK

MMA = st.builds(
    MmaConfig,
    block_m=st.sampled_from((64, 128)),
    block_n=st.sampled_from((32, 64)),
    block_k=st.sampled_from((8, 16)),
    warp_m=st.sampled_from((16, 32)),
    warp_n=st.sampled_from((16, 32)),
    stages=st.sampled_from((1, 2)),
    load_bytes=st.just(16),
    split_k=st.sampled_from((1, 2)),
    shared_layout=st.sampled_from(("swizzle", "pad")),
)


def _different_knobs(one: GpuConfig, other: GpuConfig) -> int:
    assert type(one) is type(other)
    return sum(value != vars(other)[name] for name, value in vars(one).items())


@given(st.dictionaries(MMA, st.floats(1e-6, 1e-3), min_size=1, max_size=40), st.integers(1, 12))
def test_choice(latencies: dict[GpuConfig, float], count: int) -> None:
    chosen = choose(latencies, latencies.__getitem__, count)
    configs = [candidate.config for candidate in chosen]
    assert len(set(configs)) == len(configs) == min(count, len(latencies))
    assert all(candidate.modelled_s == latencies[candidate.config] for candidate in chosen)
    assert chosen[0].modelled_s == min(latencies.values())
    assert choose(latencies, latencies.__getitem__, count + 1)[: len(chosen)] == chosen
    distinct = next((n for n in range(len(configs)) if _near_any(configs[n], configs[:n])), len(configs))
    for one, other in combinations(configs[:distinct], 2):
        assert _different_knobs(one, other) >= 3
    for left in set(latencies) - set(configs[:distinct]):
        better = [config for config in configs[:distinct] if latencies[config] <= latencies[left]]
        full = distinct == len(configs) and latencies[left] >= chosen[-1].modelled_s
        assert full or _near_any(left, better), "nothing is passed over without reason"


def _near_any(config: GpuConfig, others: list[GpuConfig]) -> bool:
    return any(_different_knobs(config, other) < 3 for other in others)


def test_twins_fill_what_is_left() -> None:
    base = {"block_m": 64, "block_n": 64, "block_k": 16, "warp_m": 32, "warp_n": 32, "load_bytes": 16}
    twins = [MmaConfig(**base, stages=stages, split_k=split) for stages in (1, 2) for split in (1, 2)]
    other = MmaConfig(128, 128, 32, 64, 64, 2, 16)
    modelled = {config: float(i) for i, config in enumerate([*twins, other], start=1)}
    chosen = choose(modelled, modelled.__getitem__, 3)
    assert [candidate.config for candidate in chosen] == [twins[0], other, twins[1]]


@pytest.mark.parametrize("template", [SimtDirectConfig, SimtVectorConfig])
def test_templates_with_two_knobs_have_no_twins(template: type[SimtDirectConfig] | type[SimtVectorConfig]) -> None:
    configs = [template(threads, channels) for threads in (64, 128) for channels in (1, 2)]
    modelled = {config: float(i) for i, config in enumerate(configs)}
    assert [c.config for c in choose(modelled, modelled.__getitem__, 3)] == configs[:3]


RESOURCES = Resources(
    40, 0, 0, 1024, 64, 16, 1.0, {"IMMA.8816.U8.S8": 8, "MUFU.RCP": 1}, {"IMMA.8816.U8.S8": 8}, 7, "1"
)


class Compiler:
    """Stands for `CudaBackend` and `BuildPool`: builds at once, and what it is told to do goes wrong."""

    def __init__(self) -> None:
        self.asked: list[tuple[KernelSpec, str]] = []
        self.refuses: Callable[[KernelSpec, str], bool] = lambda spec, config: False
        self.interrupted_after: int | None = None
        self.version = "fakecc 1"

    def backend(self, gpu: GpuSpec, cuda: str) -> _Backend:
        if cuda != "12":
            raise ToolchainError(f"there is no {cuda}")
        return _Backend(self, gpu)

    def pool(self, backend: _Backend, workers: int) -> _Pool:
        assert workers >= 1
        return _Pool(self)

    def artifact(self, spec: KernelSpec, config: ScheduleConfig) -> Artifact | BuildFailure:
        text = to_text(config)
        if len(self.asked) == self.interrupted_after:
            raise KeyboardInterrupt
        self.asked.append((spec, text))
        if self.refuses(spec, text):
            return BuildFailure(spec, text, FailureKind.COMPILE, "too ugly\nat line 3")
        return Artifact(
            spec, text, 1, "kernel", "sm_75", (), (), Packing("plain"), Check(0, "0" * 64), self.version, True, b"code",
            Launch((1, 1, 1), 64, 1024), RESOURCES,
        )  # fmt: skip


class _Backend:
    def __init__(self, compiler: Compiler, gpu: GpuSpec) -> None:
        self._compiler, self._gpu = compiler, gpu

    @property
    def compiler(self) -> str:
        return self._compiler.version

    def key(self, spec: KernelSpec, config: ScheduleConfig) -> str:
        return f"{abs(hash((spec, config, self._gpu.slug, self.compiler))):064x}"[::-1]


class _Pool:
    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler

    def __enter__(self) -> _Pool:
        return self

    def close(self) -> None:
        pass

    def stream(
        self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]
    ) -> Iterator[tuple[int, Artifact | BuildFailure]]:
        for index in reversed(range(len(requests))):  # no order is promised
            yield index, self._compiler.artifact(*requests[index])


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    fake = Compiler()
    monkeypatch.setattr(targets, "CudaBackend", fake.backend)
    monkeypatch.setattr(cached_build, "BuildPool", fake.pool)
    return fake


@pytest.fixture
def request_(tmp_path: Path) -> KernelsRequest:
    model = tmp_path / "small.json"
    network_file.save(NETWORK, model)
    return KernelsRequest(str(model), batch=1, configs=3, out=tmp_path / "out")


def _files(request: KernelsRequest) -> set[Path]:
    return {path for path in request.out.rglob("*") if path.is_file()}


def test_everything_is_built(compiler: Compiler, request_: KernelsRequest) -> None:
    library = build_kernels(request_)
    wanted = demand(NETWORK, (INT8, INT4), mixed=False)
    assert [(row.spec, row.layers) for row in library.rows] == [(d.spec, d.layers) for d in wanted]
    gpu = GPUS["t4"]
    for row in library.rows:
        space = config_space(row.spec, gpu)
        assert (row.valid, row.built, row.failed, row.obstacle) == (len(space), min(3, len(space)), (), "")
        assert row.default is not None
        assert row.default.config == to_text(default_config(row.spec, gpu))
        assert row.default.modelled_s == min(analytic_latency_s(row.spec, config, gpu) for config in space)
        assert row.limit_s is not None
        assert row.default.path.is_relative_to(request_.out / "kernels" / "t4")
        assert Artifact.from_bytes(row.default.path.read_bytes()).config == row.default.config
    assert len(_files(request_)) == len(compiler.asked) == library.built_now == sum(row.built for row in library.rows)
    assert (library.cached, library.failures, library.missing) == (0, {}, ())
    assert (library.network, library.batch, library.device, library.compiler) == ("small", 1, gpu, "fakecc 1")


def test_what_was_built_is_not_built_again(compiler: Compiler, request_: KernelsRequest) -> None:
    first = build_kernels(request_)
    before = {path: path.read_bytes() for path in _files(request_)}
    count = len(compiler.asked)
    plans: list[BuildPlan] = []
    again = build_kernels(request_, Progress(planned=plans.append))
    assert len(compiler.asked) == count
    assert (again.built_now, again.cached, again.rows) == (0, first.built_now, first.rows)
    assert again.candidates_per_s is None
    assert [(plan.candidates, plan.cached) for plan in plans] == [(count, count)]
    assert {path: path.read_bytes() for path in _files(request_)} == before

    more = build_kernels(replace(request_, configs=4))
    new = sum(row.built for row in more.rows) - count
    assert (more.built_now, more.cached) == (new, count), "only what the larger number adds"
    assert new > 0
    compiler.version = "fakecc 2"
    assert build_kernels(request_).cached == 0, "another compiler, other kernels"


def test_an_interrupted_run_goes_on(compiler: Compiler, request_: KernelsRequest) -> None:
    tried: list[Tried] = []
    compiler.interrupted_after = 10
    with pytest.raises(KeyboardInterrupt):
        build_kernels(request_, Progress(tried=tried.append))
    assert len(tried) == len(_files(request_)) == 10
    compiler.interrupted_after = None
    library = build_kernels(request_)
    assert library.cached == 10
    assert len(set(compiler.asked)) == len(compiler.asked) == 10 + library.built_now


def test_what_a_killed_run_left_is_removed_by_the_next_that_writes(
    compiler: Compiler, request_: KernelsRequest
) -> None:
    build_kernels(request_)
    artifact = sorted(_files(request_))[5]
    left = artifact.with_name(f".{artifact.name}.{2**31}.tmp")
    left.write_bytes(b"half of it")
    build_kernels(request_)
    assert left.exists(), "a run that writes nothing removes nothing"
    artifact.unlink()
    build_kernels(request_)
    assert artifact.exists()
    assert not left.exists()


@pytest.mark.parametrize("damage", [b"", b"LBPA", b"\0" * 4000])
def test_a_damaged_artifact_is_built_again(compiler: Compiler, request_: KernelsRequest, damage: bytes) -> None:
    build_kernels(request_)
    path = sorted(_files(request_))[5]
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert build_kernels(request_).built_now == 1
    assert path.read_bytes() == whole


def test_configs_that_cannot_be_built(compiler: Compiler, request_: KernelsRequest) -> None:
    """Of an operator all fail, of every other kernel the best modelled one."""
    best = {d.spec: to_text(default_config(d.spec, GPUS["t4"])) for d in demand(NETWORK, (INT8, INT4), mixed=False)}
    compiler.refuses = lambda spec, config: spec.workload.op is Op.DENSE or config == best[spec]
    tried: list[Tried] = []
    library = build_kernels(request_, Progress(tried=tried.append))
    assert {layer for row in library.missing for layer in row.layers} == {"fc"}
    for row in library.rows:
        if row.spec.workload.op is Op.DENSE:
            assert (row.built, row.default, len(row.failed)) == (0, None, 3)
            assert row.obstacle == "none of 3 configs could be built: too ugly"
        else:
            assert row.default is not None
            assert (row.built, len(row.failed), row.obstacle) == (2, 1, "")
            assert row.default.config != best[row.spec]
    failed = sum(len(row.failed) for row in library.rows)
    assert library.failures == {FailureKind.COMPILE: failed}
    assert sum(one.failure is not None for one in tried) == failed
    assert len(_files(request_)) == library.built_now
    again = build_kernels(request_)
    assert (again.built_now, again.failures) == (0, library.failures), "a failed config is tried again"


def test_a_kernel_without_configs(
    compiler: Compiler, request_: KernelsRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_for_pools(spec: KernelSpec, gpu: GpuSpec) -> tuple[GpuConfig, ...]:
        return () if spec.workload.op is Op.MAX_POOL else config_space(spec, gpu)

    monkeypatch.setattr(targets.gpu_space, "config_space", none_for_pools)
    rows = build_kernels(request_).missing
    assert {(row.layers, row.valid, row.limit_s, row.obstacle) for row in rows} == {
        (("pool",), 0, None, "no valid config")
    }


def test_mixed(compiler: Compiler, request_: KernelsRequest) -> None:
    library = build_kernels(replace(request_, configs=1, mixed=True))
    assert [row.spec for row in library.rows] == [d.spec for d in demand(NETWORK, (INT8, INT4), mixed=True)]
    assert any((row.spec.input_dtype, row.spec.output_dtype) == (DType.UINT8, DType.UINT4) for row in library.rows)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"device": "cpu"}, DeviceError, "'cpu'; the devices known are: t4, a100, h200, aarch64, aarch64-neon"),
        ({"device": "auto"}, DeviceError, "'auto'; the devices known are: t4"),
        ({"device": "h100"}, DeviceError, "'h100'"),
        ({"model": "resnet99"}, UnsupportedModel, "unknown model 'resnet99'"),
        ({"cuda": "/nowhere"}, ToolchainError, "there is no /nowhere"),
    ],
)
def test_refusals(
    compiler: Compiler, request_: KernelsRequest, change: dict[str, str], error: type[ProfilerError], said: str
) -> None:
    with pytest.raises(error, match=said):
        build_kernels(replace(request_, **change))  # type: ignore[arg-type]
    assert not request_.out.exists()
    assert compiler.asked == []


def test_no_configs(request_: KernelsRequest) -> None:
    with pytest.raises(ProfilerError, match="at least one"):
        replace(request_, configs=0)


def test_a_folder_that_cannot_be_written(compiler: Compiler, request_: KernelsRequest) -> None:
    request_.out.write_text("a file")
    with pytest.raises(OutputError, match="kernels/t4: cannot be written: Not a directory"):
        build_kernels(request_)
    assert compiler.asked == []


@pytest.mark.parametrize(
    ("main_loop", "instruction", "divisions"),
    [
        ({"IMMA.8832.U4.S4": 16, "LDSM": 4}, ("IMMA.8832.U4.S4", 16), 0),
        ({"IMMA.8816.U8.S8": 16, "IMMA.8816.S8.S8": 2, "MUFU.RCP": 3}, ("IMMA.8816.U8.S8", 16), 3),
        ({"IMAD": 16, "MUFU.RCP": 3}, ("", 0), None),
        ({}, ("", 0), None),
    ],
)
def test_what_a_kernel_shows(main_loop: dict[str, int], instruction: tuple[str, int], divisions: int | None) -> None:
    resources = replace(RESOURCES, instructions=main_loop, main_loop=main_loop)
    kernel = BuiltKernel("config", 1e-6, True, resources, Path("kernel"))
    assert (kernel.tensor_core, kernel.divisions) == (instruction, divisions)
