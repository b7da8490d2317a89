"""Limits as a user writes them: ``0.5`` is a fraction between the uniform networks, ``3.2ms`` an amount."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from profiler.allocation.problem import Quantity
from profiler.errors import ProfilerError

_DIGITS = 5
_DECIMAL: Mapping[str, float] = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BYTES: Mapping[str, float] = {
    **{f"{prefix}B": factor for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}iB": float(1 << 10 * power) for power, prefix in enumerate("KMG", start=1)},
}
_UNITS: Mapping[Quantity, Mapping[str, float]] = {
    Quantity.LATENCY: {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    Quantity.SIZE: _BYTES,
    Quantity.MEMORY: _BYTES,
    Quantity.BOPS: {k: v for k, v in _DECIMAL.items() if k},
    Quantity.ENERGY: {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6},
}


@dataclass(frozen=True)
class LimitText:
    """Either ``fraction``, of the way from the narrowest to the widest network, or ``amount`` in the SI unit."""

    quantity: Quantity
    fraction: float | None = None
    amount: float | None = None

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.amount is None):
            raise ValueError("a limit is either a fraction or an amount")


def parse_limit(quantity: Quantity, text: str) -> LimitText:
    """Raises `ProfilerError` for what is neither."""
    match = re.fullmatch(r"\s*([0-9.+\-eE]+)\s*([A-Za-z]*)\s*", text)
    units = _UNITS[quantity]
    usage = f"say a fraction from 0 to 1, or an amount in {', '.join(units)}"
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not math.isfinite(value):
        raise ProfilerError(f"the limit of {quantity.value} is '{text}': {usage}")
    unit = match[2]
    if not unit:
        if not 0 <= value <= 1:
            raise ProfilerError(
                f"the limit of {quantity.value} is {text}: a number without unit is a fraction; {usage}"
            )
        return LimitText(quantity, fraction=value)
    if unit not in units:
        raise ProfilerError(f"the limit of {quantity.value} is '{text}': unknown unit '{unit}'; {usage}")
    if value < 0:
        raise ProfilerError(f"the limit of {quantity.value} is '{text}': it is below zero")
    return LimitText(quantity, amount=value * units[unit])


def parse_named_limit(text: str) -> LimitText:
    """``latency=0.5``. Raises `ProfilerError`."""
    name, separator, value = text.partition("=")
    known = [quantity.value for quantity in Quantity]
    if not separator or name.strip() not in known:
        raise ProfilerError(
            f"the limit '{text}' does not say what it limits; write NAME=VALUE, with {', '.join(known)}"
        )
    return parse_limit(Quantity(name.strip()), value)


def amount_text(quantity: Quantity, amount: float) -> str:
    """For people; and typed in again as a limit, what takes that amount is within it."""
    units = {unit: factor for unit, factor in _UNITS[quantity].items() if "i" not in unit}
    fitting = [(factor, unit) for unit, factor in units.items() if abs(amount) >= factor]
    factor, unit = max(fitting, default=min((factor, unit) for unit, factor in units.items()))
    return f"{_rounded_up(amount / factor):.{_DIGITS}g} {unit}"


def _rounded_up(value: float) -> float:
    """To the digits that are shown, so that a limit does not exclude what it was read from."""
    nearest = float(f"{value:.{_DIGITS}g}")
    if nearest >= value - 1e-9 * abs(value):
        return nearest
    return float(f"{nearest + 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1):.{_DIGITS}g}")
