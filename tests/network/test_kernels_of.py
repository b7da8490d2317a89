"""From the rows of a table to the kernels of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.artifact import Artifact
from profiler.errors import CompilerError, FingerprintMismatch, InvalidConfig, InvalidFile
from profiler.hardware import CpuSpec, DotIsa, host_cpu
from profiler.kernels.pool_build import BuildFailure
from profiler.lut.schema import LutRow, Source
from profiler.lut.store import read
from profiler.network.integer_network import IntegerNetwork
from profiler.network_stages.kernels_of import chosen_configs, kernels_of
from profiler.record import CacheMode, Conditions, FailureKind, Fingerprint
from profiler.space.config import ScheduleConfig, to_text
from profiler.space.cpu_default import default_config
from profiler.targets import CpuTarget
from profiler.workload import DType, KernelSpec
from tests.network.integer_drafts import Draft, codeless

ROW = read(Path(__file__).parents[2] / "lut" / "recorded" / "cpu-8cfd341f.csv")[0]
HERE = Fingerprint("cpu", "a CPU", "avx512_vnni", "0", "linux", "a compiler")
CPU: CpuSpec = replace(host_cpu(), isa=DotIsa.AVX512_VNNI)
TARGET = CpuTarget(CPU)


def network() -> IntegerNetwork:
    draft = Draft()
    x = draft.input(8, 8, 16, DType.UINT8)
    a = draft.conv(draft.conv(x, 16, 3), 16, 3)
    return draft.network([draft.add(a, x)])


CONV, _, ADD = (step.spec for step in network().steps)
CONFIG = "dot(tile_h=1,tile_w=4,vectors=1,order=images,unroll=1,parallel=none)"


def row(spec: KernelSpec, config: str = CONFIG, **others: object) -> LutRow:
    return replace(ROW, spec=spec, config=config, fingerprint=HERE.short, **others)


ROWS = (row(CONV), row(ADD, "vector(vectors=1,parallel=none)"))


def test_the_configs_of_the_table() -> None:
    first, second = chosen_configs(network(), ROWS, Conditions(), HERE, TARGET)
    assert (first.spec, to_text(first.config), first.row) == (CONV, CONFIG, ROWS[0])
    assert first.layers == ("layer0", "layer1")
    assert (second.spec, second.row, second.layers) == (ADD, ROWS[1], ("layer2",))


@pytest.mark.parametrize(
    "other",
    [
        row(CONV, conditions=Conditions(cache_mode=CacheMode.HOT)),
        row(CONV, conditions=Conditions(threads=2)),
        row(CONV, source=Source.PREDICTED, samples=0),
        row(CONV, source=Source.PUBLISHED, citation="somebody"),
    ],
)
def test_a_kernel_without_a_row(other: LutRow) -> None:
    with pytest.raises(
        InvalidFile, match=r"^layer 'layer0': the table has no measured row of kernel conv2d_n1_8x8x16.*--allow-default"
    ):
        chosen_configs(network(), [other, ROWS[1]], Conditions(), HERE, TARGET)
    first, second = chosen_configs(network(), [other, ROWS[1]], Conditions(), HERE, TARGET, allow_default=True)
    assert (first.config, first.row) == (default_config(CONV, CPU), None)
    assert second.row == ROWS[1]


def test_a_table_of_another_instrument() -> None:
    with pytest.raises(FingerprintMismatch, match="not of this a CPU with another compiler"):
        chosen_configs(network(), ROWS, Conditions(), replace(HERE, compiler="another compiler"), TARGET)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("dot(tile_h=1", "is not a schedule config"),
        ("vector(vectors=1,parallel=none)", "it belongs to another template than DotConfig"),
        (CONFIG.replace("tile_w=4", "tile_w=400"), "tile"),
    ],
)
def test_a_config_that_cannot_be_used(config: str, said: str) -> None:
    with pytest.raises(InvalidFile, match=f"^layer 'layer0': the table's config .*{said}.*measure it again"):
        chosen_configs(network(), (row(CONV, config), ROWS[1]), Conditions(), HERE, TARGET)


def test_several_threads() -> None:
    with pytest.raises(InvalidConfig, match="one thread, not on 4"):
        chosen_configs(network(), ROWS, Conditions(threads=4), HERE, TARGET)


class Builds:
    """Answers with what it is given."""

    def __init__(self, results: Sequence[Artifact | BuildFailure]) -> None:
        self._results = list(results)
        self.requests: list[tuple[KernelSpec, ScheduleConfig]] = []

    def build(self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]) -> list[Artifact | BuildFailure]:
        self.requests += requests
        return self._results


def test_kernels_are_built_once_each() -> None:
    artifacts = codeless(network())
    chosen = chosen_configs(network(), ROWS, Conditions(), HERE, TARGET)
    builds = Builds([artifacts[CONV], artifacts[ADD]])
    assert kernels_of(chosen, builds, "none") == artifacts
    assert builds.requests == [(kernel.spec, kernel.config) for kernel in chosen]


def test_a_kernel_that_does_not_compile() -> None:
    chosen = chosen_configs(network(), ROWS, Conditions(), HERE, TARGET)
    failed = BuildFailure(ADD, "vector(vectors=1,parallel=none)", FailureKind.COMPILE, "LLVM said no")
    with pytest.raises(CompilerError, match=r"^layer 'layer2': kernel add_.* does not compile: LLVM said no"):
        kernels_of(chosen, Builds([codeless(network())[CONV], failed]), "none")


def test_a_kernel_of_another_compiler() -> None:
    artifacts = codeless(network())
    chosen = chosen_configs(network(), ROWS, Conditions(), HERE, TARGET)
    with pytest.raises(FingerprintMismatch, match="was built by none, not by a compiler"):
        kernels_of(chosen, Builds([artifacts[CONV], artifacts[ADD]]), HERE.compiler)
