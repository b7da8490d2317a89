"""Sensitivities that others have published, under our layer names. Their figures lie beside this file as CSV."""

from __future__ import annotations

from importlib import resources

from profiler.sensitivity.files import parse_sensitivity
from profiler.sensitivity.table import Sensitivity

_FILES = {"resnet18": "hawqv3_resnet18.csv", "resnet50": "hawqv3_resnet50.csv"}


def published_sensitivity(network_name: str) -> Sensitivity | None:
    """HAWQ-V3's figures for the built-in network of that name; None where nothing is published.

    They are of all layers but the first convolution and the last dense layer, which HAWQ-V3 keeps at 8 bits. Nothing
    is there for ``resnet50_v1.5``: its weights are of another training.
    """
    file = _FILES.get(network_name)
    if file is None:
        return None
    text = resources.files(__package__).joinpath("published", file).read_text(encoding="utf-8")
    return parse_sensitivity(text, file, ".csv")
