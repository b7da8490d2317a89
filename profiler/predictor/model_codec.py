"""A fitted latency model as text: one JSON document, tables with a line per row and their columns ahead, no pickle.

Version 1: ``{"format", "version", "made_by", "origin", "facts", "regressor", "hyperparameters", "calibration",
"report", "data_sha256", "observations", "config_kernels", "configs", "probes", "sha256"}``. ``configs`` name their
kernel by its row in ``config_kernels``; a GPU with a data sheet in `hardware.GPUS` is named by its slug. ``sha256`` is
that of everything else in canonical form, so that layout does not matter and any other change is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum
from math import isfinite
from typing import Any, NoReturn, TypeVar, get_type_hints

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.hardware import GPUS, CpuSpec, DotIsa, GpuSpec
from profiler.lut.kernel_list import KERNEL_COLUMNS
from profiler.lut.schema import Source
from profiler.predictor.device_facts import DeviceFacts, ObservedPeaks
from profiler.predictor.model_state import Calibration, ConfigLatency, ModelState, Origin
from profiler.predictor.observation import Observation, data_sha256
from profiler.record import CacheMode, Conditions, escaped, require_count, require_text
from profiler.workload import KernelSpec, Workload

FORMAT, MODEL_VERSION = "lowbit-profiler latency model", 1

_OBSERVATION = (*KERNEL_COLUMNS, "latency_s", "noise", "source")
_CONFIG = ("kernel", "config", "latency_s", "noise")
_PROBE = (*KERNEL_COLUMNS, "latency_s")
_STATE = ("origin", "facts", "regressor", "hyperparameters", "calibration")
_TABLES = ("observations", "config_kernels", "configs", "probes")
_FIELDS = ("format", "version", "made_by", *_STATE, "report", "data_sha256", *_TABLES, "sha256")

_MOST_DIGITS, _LONGEST_REASON = 40, 200
_UNSAID = {"machine": "", "slug": "cpu", "emulated_on": ""}
"""Of a CPU: what facts of rows never say."""
T = TypeVar("T")


@dataclass(frozen=True)
class MadeBy:
    """What fitted a model: versions of the tool and of what it stands on. ``created_at`` is Unix time in seconds."""

    tool: str
    python: str
    numpy: str
    scikit_learn: str
    created_at: float


@dataclass(frozen=True)
class Probe:
    """What the regression answered for a kernel, in seconds, when the model was saved."""

    spec: KernelSpec
    latency_s: float

    def __post_init__(self) -> None:
        if not 0 < self.latency_s < float("inf"):
            raise ValueError(f"a latency is positive and finite, not {self.latency_s}")


@dataclass(frozen=True)
class ModelFile:
    """What the file of a model holds. ``report`` is the validation's, a JSON object that nothing here looks into."""

    state: ModelState
    made_by: MadeBy
    report: Mapping[str, Any] | None = None
    probes: tuple[Probe, ...] = ()


def encode(file: ModelFile) -> str:
    """The file's text. Raises `ValueError` or `TypeError` for a report that is not JSON."""
    state = file.state
    kernels = {spec: row for row, spec in enumerate(dict.fromkeys(c.spec for c in state.configs))}
    body = {
        "format": FORMAT,
        "version": MODEL_VERSION,
        "made_by": asdict(file.made_by),
        "origin": asdict(state.origin),
        "facts": _facts(state.facts),
        "regressor": state.regressor,
        "hyperparameters": state.hyperparameters,
        "calibration": asdict(state.calibration),
        "report": None if file.report is None else dict(file.report),
        "data_sha256": data_sha256(state.observations),
        "observations": [
            _OBSERVATION,
            *((*_cells(o.spec), o.latency_s, o.noise, o.source) for o in state.observations),
        ],
        "config_kernels": [KERNEL_COLUMNS, *map(_cells, kernels)],
        "configs": [_CONFIG, *((kernels[c.spec], c.config, c.latency_s, c.noise) for c in state.configs)],
        "probes": [_PROBE, *((*_cells(p.spec), p.latency_s) for p in file.probes)],
    }
    plain = json.loads(json.dumps(body, allow_nan=False))
    return _laid_out({**plain, "sha256": _digest(plain)}) + "\n"


def decode(text: str, origin: str) -> ModelFile:
    """Inverse of `encode`; whatever else the text is, `InvalidFile` names ``origin`` and says what is wrong."""
    try:
        body = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_finite, parse_constant=_no_constant
        )
    except RecursionError:
        raise _foreign(origin, "it is nested too deeply") from None
    except ValueError as error:
        reason = "it is empty" if not text.strip() else f"it is no JSON, or a part of one ({brief(error)})"
        raise _foreign(origin, reason) from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise _foreign(origin, "it is some other JSON")
    version = body.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _foreign(origin, "its version is missing")
    if version > MODEL_VERSION:
        raise InvalidFile(
            f"{origin}: a latency model of version {version}, and this program knows {MODEL_VERSION}; update the"
            " profiler, or fit the model again with this one"
        )
    try:
        if _digest({name: value for name, value in body.items() if name != "sha256"}) != body.get("sha256"):
            raise InvalidFile(
                f"{origin}: damaged or edited: its sha256 is not that of its content; restore it or fit it again"
            )
        return _model_file(body)
    except (ValueError, ArithmeticError, InvalidWorkload, RecursionError) as error:
        reason = brief(error)
        raise InvalidFile(f"{origin}: not a possible latency model: {reason}; fit it again") from None


def brief(error: Exception) -> str:
    """What an error says, on one line of bounded length."""
    return escaped(str(error))[:_LONGEST_REASON] or type(error).__name__


def _foreign(origin: str, reason: str) -> InvalidFile:
    return InvalidFile(f"{origin}: not a latency model: {reason}; name a file that 'profiler fit' has written")


# -- writing -----------------------------------------------------------------------------------------------------------


def _canonical(body: object) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(body: object) -> str:
    return hashlib.sha256(_canonical(body).encode()).hexdigest()


def _facts(facts: DeviceFacts) -> dict[str, Any]:
    if isinstance(facts, ObservedPeaks):
        return {"kind": "observed", **asdict(facts)}
    if isinstance(facts, CpuSpec):
        said = {name: value for name, value in asdict(facts).items() if name not in _UNSAID}
        return {"kind": "cpu", **said, "features": sorted(facts.features)}
    if GPUS.get(facts.slug) == facts:
        return {"kind": "gpu", "slug": facts.slug}
    return {"kind": "gpu", **asdict(facts)}


def _cells(spec: KernelSpec) -> tuple[Any, ...]:
    flat = spec.to_dict()
    return tuple(flat[name] for name in KERNEL_COLUMNS)


def _laid_out(body: Mapping[str, Any], indent: str = "") -> str:
    """JSON with a line for each member of objects, and for each item of lists of lists or objects."""
    if not body:
        return "{}"
    inner = indent + " "
    lines = [f"{inner}{json.dumps(name)}: {_value(value, inner)}" for name, value in body.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _value(value: object, indent: str) -> str:
    if isinstance(value, dict):
        return _laid_out(value, indent)
    if isinstance(value, list) and any(isinstance(item, (list, dict)) for item in value):
        return "[\n" + ",\n".join(f"{indent} {json.dumps(item)}" for item in value) + f"\n{indent}]"
    return json.dumps(value)


# -- reading -----------------------------------------------------------------------------------------------------------


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"no number has {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text[:_MOST_DIGITS]} is not finite")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _model_file(body: Mapping[str, Any]) -> ModelFile:
    """Raises `ValueError` or `InvalidWorkload` for what no model holds."""
    _members(body, "the model", _FIELDS)
    kernels = tuple(map(_kernel, _rows(body, "config_kernels", KERNEL_COLUMNS)))
    state = ModelState(
        origin=_record(Origin, body["origin"], "origin"),
        facts=_device_facts(body["facts"]),
        observations=tuple(_observation(row) for row in _rows(body, "observations", _OBSERVATION)),
        regressor=_text(body["regressor"], "regressor"),
        hyperparameters=_numbers(body["hyperparameters"], "hyperparameters"),
        calibration=_calibration(body["calibration"]),
        configs=tuple(_config(row, kernels) for row in _rows(body, "configs", _CONFIG)),
    )
    if body["data_sha256"] != data_sha256(state.observations):
        raise ValueError("data_sha256 is not that of the observations")
    report = body["report"]
    if report is not None and not isinstance(report, dict):
        raise ValueError("report is no object")
    probes = tuple(Probe(_kernel(row), _number(row["latency_s"], "a probe")) for row in _rows(body, "probes", _PROBE))
    return ModelFile(state, _record(MadeBy, body["made_by"], "made_by"), report, probes)


def _device_facts(body: object) -> DeviceFacts:
    if not isinstance(body, dict):
        raise ValueError("facts are no object")
    kind, rest = body.get("kind"), {name: value for name, value in body.items() if name != "kind"}
    if kind == "cpu":
        return _record(CpuSpec, {**_UNSAID, **rest}, "facts")
    if kind == "observed":
        _members(rest, "facts", ("macs_per_s", "bytes_per_s"))
        pairs = [_list(pair, "macs_per_s") for pair in _list(rest["macs_per_s"], "macs_per_s")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("macs_per_s is no list of pairs")
        rates = tuple((_count(bits, "macs_per_s"), _number(rate, "macs_per_s")) for bits, rate in pairs)
        return ObservedPeaks(rates, _number(rest["bytes_per_s"], "bytes_per_s"))
    if kind != "gpu":
        raise ValueError("facts are of no kind that is known here")
    if tuple(rest) != ("slug",):
        return _record(GpuSpec, rest, "facts")
    slug = _text(rest["slug"], "slug")
    if slug not in GPUS:
        raise ValueError(f"there is no data sheet of '{slug}'; known are {', '.join(GPUS)}")
    return GPUS[slug]


def _observation(row: Mapping[str, Any]) -> Observation:
    latency_s, noise = _number(row["latency_s"], "latency_s"), _number(row["noise"], "noise")
    return Observation(_kernel(row), latency_s, noise, Source(row["source"]))


def _config(row: Mapping[str, Any], kernels: Sequence[KernelSpec]) -> ConfigLatency:
    kernel, latency_s = _count(row["kernel"], "kernel"), _number(row["latency_s"], "latency_s")
    noise = _number(row["noise"], "noise")
    if kernel >= len(kernels) or latency_s <= 0 or noise < 0:
        raise ValueError("configs hold a kernel, latency or noise that cannot be")
    return ConfigLatency(kernels[kernel], _text(row["config"], "config"), latency_s, noise)


def _calibration(body: object) -> Calibration:
    found = _members(body, "calibration", ("scores", "sums"))
    scores = tuple(_numbers(scores, "scores") for scores in _list(found["scores"], "scores"))
    return Calibration(scores, _numbers(found["sums"], "sums"))


def _kernel(row: Mapping[str, Any]) -> KernelSpec:
    for field in fields(Workload)[1:]:
        require_count(field.name, row[field.name])
    for layout in ("input_layout", "output_layout"):
        require_text(layout, row[layout])
    return KernelSpec.from_dict(row)


def _rows(body: Mapping[str, Any], name: str, columns: Sequence[str]) -> Iterable[dict[str, Any]]:
    """The rows of a table, by column."""
    table = [_list(row, name) for row in _list(body[name], name)]
    if not table or table[0] != list(columns):
        raise ValueError(f"{name} does not begin with its columns")
    if any(len(row) != len(columns) for row in table):
        raise ValueError(f"{name} has a row that is not as wide as its columns")
    return (dict(zip(columns, row, strict=True)) for row in table[1:])


def _members(body: object, name: str, members: Iterable[str]) -> dict[str, Any]:
    """The object with exactly these members."""
    if not isinstance(body, dict):
        raise ValueError(f"{name} is no object")
    wanted = tuple(members)
    for what, names in (
        ("lacks", [m for m in wanted if m not in body]),
        ("has unknown", [m for m in body if m not in wanted]),
    ):
        if names:
            raise ValueError(f"{name} {what} {', '.join(names[:4])}")
    return body


def _record(kind: Callable[..., T], body: object, name: str) -> T:
    """A dataclass whose fields are plain values, read as they are declared."""
    hints = get_type_hints(kind)
    found = _members(body, name, hints)
    return kind(**{field: _READERS[hint](found[field], field) for field, hint in hints.items()})


def _text(value: object, name: str) -> str:
    require_text(name, value)
    return str(value)


def _count(value: object, name: str) -> int:
    require_count(name, value)
    assert isinstance(value, int)
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is no number")
    return float(value)


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value


def _numbers(value: object, name: str) -> tuple[float, ...]:
    return tuple(_number(item, name) for item in _list(value, name))


def _member(kind: type[Enum]) -> Callable[[object, str], Enum]:
    return lambda value, _: kind(value)


_READERS: Mapping[object, Callable[[object, str], Any]] = {
    str: _text,
    int: _count,
    float: _number,
    int | None: lambda value, name: None if value is None else _count(value, name),
    frozenset[str]: lambda value, name: frozenset(_text(item, name) for item in _list(value, name)),
    DotIsa: _member(DotIsa),
    CacheMode: _member(CacheMode),
    Conditions: lambda value, name: _record(Conditions, value, name),
}
