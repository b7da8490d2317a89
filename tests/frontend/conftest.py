"""What the tests of all frontends ask of a network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from profiler.workload import Network, Op


@pytest.fixture(scope="session")
def check_consistent() -> Callable[[Network], None]:
    return _check_consistent


def _check_consistent(network: Network) -> None:
    """Every layer's extents are those of its tensors, every tensor is written before it is read."""
    written = {t.name for t in network.tensors if network.producer(t.name) is None}
    slices: dict[str, int] = {}
    for layer in network.layers:
        work = layer.workload
        assert set(layer.inputs) <= written, layer.name
        for source in map(network.tensor, layer.inputs):
            if work.op is Op.DENSE:
                assert source.height * source.width * source.channels == work.in_channels
            else:
                assert work.input_shape == (network.batch, source.height, source.width, source.channels), layer.name
        target = network.tensor(layer.output)
        assert work.output_shape == (network.batch, target.height, target.width, target.channels), layer.name
        if work.op is Op.CONCAT:
            slices[layer.output] = slices.get(layer.output, 0) + work.in_channels
        else:
            assert layer.output not in written, layer.name
        written.add(layer.output)
        if layer.relu:
            assert not target.signed
    for tensor, channels in slices.items():
        assert channels == network.tensor(tensor).channels
