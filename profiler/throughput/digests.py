"""What tells networks and bits of one name apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from profiler.allocation.deployment import Deployment
from profiler.frontend import network_file
from profiler.workload import Network

_DIGITS = 8


def network_digest(network: Network) -> str:
    """Of its tensors and layers, the same at every batch; eight hex digits."""
    layers = tuple(replace(layer, workload=layer.workload.with_batch(1)) for layer in network.layers)
    return _digest(network_file.to_text(replace(network, batch=1, layers=layers)))


def bits_digest(deployment: Deployment) -> str:
    """Of all that it decides; eight hex digits."""
    body = {
        "layers": {name: precision.name for name, precision in deployment.layers.items()},
        "tensors": {name: precision.name for name, precision in deployment.tensors.items()},
        "conversions": [asdict(copy) for copy in deployment.conversions],
        "separate": sorted(deployment.separate),
    }
    return _digest(json.dumps(body, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
