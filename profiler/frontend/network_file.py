"""`network.json`: a network as a file, so that every later stage can be run without the model.

Version 2: ``{"version": 2, "name", "batch", "skipped", "outputs", "tensors": [...], "layers": [...]}``, the fields of
`Tensor` and `Layer` as they are. Ties, fusions and multiplicities are derived from the graph and written for readers
only.

`Layer.relu_limit` is written of clipped ReLUs alone: files of other networks are what they were before there was one.

Version 1, which is read, does not say which padding counts in the divisor of an average pool (`Layer.counted_pads`); it
is read as none. No latency depends on that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path
from typing import Any

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.output_folder import write_whole
from profiler.workload import Layer, Network, Tensor, Workload

NETWORK_VERSION = 2
_VERSIONS = (1, NETWORK_VERSION)


def to_text(network: Network) -> str:
    """The file's content; the same network gives the same text."""
    body = {
        "version": NETWORK_VERSION,
        "name": network.name,
        "batch": network.batch,
        "skipped": list(network.skipped),
        "outputs": list(network.outputs),
        "tensors": [asdict(tensor) for tensor in network.tensors],
        "layers": [_plain(asdict(layer)) for layer in network.layers],
        "derived": {
            "ties": [list(tie) for tie in network.ties()],
            "fusions": dict(network.fusions()),
            "multiplicities": {w.text: count for w, count in network.multiplicities().items()},
            "parameters": network.parameters,
            "macs": network.macs,
        },
    }
    return json.dumps(body, indent=1) + "\n"


def save(network: Network, path: Path) -> None:
    """Write the file, atomically. Raises `OutputError` if it cannot be written."""
    write_whole(path, to_text(network).encode())


def load(path: Path, batch: int) -> Network:
    """The network of the file, at that batch. Raises `InvalidFile` for what is not such a file."""
    try:
        body = json.loads(path.read_text())
        if not isinstance(body, dict) or body.get("version") not in _VERSIONS:
            raise ValueError(f"not a network of version {' or '.join(map(str, _VERSIONS))}")
        network = Network(
            name=body["name"],
            batch=body["batch"],
            tensors=tuple(Tensor(**tensor) for tensor in body["tensors"]),
            layers=tuple(_layer(layer, body["version"]) for layer in body["layers"]),
            skipped=tuple(body["skipped"]),
            outputs=tuple(body["outputs"]),
        )
    except KeyError as error:
        raise InvalidFile(f"{path}: not a network file: {error} is missing") from None
    except RecursionError:
        raise InvalidFile(f"{path}: not a network file: it is nested too deeply") from None
    except (OSError, ValueError, TypeError, InvalidWorkload) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidFile(f"{path}: not a network file: {reason}") from None
    layers = tuple(replace(layer, workload=layer.workload.with_batch(batch)) for layer in network.layers)
    return replace(network, batch=batch, layers=layers)


def _layer(body: Mapping[str, Any], version: int) -> Layer:
    given = {**body, "workload": Workload(**body["workload"]), "inputs": tuple(body["inputs"])}
    if version == 1:
        return Layer(**given, counted_pads=(0, 0, 0, 0), relu_limit=None)
    return Layer(**{**given, "counted_pads": tuple(body["counted_pads"])})


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    if body["relu_limit"] is None:
        del body["relu_limit"]
    body["workload"] = {k: v.value if isinstance(v, Enum) else v for k, v in body["workload"].items()}
    return body
