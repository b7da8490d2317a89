"""Bits by hand, for tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from profiler.allocation.bits_file import Bits, LatencyParts, LayerBits, TensorBits
from profiler.workload import Network


def bits_of(
    network: Network,
    narrow: Collection[str] = (),
    *,
    tensors: Mapping[str, str] | None = None,
    separate: tuple[str, ...] = (),
) -> Bits:
    """All of the network's layers in int8, those of ``narrow`` in int4; ``tensors`` are stored in these precisions."""
    layers = [LayerBits(x.name, "int4" if x.name in narrow else "int8") for x in network.weighted_layers]
    return Bits(
        network=network.name,
        batch=network.batch,
        layers=tuple(layers),
        tensors=tuple(TensorBits(name, precision) for name, precision in (tensors or {}).items()),
        conversions=(),
        separate=separate,
        limits=(),
        sensitivity=0.0,
        sensitivity_source="by hand",
        bound=0.0,
        gap=0.0,
        status="optimal",
        latency=LatencyParts(0.0, 0.0, 0.0, 0.0, 0.0),
        size_bytes=0.0,
        bops=0.0,
        activation_bytes=0.0,
        energy_j=None,
        device="",
        device_name="",
        fingerprint="",
        lut="",
    )
