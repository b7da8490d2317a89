"""The loop of quantization-aware fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from profiler.allocation.deployment import Deployment
from profiler.errors import InvalidFile, ProfilerError
from profiler.finetune.fake_quantized import FakeQuantized
from profiler.network.calibrate import Method, calibrate
from profiler.network.images import Images
from profiler.network.quantized import TrainedNetwork

Told = Callable[[int, float], None]
"""Hears of each epoch, from 1, and its mean cross entropy in nats."""

_RATES_END = 100


@dataclass(frozen=True)
class Schedule:
    """Stochastic gradient descent with momentum 0.9; the learning rate falls from ``rate`` to zero by a cosine. Raises
    `ProfilerError` for numbers that are none."""

    epochs: int = 10
    batch: int = 32
    rate: float = 0.01
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ProfilerError(
                f"a schedule of {self.epochs} epochs in steps of {self.batch} images: both are at least 1"
            )
        if not 0 < self.rate < _RATES_END:
            raise ProfilerError(f"a learning rate of {self.rate:g}: it is above 0 and below {_RATES_END}, e.g. 0.003")
        if not 0 <= self.weight_decay < 1:
            raise ProfilerError(f"a weight decay of {self.weight_decay:g}: it is at least 0 and below 1")


def finetuned(
    trained: TrainedNetwork,
    deployment: Deployment,
    images: Images,
    schedule: Schedule,
    method: Method = Method.MIN_MAX,
    told: Told = lambda epoch, loss: None,
) -> TrainedNetwork:
    """The network with weights that were trained with the roundings of the deployment, by the cross entropy of the
    images' labels; ranges are those of the same images, found anew ahead of each epoch and at the end, so that they are
    what calibration on these images finds of the weights.

    The same seed gives the same weights on the same machine. Raises `InvalidFile` for images without labels, and
    `ProfilerError` where the loss is no number any more.
    """
    if images.labels is None:
        raise InvalidFile("fine-tuning needs the class of each image: save them as 'labels'")
    torch.manual_seed(schedule.seed)
    module = FakeQuantized(trained, deployment)
    inputs = {name: torch.from_numpy(values).permute(0, 3, 1, 2).contiguous() for name, values in images.inputs.items()}
    labels = torch.from_numpy(images.labels)
    optimizer = torch.optim.SGD(
        module.parameters(), lr=schedule.rate, momentum=0.9, weight_decay=schedule.weight_decay, nesterov=True
    )
    steps = schedule.epochs * -(-images.count // schedule.batch)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = np.random.default_rng(schedule.seed)
    for epoch in range(schedule.epochs):
        if epoch:
            trained = _calibrated(trained, module, images, method)
            module.set_scales(trained)
        total = 0.0
        shuffled = torch.from_numpy(order.permutation(images.count))
        for chosen in shuffled.split(schedule.batch):
            optimizer.zero_grad()
            logits = module({name: values[chosen] for name, values in inputs.items()})
            loss = functional.cross_entropy(logits, labels[chosen])
            if not torch.isfinite(loss):
                raise ProfilerError(f"epoch {epoch + 1}: the loss is no number any more; try a lower --rate")
            loss.backward()
            optimizer.step()
            cosine.step()
            total += float(loss.detach()) * len(chosen)
        told(epoch + 1, total / images.count)
    return _calibrated(trained, module, images, method)


def _calibrated(trained: TrainedNetwork, module: FakeQuantized, images: Images, method: Method) -> TrainedNetwork:
    weights = module.weights()
    ranges = calibrate(trained.network, weights, images, method, bits=module.activation_bits)
    return replace(trained, weights=weights, ranges=ranges)
