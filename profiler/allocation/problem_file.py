"""An allocation problem as a JSON file, in the form in which HAWQ-V3's was published.

``layers`` have ``name``, ``parameters``, ``macs`` (of one image), and by precision (``int8``, ``int4``, ...)
``latency_ms`` and ``weight_perturbation_sq``; the sensitivity is the perturbation times ``hessian_trace_normalised``.
``ties`` are groups of indices of layers that share a precision. Size is parameters * bits / 8, BOPs are weight bits *
activation bits * MACs, and all layers count. Source: Yao et al., HAWQ-V3, arXiv 2011.10680.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from profiler.allocation.problem import Choice, Costs, Problem, Quantity
from profiler.errors import InvalidFile
from profiler.typed_json import without_repetition

_LARGEST_FILE_BYTES = 64 << 20
_LARGEST_NUMBER = 1e100
"""So that no product and no sum over layers overflows."""


_KEYS = ("layers", "ties", "network")


@dataclass(frozen=True)
class FileProblem:
    """``choice_of`` has the index of each layer's choice (tied ones share it), ``bits`` those of each level."""

    network: str
    names: tuple[str, ...]
    problem: Problem
    choice_of: tuple[int, ...]
    bits: tuple[int, ...]

    def bits_of(self, levels: Sequence[int]) -> tuple[int, ...]:
        """Of each layer, in order."""
        return tuple(self.bits[levels[choice]] for choice in self.choice_of)


@dataclass(frozen=True)
class _Layer:
    """Values are by precision, in the order of the precisions."""

    name: str
    sensitivity: tuple[float, ...]
    latency_s: tuple[float, ...]
    parameters: float
    macs: float


def read_problem(path: Path) -> FileProblem:
    """Raises `InvalidFile` naming the file, and the layer and field that are wrong."""
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise InvalidFile(f"{path}: is larger than {_LARGEST_FILE_BYTES >> 20} MiB, too large for a problem")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidFile(f"{path}: is not an allocation problem: not UTF-8 text") from None
    try:
        body = json.loads(text, object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{path}: is not JSON: {error}") from None
    try:
        return _problem(body, path.stem)
    except ValueError as error:
        raise InvalidFile(f"{path}: {error}") from None


def _problem(body: Any, stem: str) -> FileProblem:
    if not isinstance(body, dict) or not isinstance(body.get("layers"), list):
        raise ValueError("is not an allocation problem: it has no list 'layers'")
    for key in body:
        if key not in _KEYS and (meant := get_close_matches(key, _KEYS, n=1)):
            raise ValueError(f"unknown '{key}'; is '{meant[0]}' meant?")
    entries = body["layers"]
    if not entries:
        raise ValueError("'layers' is empty: there is nothing to allocate")
    precisions = _precisions(entries[0])
    layers = [_layer(entry, index, precisions) for index, entry in enumerate(entries)]
    counts = Counter(layer.name for layer in layers)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"two layers are called '{min(twice)}'")
    bits = tuple(int(name.removeprefix("int")) for name in precisions)
    groups = _groups(body.get("ties", []), len(layers))
    choices: list[Choice] = []
    choice_of = [0] * len(layers)
    for group in groups:
        for index in group:
            choice_of[index] = len(choices)
        choices.append(_choice([layers[index] for index in group], bits))
    network = body.get("network", stem)
    if not isinstance(network, str) or not network.isprintable():
        raise ValueError("'network' is not a text that can be printed")
    problem = Problem(precisions, tuple(choices))
    return FileProblem(network, tuple(layer.name for layer in layers), problem, tuple(choice_of), bits)


def _precisions(first: Any) -> tuple[str, ...]:
    """Those that the first layer has a latency for, the widest first."""
    by_precision = first.get("latency_ms") if isinstance(first, dict) else None
    if not isinstance(by_precision, dict) or not by_precision:
        raise ValueError('layer 0 has no latencies by precision (\'latency_ms\': {"int8": ..., "int4": ...})')
    for name in by_precision:
        if not re.fullmatch(r"int([1-9]|[12][0-9]|3[0-2])", name):
            raise ValueError(f"layer 0: 'latency_ms': '{name}' is no precision; they are called int8, int4, ...")
    return tuple(sorted(by_precision, key=lambda name: -int(name.removeprefix("int"))))


def _layer(entry: Any, index: int, precisions: Sequence[str]) -> _Layer:
    if not isinstance(entry, dict):
        raise ValueError(f"layer {index} is not an object")
    name = entry.get("name", f"layer{index}")
    if not isinstance(name, str) or not name.isprintable():
        raise ValueError(f"layer {index}: 'name' is not a text that can be printed")
    place = f"layer {index} ('{name}')"
    trace = _number(entry, "hessian_trace_normalised", place)
    perturbations = _by_precision(entry, "weight_perturbation_sq", precisions, place)
    latencies_ms = _by_precision(entry, "latency_ms", precisions, place)
    return _Layer(
        name=name,
        sensitivity=tuple(trace * value for value in perturbations),
        latency_s=tuple(value * 1e-3 for value in latencies_ms),
        parameters=_number(entry, "parameters", place),
        macs=_number(entry, "macs", place),
    )


def _by_precision(entry: Mapping[str, Any], field: str, precisions: Sequence[str], place: str) -> tuple[float, ...]:
    values = entry.get(field)
    if not isinstance(values, dict):
        raise ValueError(f"{place}: '{field}' is missing, or not by precision")
    if set(values) != set(precisions):
        odd = sorted(set(values) ^ set(precisions))[0]
        how = "missing" if odd in precisions else "not a precision of the first layer"
        raise ValueError(f"{place}: '{field}': '{odd}' is {how}")
    return tuple(_number(values, name, f"{place}: '{field}'") for name in precisions)


def _number(entry: Mapping[str, Any], field: str, place: str) -> float:
    if field not in entry:
        raise ValueError(f"{place}: '{field}' is missing")
    value = entry[field]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{place}: '{field}' is not a number")
    try:
        number = float(value)
    except OverflowError:  # JSON's integers have no end
        number = math.inf
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{place}: '{field}' is {number:g}, not a finite number of at least 0")
    if number > _LARGEST_NUMBER:
        raise ValueError(f"{place}: '{field}' is {number:g}, too large (at most {_LARGEST_NUMBER:g})")
    return number


def _groups(ties: Any, count: int) -> list[list[int]]:
    """Layers that share a precision, ties that overlap joined; in the order of their first layers."""
    if not isinstance(ties, list):
        raise ValueError("'ties' is not a list of groups of layers")
    group_of = list(range(count))
    for number, tie in enumerate(ties):
        if not isinstance(tie, list) or not tie:
            raise ValueError(f"tie {number} is not a list of indices of layers")
        for index in tie:
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
                raise ValueError(f"tie {number}: {index!r} is not the index of a layer (0 to {count - 1})")
        joined = {group_of[index] for index in tie}
        group_of = [min(joined) if group in joined else group for group in group_of]
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(group_of):
        groups.setdefault(group, []).append(index)
    return list(groups.values())


def _choice(layers: Sequence[_Layer], bits: Sequence[int]) -> Choice:
    def costs(level: int) -> Costs:
        return {
            Quantity.LATENCY: math.fsum(layer.latency_s[level] for layer in layers),
            Quantity.SIZE: math.fsum(layer.parameters * bits[level] / 8 for layer in layers),
            Quantity.BOPS: math.fsum(layer.macs * bits[level] ** 2 for layer in layers),
        }

    levels = range(len(bits))
    return Choice(
        name=", ".join(layer.name for layer in layers),
        allowed=tuple(levels),
        sensitivity=tuple(math.fsum(layer.sensitivity[level] for layer in layers) for level in levels),
        costs=tuple(costs(level) for level in levels),
    )
