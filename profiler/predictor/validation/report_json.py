"""A validation report as plain values for JSON, and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from profiler.predictor.validation.report import ValidationReport
from profiler.typed_json import typed


def to_json(report: ValidationReport) -> dict[str, Any]:
    """Plain values. What follows from others (`Coverage.percent`) is there too, for readers."""
    return dict(plain(report))


def from_json(data: object) -> ValidationReport:
    """Inverse of `to_json`, also of its text. Raises `ValueError` for anything else."""
    try:
        report: ValidationReport = typed(ValidationReport, data, "report", _derived)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a validation report: {error}") from None
    return report


def plain(value: Any) -> Any:
    """A value of these types (or what it is made of) as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if is_dataclass(value):
        names = [f.name for f in fields(value)] + _derived(type(value))
        return {name: plain(getattr(value, name)) for name in names}
    return value


def _derived(kind: type) -> list[str]:
    return [name for name, member in vars(kind).items() if isinstance(member, property)]
