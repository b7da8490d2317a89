"""A validation report as plain values for JSON, and back."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from profiler.predictor.validation.report import ValidationReport


def to_json(report: ValidationReport) -> dict[str, Any]:
    """Plain values. What follows from others (`Coverage.percent`) is there too, for readers."""
    return dict(plain(report))


def from_json(data: object) -> ValidationReport:
    """Inverse of `to_json`, also of its text. Raises `ValueError` for anything else."""
    try:
        report: ValidationReport = _typed(ValidationReport, data)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
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


def _typed(kind: Any, value: Any) -> Any:
    """``value``, as `plain` left it, as a value of that type. Raises `ValueError` or `TypeError`."""
    if get_origin(kind) in (types.UnionType, Union):
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        return tuple(_typed(get_args(kind)[0], item) for item in value)
    if is_dataclass(kind):
        return _instance(kind, value)
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return value


def _instance(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    unknown = set(value) - {f.name for f in fields(kind)} - set(_derived(kind))
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**{f.name: _typed(hints[f.name], value[f.name]) for f in fields(kind)})


def _derived(kind: type) -> list[str]:
    return [name for name, member in vars(kind).items() if isinstance(member, property)]
