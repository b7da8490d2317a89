"""Every CUDA template against the integer oracle, bit for bit, on the emulated GPU."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from profiler.hardware import GPUS
from profiler.space.config import GpuConfig, MmaConfig, to_text
from profiler.space.gpu import config_space
from profiler.workload import DType, KernelSpec
from tests.emulator import verify_all
from tests.kernels import specs
from tests.kernels.cuda.cases import BELOW, NARROW, PLANES, SUBJECTS, cases, varied

pytestmark = pytest.mark.compile

MOST_MACS = 2_000_000
"""Of a random layer: what the emulator does in a second."""


@pytest.mark.parametrize("subject", SUBJECTS)
def test_kernels_are_exact(subject: str) -> None:
    assert verify_all(cases(subject)) > 20


def test_at_least_500_cases_are_distinct() -> None:
    every = {(s.key, to_text(c), gpu.slug) for subject in SUBJECTS for s, c, gpu in cases(subject)}
    assert len(every) >= 500


def test_every_choice_of_the_tensor_core_template_occurs() -> None:
    seen: dict[str, set[object]] = defaultdict(set)
    for subject in SUBJECTS:
        for spec, config, gpu in cases(subject):
            if isinstance(config, MmaConfig) and not spec.input_dtype.in_planes:
                for field in fields(config):
                    seen[f"{gpu.slug} {field.name}"].add(getattr(config, field.name))
    for gpu, least in (("t4", 8), ("a100", 16)):
        assert seen[f"{gpu} warp_m"] == {w for w in (8, 16, 32, 64) if w >= least}
        assert seen[f"{gpu} warp_n"] == {8, 16, 32, 64}
        assert seen[f"{gpu} block_k"] == {k for k in (4, 8, 16, 32) if k >= least // 2}
        assert seen[f"{gpu} stages"] == {1, 2}
        assert seen[f"{gpu} load_bytes"] == {1, 4, 8, 16}
        assert seen[f"{gpu} split_k"] >= {1, 2, 4, 8}
        assert all(len(seen[f"{gpu} {name}"]) == 2 for name in ("weight_layout", "shared_layout", "unroll"))
        assert max(seen[f"{gpu} block_m"]) >= 128
        assert max(seen[f"{gpu} block_n"]) >= 128


def as_wide_as_its_activations(spec: KernelSpec) -> KernelSpec:
    """The spec with weights that a tensor-core instruction takes."""
    return replace(spec, weight_dtype=DType.integer(spec.input_dtype.bits, signed=True))


@st.composite
def narrowed(draw: st.DrawFn, spec: KernelSpec) -> KernelSpec:
    """The spec on bit planes, with weights of up to 4 bits; what it stores may be planes or not."""
    stored = st.sampled_from((*PLANES, *NARROW))
    return replace(
        spec,
        input_dtype=draw(st.sampled_from(PLANES)),
        weight_dtype=draw(st.sampled_from(BELOW)),
        output_dtype=draw(stored) if spec.epilogue.requantizes else DType.INT32,
        input2_dtype=draw(stored) if spec.epilogue.adds else None,
    )


WEIGHTED = specs.weighted_specs().filter(lambda spec: spec.workload.macs <= MOST_MACS)
SPECS = st.one_of(
    WEIGHTED.map(as_wide_as_its_activations),
    WEIGHTED.map(as_wide_as_its_activations),
    WEIGHTED,
    WEIGHTED.flatmap(narrowed),
    specs.unweighted_specs(),
)


@st.composite
def random_cases(draw: st.DrawFn) -> tuple[KernelSpec, GpuConfig, str]:
    """A spec, one of its configs, and the GPU."""
    spec, slug = draw(SPECS), draw(st.sampled_from(["t4", "a100", "h200"]))
    space = config_space(spec, GPUS[slug])
    assert space, f"no config for {spec.key} on {slug}"
    config = space[draw(st.integers(0, len(space) - 1))]
    return spec, varied(spec, config, GPUS[slug], draw(st.randoms(use_true_random=False))), slug


@settings(
    max_examples=16,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # the failing cases of a batch are named one by one: nothing to shrink
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(random_cases(), min_size=12, max_size=12))
def test_random_kernels_are_exact(batch: list[tuple[KernelSpec, GpuConfig, str]]) -> None:
    verify_all([(spec, config, GPUS[slug]) for spec, config, slug in batch], seed=1)
