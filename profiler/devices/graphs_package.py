"""The package that runs networks on a GPU as graphs. Nothing is imported here: a box may have to unpack NumPy first."""

from __future__ import annotations

MODULE = "cuda.bindings"
PACKAGE = "cuda-bindings>=12.9,<13"
"""For pip; `cuda_graphs` says why not newer."""
