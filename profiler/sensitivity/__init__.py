"""What quantizing a layer costs: several sources behind one type.

- `table`: `Sensitivity`, a cost per layer and precision; what all sources end in, and all that the allocation sees
- `files`: as CSV and JSON
- `published`: HAWQ-V3's figures of ResNet18 and ResNet50
- `perturbation`: ||Q(W) - W||^2 of the weights, without data
- `clipping`: the scales of least squared error, for that
- `hessian`: the average trace of the loss's Hessian (needs torch)
- `hook`: the user's model, loss and batches (needs torch)
- `stage`: from a model to a file

One more source runs networks of integers, and stands above them: `network_stages.noise_sensitivity`.

Importing this package imports neither torch nor NumPy; torch is imported by `hessian` and `hook` when needed.
"""

from __future__ import annotations

from profiler.sensitivity.files import read_sensitivity, write_sensitivity
from profiler.sensitivity.published import published_sensitivity
from profiler.sensitivity.table import LayerSensitivity, Sensitivity

__all__ = ["LayerSensitivity", "Sensitivity", "published_sensitivity", "read_sensitivity", "write_sensitivity"]
