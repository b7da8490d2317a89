"""What the tests of all frontends ask of a network, beyond what every `Network` checks itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from profiler.workload import Network, Op


@pytest.fixture(scope="session")
def check_consistent() -> Callable[[Network], None]:
    return _check_consistent


def _check_consistent(network: Network) -> None:
    """Types say what can be negative, and what nobody reads is handed out."""
    for layer in network.layers:
        target = network.tensor(layer.output)
        if layer.relu:
            assert not target.signed, layer.name
        if layer.workload.op is Op.MAX_POOL:
            assert target.signed == network.tensor(layer.inputs[0]).signed, layer.name
    if not network.skipped:
        unread = {layer.output for layer in network.layers if not network.readers(layer.output)}
        assert unread <= set(network.outputs)
