"""Bundles for Arm as on a bare board: a folder, an empty environment, Python and NumPy, on an emulated CPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from profiler.bundle.pack import BundleRequest, BundleResult, bundle
from profiler.frontend import network_file
from profiler.workload import Precision
from tests.arm import emulation
from tests.bundle.examples import NETWORK

pytestmark = [pytest.mark.compile, emulation.emulated()]

PRECISIONS = tuple(map(Precision.parse, ("int8", "a2w2")))

EVERY_KERNEL = """
import sys
sys.path[:1] = ["run.zip"]
from pathlib import Path
from profiler.bundle.box.archive import Archive
from profiler.devices.host import HostDevice
archive = Archive(Path("run.zip"))
with HostDevice(time_limit_s=60) as device:
    print(device.fingerprint(archive.manifest.compiler).arch, device.cpu.model)
    for kernel in archive.manifest.kernels:
        for candidate in kernel.candidates:
            handle = device.load(archive.artifact(candidate))
            device.verify(handle)
            device.unload(handle)
            print("right", kernel.spec.key, candidate.config)
"""


class Board:
    """A folder with a bundle, and a CPU."""

    def __init__(self, folder: Path, made: BundleResult, cpu: str) -> None:
        self.folder = folder
        (folder / "run.zip").write_bytes(made.path.read_bytes())
        self.python = emulation.python(folder, cpu)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BundleResult]:
    folder = tmp_path_factory.mktemp("packed")
    network_file.save(NETWORK, folder / "network.json")
    return {
        slug: bundle(
            BundleRequest(
                str(folder / "network.json"), slug, folder / f"{slug}.zip", configs=1, precisions=PRECISIONS,
                mixed=False, kernels=folder,
            )
        )
        for slug in ("aarch64", "aarch64-neon")
    }  # fmt: skip


def test_what_is_packed(bundles: dict[str, BundleResult]) -> None:
    for slug, made in bundles.items():
        manifest = made.manifest
        assert made.missing == ()
        assert (manifest.device, manifest.machine, manifest.is_gpu) == (slug, "aarch64", False)
        assert {kernel.spec.weight_dtype.bits for kernel in manifest.kernels if kernel.spec.weight_dtype} == {8, 2}
    assert bundles["aarch64"].manifest.features == ("asimd", "asimddp")
    assert bundles["aarch64-neon"].manifest.features == ("asimd",)
    assert bundles["aarch64"].manifest.arch == "neon_dot"


def test_on_a_cpu_with_dot_products(bundles: dict[str, BundleResult], tmp_path: Path) -> None:
    board = Board(tmp_path, bundles["aarch64"], emulation.WITH_DOT)
    code, out, err = board.run("run.zip", "--check")
    assert (code, err) == (0, ""), out
    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 8
    assert "ok  features  asimd, asimddp" in out


def test_on_a_cpu_without(bundles: dict[str, BundleResult], tmp_path: Path) -> None:
    """What needs dot products is refused in one line, ahead of the first kernel; what does not runs, each kernel."""
    board = Board(tmp_path, bundles["aarch64"], emulation.WITHOUT_DOT)
    code, out, err = board.run("run.zip", "-o", "results.jsonl")
    assert (code, out) == (2, "")
    assert err == (
        "error: this CPU lacks asimddp, which the kernels use; bundle the model with --device aarch64-neon\n"
    )
    assert not (tmp_path / "results.jsonl").exists()

    made = bundles["aarch64-neon"]
    board = Board(tmp_path, made, emulation.WITHOUT_DOT)
    code, out, err = board.run("-c", EVERY_KERNEL)
    assert (code, err) == (0, ""), out
    first, *verified = out.splitlines()
    assert first == "neon aarch64, emulated on x86"
    assert len(verified) == sum(len(kernel.candidates) for kernel in made.manifest.kernels)
