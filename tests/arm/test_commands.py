"""What the command line says of kernels for Arm, with and without something that links them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from profiler.artifact import Artifact
from profiler.cli.bundle_commands import _wheels
from profiler.cli.commands import app
from profiler.devices.discover import FoundDevice, Inventory, find_device
from profiler.errors import DeviceError
from profiler.frontend import network_file
from profiler.kernel_library.stage import KernelsRequest, build_kernels
from profiler.kernels.cpu import c_compiler as compilers
from profiler.kernels.cpu.c_compiler import CCompiler, c_compiler
from profiler.kernels.toolchain import ToolchainError
from profiler.workload import INT8
from tests.arm import emulation
from tests.bundle.examples import NETWORK


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network_file.save(NETWORK, tmp_path / "network.json")
    return tmp_path / "network.json"


def there_is(monkeypatch: pytest.MonkeyPatch, *programs: str, zig: bool = False) -> None:
    monkeypatch.setattr(compilers.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(compilers, "which", lambda name: f"/usr/bin/{name}" if name in programs else None)
    monkeypatch.setattr(compilers, "find_spec", lambda name: object() if zig and name == "ziglang" else None)


def test_which_compiler_links(monkeypatch: pytest.MonkeyPatch) -> None:
    there_is(monkeypatch, "cc", "aarch64-linux-gnu-gcc", zig=True)
    assert c_compiler("aarch64") == CCompiler("aarch64-linux-gnu-gcc")
    assert c_compiler() == c_compiler("x86_64") == CCompiler("cc")
    there_is(monkeypatch, "cc", zig=True)
    assert c_compiler("aarch64") == CCompiler(
        sys.executable, ("-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17")
    )
    there_is(monkeypatch, "aarch64-linux-gnu-gcc", zig=True)
    with pytest.raises(ToolchainError, match="no C compiler: install one"):
        c_compiler()


def test_without_any_the_error_names_both(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    there_is(monkeypatch, "cc")
    with pytest.raises(ToolchainError) as caught:
        build_kernels(KernelsRequest(str(model), "aarch64", precisions=(INT8,), out=model.parent))
    said = str(caught.value)
    assert "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" in said
    assert "pip install -r requirements/arm.txt" in said
    assert "\n" not in said
    assert not list(model.parent.rglob("*.lbk"))


@pytest.mark.compile
@emulation.emulated()
def test_kernels(model: Path) -> None:
    """The table tells no latency: none was measured, and the model is not one of such CPUs."""
    options = [
        str(model),
        "--device",
        "aarch64-neon",
        "--precisions",
        "int8",
        "--configs",
        "1",
        "-o",
        str(model.parent),
    ]
    said = CliRunner().invoke(app, ["kernels", *options, "--json"])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert (told["device"], told["arch"], told["batch"], told["built_now"]) == ("aarch64-neon", "neon", 1, 2)
    for row in told["rows"]:
        artifact = Artifact.from_bytes(Path(row["kernel"]["artifact"]).read_bytes())
        assert (artifact.arch, artifact.features) == ("aarch64-neon", ("asimd",))
        assert set(row["kernel"]) == {"config", "native", "artifact"}
    table = subprocess.run(
        [sys.executable, "-m", "profiler", "kernels", *options], capture_output=True, text=True, check=True
    ).stdout
    table = " ".join(table.split())
    assert "kernels for Armv8.0, any 64-bit Arm (neon); nothing was measured" in table
    assert "latenc" not in table
    assert "2 kernels of 2 specs: 0 built now, 2 from the cache, 0 failed" in table


def test_wheels_are_those_of_the_board() -> None:
    assert _wheels("3.8", None, "aarch64").machine == "aarch64"
    assert _wheels("3.8", "x86_64", "aarch64").machine == "x86_64"
    assert _wheels("3.8", None, "t4").machine == emulation.platform.machine()


def test_no_machine_measures_as_another() -> None:
    with pytest.raises(DeviceError, match=r"no aarch64 on this machine; .* `python -m profiler bundle` packs a run"):
        find_device("aarch64", Inventory(FoundDevice("cpu", "A CPU")))
