"""Hutchinson's estimate against the exact Hessian of a tiny network, and what the estimator leaves as it found it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from profiler.errors import ProfilerError
from profiler.sensitivity.hessian import LEAST_PROBES, TraceEstimate, hessian_sensitivity, hessian_traces
from profiler.sensitivity.perturbation import Clipping, squared_perturbation
from profiler.workload import INT4, INT8


@pytest.fixture(scope="module")
def torch() -> Iterator[Any]:
    module = pytest.importorskip("torch")
    threads = module.get_num_threads()
    module.set_num_threads(1)  # tensors are tiny: handing them to threads takes longer than the work
    yield module
    module.set_num_threads(threads)


def cross_entropy(model: Any, batch: Any) -> Any:
    import torch

    images, labels = batch
    return torch.nn.functional.cross_entropy(model(images), labels)


def weights_of(model: Any) -> Mapping[str, Any]:
    return {name: p for name, p in model.named_parameters() if p.dim() >= 2}


@pytest.fixture(scope="module")
def tiny(torch: Any) -> tuple[Any, list[Any]]:
    """A convolution, a smooth activation and a classifier in float64; batches of different sizes."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 2), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    ).double()
    batches = [(torch.randn(n, 1, 3, 3, dtype=torch.float64), torch.randint(0, 3, (n,))) for n in (4, 9)]
    return model, batches


def exact_traces(torch: Any, model: Any, batches: list[Any]) -> list[float]:
    """By torch's own full Hessian of the mean over batches, divided by the number of weights."""
    weights = weights_of(model)

    def mean_loss(*values: Any) -> Any:
        given = dict(zip(weights, values, strict=True))
        losses = [
            torch.nn.functional.cross_entropy(torch.func.functional_call(model, given, (images,)), labels)
            for images, labels in batches
        ]
        return sum(losses) / len(losses)

    points = tuple(weight.detach().clone() for weight in weights.values())
    hessian = torch.autograd.functional.hessian(mean_loss, points)
    return [float(hessian[i][i].reshape(p.numel(), p.numel()).trace()) / p.numel() for i, p in enumerate(points)]


def test_it_estimates_the_exact_trace(torch: Any, tiny: tuple[Any, list[Any]]) -> None:
    model, batches = tiny
    exact = exact_traces(torch, model, batches)
    found = hessian_traces(model, cross_entropy, batches, weights_of(model), tolerance=1e-9, max_probes=400)
    for estimate, trace in zip(found, exact, strict=True):
        assert estimate.probes == 400
        assert not estimate.converged
        assert abs(estimate.trace - trace) < 4 * estimate.stderr
        assert estimate.stderr < 0.2 * abs(trace)


def test_it_is_unbiased_and_its_error_covers(torch: Any, tiny: tuple[Any, list[Any]]) -> None:
    """Over 120 seeds of 16 probes: the mean of estimates is the truth, and intervals of Student's t hold it."""
    model, batches = tiny
    exact = np.array(exact_traces(torch, model, batches))
    runs = [
        hessian_traces(model, cross_entropy, batches, weights_of(model), tolerance=1e-9, max_probes=16, seed=seed)
        for seed in range(120)
    ]
    traces = np.array([[estimate.trace for estimate in run] for run in runs])
    errors = np.array([[estimate.stderr for estimate in run] for run in runs])
    scatter = traces.std(axis=0, ddof=1)
    assert (np.abs(traces.mean(axis=0) - exact) < 4 * scatter / math.sqrt(len(runs))).all()
    assert np.sqrt((errors**2).mean(axis=0)) == pytest.approx(scatter, rel=0.25)  # the scatter is known to 6.5%
    covered = (np.abs(traces - exact) < stats.t.ppf(0.95, 15) * errors).mean(axis=0)
    assert (covered > 0.80).all()  # nominally 0.90; three standard deviations of 120 runs are 0.08
    assert (covered < 0.99).all()


def test_a_diagonal_hessian_is_met_at_once(torch: Any) -> None:
    """With signs only the blocks off the diagonal scatter: a sum of c w^2 has trace 2 c exactly."""
    model = torch.nn.Linear(3, 2, bias=False)
    found = hessian_traces(
        model, lambda m, scale: scale * (m.weight**2).sum(), [1.0, 3.0], {"fc": model.weight}, max_probes=500
    )
    assert found == (TraceEstimate("fc", 4.0, 0.0, LEAST_PROBES, 6, True),)
    assert found[0].relative_stderr == 0


def test_a_loss_without_curvature_has_no_trace(torch: Any) -> None:
    model = torch.nn.Linear(3, 2, bias=False)
    found = hessian_traces(model, lambda m, _: m.weight.sum(), [None], {"fc": model.weight})
    assert [(e.trace, e.stderr, e.converged) for e in found] == [(0.0, 0.0, True)]


def test_it_stops_where_every_layer_is_within_the_tolerance(torch: Any, tiny: tuple[Any, list[Any]]) -> None:
    model, batches = tiny
    told: list[int] = []
    found = hessian_traces(
        model, cross_entropy, batches, weights_of(model), tolerance=0.2, max_probes=1000,
        progress=lambda estimates: told.append(estimates[0].probes),
    )  # fmt: skip
    assert all(estimate.converged and estimate.relative_stderr <= 0.2 for estimate in found)
    assert LEAST_PROBES <= found[0].probes < 1000
    assert told == list(range(8, found[0].probes + 1, 8))


def test_the_same_seed_gives_the_same_probes(torch: Any, tiny: tuple[Any, list[Any]]) -> None:
    model, batches = tiny

    def traces(seed: int, probes: int = 3) -> list[float]:
        torch.manual_seed(seed + probes)  # of no consequence
        found = hessian_traces(model, cross_entropy, batches, weights_of(model), max_probes=probes, seed=seed)
        return [estimate.trace for estimate in found]

    assert traces(1) == traces(1)
    assert traces(1) != traces(2)


def test_single_precision_is_near_double(torch: Any, tiny: tuple[Any, list[Any]]) -> None:
    model, batches = tiny
    import copy

    single = copy.deepcopy(model).float()
    small = [(images.float(), labels) for images, labels in batches]
    double = hessian_traces(model, cross_entropy, batches, weights_of(model), max_probes=10)
    found = hessian_traces(single, cross_entropy, small, weights_of(single), max_probes=10)
    assert [e.trace for e in found] == pytest.approx([e.trace for e in double], rel=1e-3)


def test_the_model_stays_as_it_is(torch: Any) -> None:
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5), torch.nn.Flatten(),
        torch.nn.Linear(8, 2),
    )  # fmt: skip
    model.train()
    model[2].eval()
    model[4].weight.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    batches = [(torch.randn(3, 1, 4, 4), torch.tensor([0, 1, 1]))]
    with torch.no_grad():  # the caller's mode is not ours
        found = hessian_traces(model, cross_entropy, batches, weights_of(model), max_probes=9)
        again = hessian_traces(model, cross_entropy, batches, weights_of(model), max_probes=9)
        assert not torch.is_grad_enabled()
    assert found == again  # no dropout, and no running mean that moves
    assert [estimate.layer for estimate in found] == ["0.weight", "4.weight"]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    assert needs == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())


def refused(model: Any, loss: Any, weights: Mapping[str, Any] | None = None, batches: Any = (None,)) -> str:
    weights = {"fc": model.weight} if weights is None else weights
    modes = model.training, [p.requires_grad for p in model.parameters()]
    with pytest.raises(ProfilerError) as caught:
        hessian_traces(model, loss, batches, weights)
    assert modes == (model.training, [p.requires_grad for p in model.parameters()])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_loss_is_told(torch: Any) -> None:
    model = torch.nn.Linear(2, 2)
    assert "loss of batch 2: is nan" in refused(model, lambda m, b: m.weight.sum() * b, batches=[1.0, math.nan])
    assert "loss of batch 1: is inf" in refused(model, lambda m, b: m.weight.sum() * 0 + math.inf)
    assert "must be a scalar tensor of floats, not a torch.float32 tensor of shape (2, 2)" in refused(
        model, lambda m, b: m.weight
    )
    assert "not 3" in refused(model, lambda m, b: 3)
    assert "does not depend on the weights" in refused(model, lambda m, b: m.weight.detach().sum())
    assert "no calibration batch" in refused(model, lambda m, b: m.weight.sum(), batches=[])


def test_a_layer_that_the_loss_does_not_use_is_told(torch: Any) -> None:
    model = torch.nn.Linear(2, 2)
    other = torch.nn.Linear(2, 2)
    text = refused(model, lambda m, b: (m.weight**2).sum(), {"fc": model.weight, "aux": other.weight})
    assert "does not depend on the weights of 1 layers, first 'aux'" in text
    assert "layer 'fc': its weight is no parameter" in refused(
        model, lambda m, b: m.weight.sum(), {"fc": model.weight * 1}
    )


def test_a_derivative_that_is_not_finite_is_told(torch: Any) -> None:
    model = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(model.weight)
    text = refused(model, lambda m, b: (m.weight.abs() ** 1.5).sum())
    assert text == "the loss has no finite second derivative by the weights of layer 'fc'"


def test_an_operator_without_second_derivative_is_told(torch: Any) -> None:
    class Once(torch.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.sum()

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[misc]
        def backward(ctx: Any, grad: Any) -> Any:
            return grad.expand(2, 2).clone()

    model = torch.nn.Linear(2, 2)
    text = refused(model, lambda m, b: Once.apply(m.weight) ** 2 + m.weight.square().sum())
    assert "torch cannot differentiate the loss twice: an operator in it is once_differentiable" in text


def test_numbers_that_make_no_sense_are_refused(torch: Any) -> None:
    model = torch.nn.Linear(2, 2)
    for tolerance, probes in ((0.0, 20), (math.nan, 20), (0.1, 1)):
        with pytest.raises(ProfilerError, match="tolerance must be positive"):
            hessian_traces(
                model, lambda m, b: m.weight.sum(), [1], {"fc": model.weight}, tolerance=tolerance, max_probes=probes
            )


# The product needs no torch.

WEIGHTS = {"a": np.random.default_rng(0).standard_normal((4, 6)), "b": np.ones((2, 2)) / 3}


def estimate(layer: str, trace: float) -> TraceEstimate:
    return TraceEstimate(layer, trace, 0.01, 40, WEIGHTS[layer].size, True)


@pytest.mark.parametrize("clipping", Clipping)
def test_a_cost_is_average_trace_times_squared_perturbation(clipping: Clipping) -> None:
    table = hessian_sensitivity([estimate("a", 0.5), estimate("b", 0.0)], WEIGHTS, (INT8, INT4), clipping)
    assert table.of("a", "int4") == 0.5 * squared_perturbation(WEIGHTS["a"], 4, clipping)
    assert table.of("b", "int8") == 0.0
    layer = table.layer("a")
    assert (layer.trace, layer.trace_stderr, layer.probes, layer.parameters) == (0.5, 0.01, 40, 24)
    assert "Hessian" in table.method


def test_a_negative_trace_is_refused_or_zero() -> None:
    traces = [estimate("a", -0.5), estimate("b", 0.1)]
    with pytest.raises(ProfilerError, match=r"negative for 1 of 2 layers \(layer 'a': -0.5, standard error 0.01\)"):
        hessian_sensitivity(traces, WEIGHTS, (INT4,))
    table = hessian_sensitivity(traces, WEIGHTS, (INT4,), negative_as_zero=True)
    assert table.of("a", "int4") == 0
    assert table.layer("a").trace == -0.5
    assert estimate("b", 0.0).relative_stderr == math.inf
