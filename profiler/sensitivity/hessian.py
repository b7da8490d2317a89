"""The average trace of the loss's Hessian over each layer's weights, by Hutchinson's method.

What is estimated: L(W) is the mean of ``loss(model, batch)`` over the given batches, each of equal weight; H_l is the
block of its Hessian that belongs to the weights of layer l, of which there are n_l. The average trace is
tr(H_l) / n_l. For v of independent Rademacher signs over the weights of all layers, v_l . (H v)_l has the mean tr(H_l)
(the blocks between layers add to its variance only), so one Hessian-vector product is a sample for every layer. Each
probe draws one v and goes through all batches with it: probes are then independent samples of the same mean, and the
standard error of their average needs no model of how batches differ. How far the given batches stand for the data is
not part of it.

The cost of quantizing layer l is tr(H_l) / n_l x ||Q(W_l) - W_l||^2.

Sources: Hutchinson 1990 (Communications in Statistics 19, 433); Dong et al., HAWQ-V2 (arXiv 1911.03852), which has the
average trace times the squared perturbation as its Omega; Yao et al., HAWQ-V3 (arXiv 2011.10680).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import ProfilerError
from profiler.sensitivity.perturbation import Clipping, layer_perturbations
from profiler.sensitivity.table import LayerSensitivity, Sensitivity
from profiler.workload import Precision

LEAST_PROBES = 16
"""Fewer say too little of their own scatter to stop on it."""
_CHUNK = 8
"""Probes that share the graph of a batch's gradient."""


@dataclass(frozen=True)
class TraceEstimate:
    """Of one layer: the average trace, the standard error of that figure, the number of probes, the number of weights,
    and whether the standard error is within the tolerance that was asked for."""

    layer: str
    trace: float
    stderr: float
    probes: int
    parameters: int
    converged: bool

    @property
    def relative_stderr(self) -> float:
        """Zero where nothing scatters, infinite where the trace itself is zero."""
        if self.stderr == 0:
            return 0.0
        return self.stderr / abs(self.trace) if self.trace else math.inf


Progress = Callable[[Sequence[TraceEstimate]], None]


def hessian_traces(
    model: Any,
    loss: Callable[[Any, Any], Any],
    batches: Sequence[Any],
    weights: Mapping[str, Any],
    *,
    tolerance: float = 0.05,
    max_probes: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[TraceEstimate, ...]:
    """The average traces, in the order of ``weights``.

    model : torch.nn.Module, put into eval mode meanwhile; neither its parameters nor their gradients change.
    loss : of the model and a batch, a scalar tensor. weights : by name of the layer, the parameters of the model.
    tolerance : the relative standard error of every layer at which to stop, after at least 16 probes; ``max_probes``
    ends the search anyway. The same seed gives the same probes, on any device. ``progress`` is called with what is
    known after each few probes.

    Stopping on the scatter of the same probes favours moments at which they scatter little: the reported errors are a
    few percent too small on average. Raises `ProfilerError` for a loss that is no finite scalar, or that does not
    depend on a layer's weights, and where torch cannot differentiate twice.
    """
    if not batches:
        raise ProfilerError("no calibration batch; the Hessian is that of the mean loss over one batch or more")
    if not 0 < tolerance < math.inf or max_probes < 2:
        raise ProfilerError("the tolerance must be positive, and the number of probes at least 2")
    samples: list[npt.NDArray[np.float64]] = []
    with _prepared(model, weights):
        while True:
            numbers = range(len(samples), min(len(samples) + _CHUNK, max_probes))
            samples.extend(_probe(model, loss, batches, weights, [_probe_seed(seed, number) for number in numbers]))
            estimates = _estimates(weights, np.array(samples), tolerance)
            if progress is not None:
                progress(estimates)
            settled = len(samples) >= LEAST_PROBES and all(estimate.converged for estimate in estimates)
            if settled or len(samples) >= max_probes:
                return estimates


def hessian_sensitivity(
    traces: Sequence[TraceEstimate],
    weights: Mapping[str, npt.ArrayLike],
    precisions: Sequence[Precision],
    clipping: Clipping = Clipping.MAX_ABS,
    *,
    negative_as_zero: bool = False,
) -> Sensitivity:
    """A table whose costs are average trace times squared perturbation.

    weights : by name of the layer, arrays of shape (out_channels, ...). A negative trace means that the model is not at
    a minimum of this loss, where the method says nothing; it raises `ProfilerError`, or counts as zero on demand.
    """
    negative = [estimate for estimate in traces if estimate.trace < 0]
    if negative and not negative_as_zero:
        worst = min(negative, key=lambda estimate: estimate.trace)
        unsettled = sum(estimate.trace > -2 * estimate.stderr for estimate in negative)
        raise ProfilerError(
            f"the Hessian's trace is negative for {len(negative)} of {len(traces)} layers (layer '{worst.layer}': "
            f"{worst.trace:.3g}, standard error {worst.stderr:.2g}), for {unsettled} of them by less than twice its "
            "error: the model is not at a minimum of this loss, or there are too few probes or batches. Train it "
            "further, raise --max-probes, give more batches, or count such layers as zero (--negative-trace zero)"
        )
    layers = []
    for estimate in traces:
        perturbation = layer_perturbations(estimate.layer, weights[estimate.layer], precisions, clipping)
        layers.append(
            LayerSensitivity(
                name=estimate.layer,
                cost={name: max(estimate.trace, 0.0) * value for name, value in perturbation.items()},
                perturbation=perturbation,
                trace=estimate.trace,
                trace_stderr=estimate.stderr,
                probes=estimate.probes,
                parameters=estimate.parameters,
            )
        )
    return Sensitivity(f"average Hessian trace x squared weight perturbation, {clipping.text}", tuple(layers))


def _estimates(
    weights: Mapping[str, Any], samples: npt.NDArray[np.float64], tolerance: float
) -> tuple[TraceEstimate, ...]:
    """samples : ndarray of shape (probes, layers), traces (not yet divided by the number of weights)."""
    probes = len(samples)
    estimates = []
    for (name, weight), column in zip(weights.items(), samples.T, strict=True):
        count = int(weight.numel())
        trace = float(column.mean()) / count
        stderr = float(column.std(ddof=1)) / math.sqrt(probes) / count
        estimates.append(TraceEstimate(name, trace, stderr, probes, count, stderr <= tolerance * abs(trace)))
    return tuple(estimates)


def _probe(
    model: Any,
    loss: Callable[[Any, Any], Any],
    batches: Sequence[Any],
    weights: Mapping[str, Any],
    seeds: Sequence[int],
) -> npt.NDArray[np.float64]:
    """v_l . (H v)_l for each seed's v and each layer l: ndarray of shape (seeds, layers)."""
    total = np.zeros((len(seeds), len(weights)))
    for number, batch in enumerate(batches, start=1):
        gradients = _gradients(_loss_value(model, loss, batch, number), weights)
        for row, seed in enumerate(seeds):
            total[row] += _products(gradients, weights, seed, last=row == len(seeds) - 1)
    if not np.isfinite(total).all():
        bad = [name for name, column in zip(weights, total.T, strict=True) if not np.isfinite(column).all()]
        raise ProfilerError(f"the loss has no finite second derivative by the weights of layer '{bad[0]}'")
    return total / len(batches)


def _loss_value(model: Any, loss: Callable[[Any, Any], Any], batch: Any, number: int) -> Any:
    import torch  # type: ignore[import-not-found,unused-ignore]

    value = loss(model, batch)
    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.is_floating_point():
        what = (
            f"a {value.dtype} tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
        )
        raise ProfilerError(f"loss of batch {number}: must be a scalar tensor of floats, not {what[:80]}")
    if not math.isfinite(value.item()):
        raise ProfilerError(f"loss of batch {number}: is {value.item()}; the Hessian needs finite losses")
    if not value.requires_grad:
        raise ProfilerError(
            f"loss of batch {number}: does not depend on the weights (is it computed under no_grad, or detached?)"
        )
    return value.reshape(())


def _gradients(value: Any, weights: Mapping[str, Any]) -> list[Any]:
    """By the weights of each layer, with the graph to differentiate them once more."""
    import torch

    with _twice_differentiable():
        gradients = torch.autograd.grad(value, list(weights.values()), create_graph=True, allow_unused=True)
    unused = [name for name, gradient in zip(weights, gradients, strict=True) if gradient is None]
    if unused:
        raise ProfilerError(
            f"the loss does not depend on the weights of {len(unused)} layers, first '{unused[0]}': does the model's "
            "forward pass use them?"
        )
    if _ends_in_error(gradients):
        raise ProfilerError(
            "torch cannot differentiate the loss twice: an operator in it is once_differentiable, and its second "
            "derivative would count as zero"
        )
    return list(gradients)


def _ends_in_error(gradients: Sequence[Any]) -> bool:
    """Whether a graph holds torch's mark of an operator that can be differentiated once only. Nothing behind it leads
    to the weights, so torch would not run it, and find no dependence instead of an error."""
    ahead = [gradient.grad_fn for gradient in gradients]
    seen = set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            return True
        seen.add(node)
        ahead.extend(following for following, _ in node.next_functions)
    return False


def _products(gradients: Sequence[Any], weights: Mapping[str, Any], seed: int, *, last: bool) -> list[float]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    signs = [_rademacher(weight, generator) for weight in weights.values()]
    # Where a gradient is constant it has no graph, and its derivative is zero.
    varying = [(g, v) for g, v in zip(gradients, signs, strict=True) if g.requires_grad]
    if not varying:
        return [0.0] * len(signs)
    with _twice_differentiable():
        products = torch.autograd.grad(
            [gradient for gradient, _ in varying],
            list(weights.values()),
            grad_outputs=[sign for _, sign in varying],
            retain_graph=not last,
            allow_unused=True,
        )
    return [
        0.0 if product is None else float((product * sign).sum(dtype=torch.float64))
        for product, sign in zip(products, signs, strict=True)
    ]


def _rademacher(weight: Any, generator: Any) -> Any:
    """Signs of the weight's shape, type and device, drawn on the CPU so that they are the same for all devices."""
    import torch

    bits = torch.randint(0, 2, weight.shape, generator=generator, dtype=torch.int8)
    return (2 * bits - 1).to(dtype=weight.dtype, device=weight.device)


def _probe_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def _prepared(model: Any, weights: Mapping[str, Any]) -> Iterator[None]:
    """Eval mode, and gradients by the weights alone; as it was afterwards."""
    import torch

    for name, weight in weights.items():
        if not weight.is_leaf or not weight.is_floating_point():
            raise ProfilerError(
                f"layer '{name}': its weight is no parameter of floats (a parametrization? fold it in the hook's model)"
            )
    modes = [(module, module.training) for module in model.modules()]
    needs = [(p, p.requires_grad) for p in dict.fromkeys([*model.parameters(), *weights.values()])]
    try:
        model.eval()
        for parameter, _ in needs:
            parameter.requires_grad_(False)
        for weight in weights.values():
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, needed in needs:
            parameter.requires_grad_(needed)


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Operators without a second derivative say so with a bare `RuntimeError`, as does memory that has run out."""
    try:
        yield
    except RuntimeError as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ProfilerError(f"torch cannot differentiate the loss twice: {lines[0][:200]}") from None
