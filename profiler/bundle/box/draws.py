"""Whether this NumPy draws the arguments that the bundle was made with: a kernel's check is good for those alone."""

from __future__ import annotations

import hashlib

import numpy as np

from profiler.bundle.box.manifest import Manifest
from profiler.errors import DeviceError
from profiler.quantize.samples import sample_arguments
from profiler.workload import KernelSpec


def arguments_sha256(spec: KernelSpec, seed: int) -> str:
    """Digest of the names, types, shapes and values that are drawn for a kernel."""
    digest = hashlib.sha256()
    for name, values in sample_arguments(spec, seed).items():
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def require_draws(manifest: Manifest) -> None:
    """Raises `DeviceError` if anything else comes out than where the bundle was made."""
    for draw in manifest.draws:
        if arguments_sha256(draw.spec, draw.seed) != draw.sha256:
            raise DeviceError(
                f"NumPy {np.__version__} draws other random numbers than the bundle was made with (for "
                f"{draw.spec.key}): no output could be compared; use another release of NumPy"
            )
