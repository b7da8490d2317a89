"""Programs saved by ``torch.export.save`` (.pt2) as a `Network`.

- ``fx``: what a torch.fx node says
- ``values``: what is known of the program's values
- ``rules``: what each operator means
- ``reader``: from the program to a `Graph`

The ATen graph is read as `torch.export.export` leaves it, and as `run_decompositions` does. A ``.pt2`` is read by
torch's own loader: as with any file of PyTorch, open only those whose origin you trust.
"""

from __future__ import annotations

from pathlib import Path

from profiler.errors import UnsupportedModel
from profiler.frontend.lowering import build_network
from profiler.frontend.refusal import first_line
from profiler.frontend.torch.reader import graph_of
from profiler.workload import Network

__all__ = ["load"]


def load(path: Path, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network in an exported program; raises `UnsupportedModel` with one line for whatever stands in the way."""
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UnsupportedModel(
            f"{path}: reading exported programs needs PyTorch: pip install 'lowbit-profiler[torch]'"
        ) from None
    try:
        program = torch.export.load(str(path))
    except Exception as error:  # torch's loader has no common base for what a broken file can raise
        raise UnsupportedModel(f"{path}: torch.export.load cannot read it ({first_line(error)})") from None
    return build_network(graph_of(program, path.stem, str(path)), batch, skip_unsupported=skip_unsupported)
