"""The command `kernels`, compilers included: what it builds, says and leaves behind, and how it goes on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import pytest

from profiler import targets
from profiler.artifact import Artifact
from profiler.frontend import load_network
from profiler.hardware import GPUS, GpuSpec
from profiler.kernels import cached_build
from profiler.kernels.cuda.wheel import Wheel
from profiler.kernels.pool_build import BuildFailure, BuildPool
from profiler.lut.demand import demand
from profiler.record import FailureKind
from profiler.space.config import GpuConfig, ScheduleConfig, to_text
from profiler.space.gpu import config_space
from profiler.workload import INT4, INT8, KernelSpec, Op
from tests.e2e.command import NETWORK, Outcome, Place

Command = Callable[[list[str]], Outcome]
WANTED = demand(NETWORK, (INT8, INT4), mixed=False)
WIDTH = 120


def _kernels(place: Place, *options: str, model: Path | None = None) -> list[str]:
    """Arguments of a short run: two configs of each kernel of the small network, one where options ask for it."""
    quick = ("--batch", "1", "--configs", "2")
    return ["kernels", str(model or place.model), *quick, "--out", str(place.out), *options]


def _artifacts(place: Place, device: str = "t4") -> dict[Path, bytes]:
    folder = place.out / "kernels" / device
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.lbk"))}


@pytest.fixture(scope="module")
def built_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Outcome]:
    place = Place(tmp_path_factory.mktemp("built") / "place")
    return place, place.run(_kernels(place, "--json"))


@pytest.fixture
def built(built_run: tuple[Place, Outcome], place: Place) -> Place:
    """A place where the kernels of the small network were built before."""
    original, outcome = built_run
    assert outcome.code == 0, outcome.err
    shutil.copytree(original.out, place.out)
    return place


def test_a_network_is_built(built_run: tuple[Place, Outcome]) -> None:
    place, outcome = built_run
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert (told["network"], told["batch"], told["device"], told["arch"]) == ("small", 1, "t4", "sm_75")
    assert [row["layers"] for row in told["rows"]] == [list(d.layers) for d in WANTED]
    assert (told["cached"], told["failed"], told["without_kernel"]) == (0, {}, [])
    assert told["built_now"] == 2 * len(WANTED) == len(_artifacts(place))
    assert f"14 distinct kernels, {2 * len(WANTED)} candidates, for Tesla T4 with " in outcome.err
    for row, wanted in zip(told["rows"], WANTED, strict=True):
        kernel = row["kernel"]
        assert KernelSpec.from_dict(row["spec"]) == wanted.spec
        assert row["valid"] == len(config_space(wanted.spec, GPUS["t4"]))
        assert (row["built"], row["failed"], kernel["native"]) == (2, [], True)
        artifact = Artifact.from_bytes(Path(kernel["artifact"]).read_bytes())
        assert (artifact.spec, artifact.config, artifact.arch) == (wanted.spec, kernel["config"], "sm_75")
        assert artifact.resources is not None
        for name in ("registers", "spill_bytes", "shared_bytes", "occupancy", "cubin_abi", "least_driver"):
            assert kernel[name] == getattr(artifact.resources, name)
        assert 0 <= row["modelled_limit_s"] < kernel["modelled_latency_s"]
        multiplies = {8: "IMMA.8816.", 4: "IMMA.8832."}[wanted.spec.input_dtype.bits % 32 or 8]
        if wanted.spec.workload.op.has_weights:
            assert kernel["tensor_core_instruction"].startswith(multiplies)
            assert kernel["tensor_core_instructions_in_main_loop"] > 0
            assert kernel["divisions_in_main_loop"] == 0
        else:
            assert kernel["tensor_core_instruction"] is None
            assert kernel["divisions_in_main_loop"] is None
    assert (place.strays(), place.temporary_files()) == ([], [])


def test_the_second_run_builds_nothing(built: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: object) -> None:
        raise AssertionError("a pool was started")

    before = _artifacts(built)
    monkeypatch.setattr(cached_build, "BuildPool", nothing)
    answer = command(_kernels(built))
    assert answer.code == 0, answer.err
    assert _artifacts(built) == before
    lines = answer.out.splitlines()
    assert lines[0].startswith("small, batch 1, kernels for Tesla T4 (sm_75); latencies are modelled, nothing was meas")
    assert max(len(line.rstrip()) for line in lines[:-1]) <= WIDTH
    assert "measured" not in "".join(lines[1:])
    table = lines[3:-1]
    assert [line.split()[0] for line in table] == [d.layers[0] for d in WANTED], "one line per kernel, in order"
    for line, wanted in zip(table, WANTED, strict=True):
        assert f" 2/{len(config_space(wanted.spec, GPUS['t4']))} " in line
    assert lines[-1].startswith("28 kernels of 14 specs: 0 built now, 28 from the cache, 0 failed; in ")
    assert lines[-1].endswith(str(built.out / "kernels" / "t4"))


def test_a_damaged_artifact_is_built_again(built: Place, command: Command) -> None:
    before = _artifacts(built)
    damaged = list(before)[7]
    damaged.write_bytes(before[damaged][:-10])
    answer = command(_kernels(built, "--json"))
    assert answer.code == 0, answer.err
    assert (json.loads(answer.out)["built_now"], json.loads(answer.out)["cached"]) == (1, len(before) - 1)
    whole = Artifact.from_bytes(damaged.read_bytes())
    assert whole == Artifact.from_bytes(before[damaged])


def _wait_for_artifacts(place: Place, process: subprocess.Popen[str], count: int) -> None:
    end = time.monotonic() + 60
    while len(_artifacts(place)) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def test_a_killed_run_goes_on(place: Place, command: Command) -> None:
    process = place.start(_kernels(place))
    _wait_for_artifacts(place, process, 3)
    process.kill()  # this process alone: its workers must notice
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert place.strays() == []
    left = _artifacts(place)
    assert 3 <= len(left) < 2 * len(WANTED)
    answer = command(_kernels(place, "--json"))
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["cached"], told["built_now"]) == (len(left), 2 * len(WANTED) - len(left))
    assert left.items() <= _artifacts(place).items()
    assert [path.name for path in place.out.rglob("*") if path.is_file() and path.suffix != ".lbk"] == []
    assert place.temporary_files() == []


def test_ctrl_c(place: Place) -> None:
    process = place.start(_kernels(place))
    _wait_for_artifacts(place, process, 1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    answer = place.answer(process)
    assert time.monotonic() - begin < 5
    assert (answer.code, answer.out) == (130, "")
    last = answer.err.splitlines()[-1]
    assert last.startswith("interrupted; ")
    assert "built is kept" in last
    assert _artifacts(place)
    assert (place.strays(), place.temporary_files()) == ([], [])


def test_emulated_int4(place: Place, command: Command) -> None:
    """Hopper's tensor cores know no INT4: the kernel is built, and the table says what it is."""
    options = ("--device", "H200", "--configs", "1", "--precisions", "int4")
    answer = command(_kernels(place, *options, model=place.dense))
    assert answer.code == 0, answer.err
    (row,) = (line for line in answer.out.splitlines() if line.startswith("fc "))
    assert " u4>s32* " in row
    assert "* emulated: computed with instructions for wider types" in answer.out
    (path,) = _artifacts(place, "h200")
    artifact = Artifact.from_bytes(path.read_bytes())
    assert (artifact.native, artifact.arch) == (False, "sm_90")
    told = json.loads(command(_kernels(place, *options, "--json", model=place.dense)).out)
    assert (told["cached"], told["rows"][0]["kernel"]["native"]) == (1, False)


def test_configs_that_cannot_be_built(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best modelled one of the INT8 kernel, and both of the INT4 kernel."""

    class Moody(BuildPool):
        def stream(
            self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]
        ) -> Iterator[tuple[int, Artifact | BuildFailure]]:
            for index, (spec, config) in enumerate(requests):
                if index == 1:
                    yield index, next(super().stream(requests[1:2]))[1]
                else:
                    yield index, BuildFailure(spec, to_text(config), FailureKind.COMPILE, "too [ugly]\nby far")

    monkeypatch.setattr(cached_build, "BuildPool", Moody)
    answer = command(_kernels(place, model=place.dense))
    assert answer.code == 1
    title, *heading, int8, int4 = answer.out.splitlines()[:5]
    assert title.startswith("dense, batch 1")
    assert "(failed)" in " ".join(heading)
    assert " 1/" in int8
    assert " (1) " in int8
    assert " 0/" in int4
    assert " (2) " in int4
    told = answer.out.splitlines()[5:]
    assert [line.startswith("failed: dense_n1_1x1x16_o10-uint") for line in told] == [True] * 3 + [False] * 2
    assert all(line.endswith(": compile: too [ugly]") for line in told[:3])
    assert told[3] == "no kernel for fc: none of 2 configs could be built: too [ugly]"
    assert told[4].startswith("1 kernels of 2 specs: 1 built now, 0 from the cache, 3 failed (3 compile); in ")
    assert answer.err.count("failed (compile): dense_n1_1x1x16_o10-uint") == 3


def test_a_layer_without_a_kernel(built: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_for_pools(spec: KernelSpec, gpu: GpuSpec) -> tuple[GpuConfig, ...]:
        return () if spec.workload.op is Op.MAX_POOL else config_space(spec, gpu)

    monkeypatch.setattr(targets.gpu_space, "config_space", none_for_pools)
    answer = command(_kernels(built))
    assert answer.code == 1
    assert "no kernel for pool: no valid config" in answer.out
    told = command(_kernels(built, "--json"))
    assert told.code == 1
    assert json.loads(told.out)["without_kernel"] == ["pool", "pool"]


def test_another_compiler_and_other_kernels(place: Place, command: Command) -> None:
    """CUDA 13's kernels stand beside those of CUDA 12 and ask for another driver."""
    try:
        metadata.version("nvidia-cuda-nvrtc")
    except metadata.PackageNotFoundError:
        pytest.skip("CUDA 13's compiler is not installed")
    drivers = []
    for cuda in ("12", "13"):
        options = ("--cuda", cuda, "--configs", "1", "--precisions", "int8", "--json")
        answer = command(_kernels(place, *options, model=place.dense))
        assert answer.code == 0, answer.err
        told = json.loads(answer.out)
        assert f"nvrtc {cuda}." in told["compiler"]
        assert told["built_now"] == 1
        drivers.append((told["rows"][0]["kernel"]["cubin_abi"], told["rows"][0]["kernel"]["least_driver"]))
    assert drivers == [(7, "525.60.13"), (8, "580.65.06")]
    assert len(_artifacts(place)) == 2


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--device", "cpu"], ["'cpu'", "t4, a100, h200"]),
        (["--device", "abacus"], ["'abacus'", "t4, a100, h200"]),
        (["--precisions", "int9"], ["unknown precision 'int9'", "int4"]),
        (["--precisions", ","], ["no precision given"]),
        (["--cuda", "/nowhere"], ["/nowhere", "bin/nvcc"]),
        (["--cuda", "11"], ["11", "bin/nvcc"]),
    ],
)
def test_wrong_values(place: Place, command: Command, options: list[str], parts: list[str]) -> None:
    assert command(_kernels(place, *options)).refused(*parts)
    assert not place.out.exists(), "nothing is left of a run that was refused"


@pytest.mark.parametrize("name", ["resnet99", "nowhere.onnx"])
def test_wrong_models(place: Place, command: Command, name: str) -> None:
    assert command(_kernels(place, model=Path(name))).refused(name)


@pytest.mark.parametrize("options", [["--configs", "0"], ["--batch", "0"], ["--batch", "many"], ["--fast"]])
def test_wrong_usage(place: Place, command: Command, options: list[str]) -> None:
    answer = command(_kernels(place, *options))
    assert (answer.code, answer.out) == (2, "")
    assert options[0] in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("cuda", ["12", "13"])
def test_a_compiler_that_is_not_installed(
    place: Place, command: Command, monkeypatch: pytest.MonkeyPatch, cuda: str
) -> None:
    missing: Mapping[str, Wheel] = {cuda: Wheel("nvidia-cuda-nvrtc-of-nobody", "libnvrtc.so")}
    monkeypatch.setattr("profiler.kernels.cuda.nvrtc.WHEELS", missing)
    monkeypatch.setattr("profiler.kernels.cuda.compiler.WHEELS", missing)
    answer = command(_kernels(place, "--cuda", cuda))
    assert answer.refused("nvidia-cuda-nvrtc-of-nobody is not installed", "pip install"), answer
    assert not place.out.exists()


def test_no_nvcc(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place.tmp))
    assert command(_kernels(place, "--cuda", "nvcc")).refused("nvcc is not on PATH", "--cuda 12")


def _toolkit(place: Place, script: str) -> Path:
    root = place.folder / "toolkit"
    (root / "bin").mkdir(parents=True)
    nvcc = root / "bin" / "nvcc"
    nvcc.write_text(f"#!/bin/sh\n{script}\n")
    nvcc.chmod(0o755)
    return root


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("echo 'release 10.0, V10.0.130'; exit 0", ["sm_75"]),
        ("echo licence has expired >&2; exit 1", ["licence has expired"]),
    ],
)
def test_an_nvcc_that_will_not_do(place: Place, command: Command, script: str, parts: list[str]) -> None:
    """One that is too old for the GPU, and one that does not work."""
    answer = command(_kernels(place, "--cuda", str(_toolkit(place, script))))
    assert answer.refused(*parts), answer
    assert not place.out.exists()


def test_an_nvcc_that_vanishes(place: Place, command: Command) -> None:
    """While kernels are built: the compiler is to blame, not the disk."""
    script = 'case $1 in --version) echo V12.4.99 ;; --list-gpu-code) echo sm_75; rm "$0" ;; esac'
    root = _toolkit(place, script)
    answer = command(_kernels(place, "--cuda", str(root), model=place.dense))
    assert (answer.code, answer.out) == (2, "")
    said = f"error: {root}/bin/nvcc cannot be started: No such file or directory; install another CUDA toolkit"
    assert answer.err.splitlines()[-1].startswith(said)
    assert "Traceback" not in answer.err
    assert _artifacts(place) == {}
    assert (place.strays(), place.temporary_files()) == ([], [])


@pytest.mark.parametrize("where", ["file", "file/deeper", "/proc/nowhere"])
def test_no_folder_to_write_to(place: Place, command: Command, where: str) -> None:
    (place.folder / "file").touch()
    out = place.folder / where
    answer = command(_kernels(place, "--out", str(out)))
    assert answer.refused(f"{out}/kernels/t4: cannot be written: ", "choose another place with --out")


def test_an_artifact_that_cannot_be_stored(place: Place, command: Command) -> None:
    """As on a disk that fills up in the middle: one line, no half of a file."""
    (wanted,) = demand(load_network(str(place.dense), 1), (INT8,), mixed=False)
    blocked = place.out / "kernels" / "t4" / wanted.spec.key
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    answer = command(_kernels(place, "--precisions", "int8", model=place.dense))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1].startswith(f"error: {blocked}/")
    assert "cannot be written: " in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert (place.strays(), place.temporary_files()) == ([], [])


def test_help_reads_well(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "120")
    answer = command(["kernels", "--help"])
    assert (answer.code, answer.err) == (0, "")
    text = " ".join(answer.out.split())
    assert "Needs no GPU" in text
    assert "aarch64" in text
    for internal in ("json_output", "skip_unsupported", "typer", "Annotated", "None"):
        assert internal not in text
