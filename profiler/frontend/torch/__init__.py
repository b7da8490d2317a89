"""Programs saved by ``torch.export.save`` (.pt2) as a `Network`.

- ``file``: opening it
- ``fx``: what a torch.fx node says
- ``values``: what is known of the program's values
- ``rules``: what each operator means
- ``reader``: from the program to a `Graph`
- ``weights``: the numbers of a layer's weights, imported when they are asked for (needs NumPy)

The ATen graph is read as `torch.export.export` leaves it, and as `run_decompositions` does. A ``.pt2`` is read by
torch's own loader: as with any file of PyTorch, open only those whose origin you trust.
"""

from __future__ import annotations

from pathlib import Path

from profiler.frontend.lowering import build_network
from profiler.frontend.torch.file import read
from profiler.frontend.torch.reader import graph_of
from profiler.workload import Network

__all__ = ["load"]


def load(path: Path, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network in an exported program; raises `UnsupportedModel` with one line for whatever stands in the way."""
    return build_network(graph_of(read(path), path.stem, str(path)), batch, skip_unsupported=skip_unsupported)
