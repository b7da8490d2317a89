"""JSON as values of our own types, checked as they are read."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from profiler.errors import InvalidFile

_NAMES = {float: "a number", int: "an integer", str: "a text", bool: "true or false"}


def without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads(object_pairs_hook=...)`: raises `ValueError` for a member that is there twice, of which JSON
    would silently keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return found


def integer(text: str) -> int:
    """For `json.loads(parse_int=...)`: raises `ValueError` for more digits than Python reads at once."""
    try:
        return int(text)
    except ValueError:
        raise ValueError("a number with too many digits") from None


@dataclass(frozen=True)
class FileFormat:
    """A kind of JSON file: one object that has this ``name`` as its member ``format``, and its ``version``.

    For messages: ``denial`` is what is said of another file (``is not a bits.json``), ``files`` is what they are
    called, ``command`` makes one.
    """

    name: str
    version: int
    denial: str
    files: str
    command: str

    def read(self, path: Path) -> dict[str, Any]:
        """The object without those two members. Raises `InvalidFile` that names the file and what is wrong."""
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidFile(f"{path}: {self.denial}: not UTF-8 text") from None
        try:
            body = json.loads(text, object_pairs_hook=without_repetition, parse_int=integer)
        except (json.JSONDecodeError, RecursionError):
            raise InvalidFile(f"{path}: {self.denial}: not JSON") from None
        except ValueError as error:
            raise InvalidFile(f"{path}: {self.denial}: {error}") from None
        if not isinstance(body, dict) or body.pop("format", None) != self.name:
            raise InvalidFile(f"{path}: {self.denial}; make one with the command {self.command}")
        version = body.pop("version", None)
        if type(version) is not int or version != self.version:
            raise InvalidFile(f"{path}: version {version!r} of {self.files} is unknown (known is {self.version})")
        return body


def nothing_derived(_: type) -> Collection[str]:
    """For `typed`: every member of an object is a field."""
    return ()


def typed(kind: Any, value: Any, place: str, derived: Callable[[type], Collection[str]] = nothing_derived) -> Any:
    """``value``, as `json.loads` left it, as a value of that type: a dataclass, an enumeration, a tuple of one type, a
    plain value, or one of these or None. Numbers are finite.

    ``derived`` names members of a class that are allowed and not read. Raises `ValueError` that begins with the place.
    """
    if get_origin(kind) in (types.UnionType, Union):
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{place} is not a list")
        inner = get_args(kind)[0]
        return tuple(typed(inner, item, f"{place}[{index}]", derived) for index, item in enumerate(value))
    if is_dataclass(kind):
        return _instance(kind, value, place, derived)
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{place} is none of {', '.join(str(member.value) for member in kind)}") from None
    return _plain(kind, value, place)


def _instance(kind: Any, value: Any, place: str, derived: Callable[[type], Collection[str]]) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is not an object")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.init]
    odd = sorted((set(value) ^ set(names)) - set(derived(kind)))
    if odd:
        raise ValueError(f"{place}: '{odd[0]}' is {'missing' if odd[0] in names else 'unknown'}")
    return kind(**{name: typed(hints[name], value[name], f"{place}.{name}", derived) for name in names})


def _plain(kind: Any, value: Any, place: str) -> Any:
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:  # JSON's integers have no end
            value = math.inf
    if type(value) is not kind:
        raise ValueError(f"{place} is not {_NAMES[kind]}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{place} is not finite")
    return value
