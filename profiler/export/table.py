"""Bits as a CSV file: a row per layer with weights, in the network's order."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from profiler.allocation.bits_file import Bits
from profiler.workload import Network

COLUMNS = (
    "layer",
    "precision",
    "weight_bits",
    "activation_bits",
    "fixed",
    "output_precision",
)
"""``output_precision``: in which the layer's output is stored; empty where that is no choice (the model's output), or
where only the network could tell."""


def csv_text(bits: Bits, network: Network | None = None) -> str:
    """The table; ``network`` tells which tensor a layer writes: of a fused addition, that of the sum."""
    stored = {tensor.name: tensor.precision for tensor in bits.tensors}
    written = _written(bits, network) if network is not None else {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for layer in bits.layers:
        precision = bits.precision_of(layer.name)
        writer.writerow(
            [
                layer.name,
                precision.name,
                precision.weight_bits,
                precision.activation_bits,
                str(layer.fixed).lower(),
                stored.get(written.get(layer.name, ""), ""),
            ]
        )
    return text.getvalue()


def is_table(path: Path) -> bool:
    """Whether the file begins like one that holds `csv_text`."""
    header = ",".join(COLUMNS).encode()
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _written(bits: Bits, network: Network) -> dict[str, str]:
    """The tensor that the kernel of a layer stores."""
    fused = {
        producer: network.layer(addition).output
        for addition, producer in network.fusions().items()
        if addition not in bits.separate
    }
    return {layer.name: fused.get(layer.name, layer.output) for layer in network.weighted_layers}
