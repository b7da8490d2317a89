"""What quantizing a layer costs the loss: three sources behind one type.

- `table`: `Sensitivity`, a cost per layer and precision; what all sources end in, and all that the allocation sees
- `files`: as CSV and JSON
- `published`: HAWQ-V3's figures of ResNet18 and ResNet50
"""

from __future__ import annotations

from profiler.sensitivity.files import read_sensitivity, write_sensitivity
from profiler.sensitivity.published import published_sensitivity
from profiler.sensitivity.table import LayerSensitivity, Sensitivity

__all__ = ["LayerSensitivity", "Sensitivity", "published_sensitivity", "read_sensitivity", "write_sensitivity"]
