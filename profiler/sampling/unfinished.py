"""``sample.json`` beside the journals: how far a run of `sample` has come, and the proposal that it had in hand.

Version 1: ``{"version": 1, "asked": {...}, "done": n, "pending": [[spec, ...], ...]}``, the fields of `Asked` and
`Unfinished` as they are; a list of kernel specs for each workload. There is a file as long as the run is not finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from profiler.errors import InvalidFile, InvalidWorkload, ProfilerError
from profiler.output_folder import write_whole, writing
from profiler.predictor.population import Draw
from profiler.record import CacheMode, escaped, require_count, require_text
from profiler.workload import KernelSpec

SAMPLE_VERSION = 1


@dataclass(frozen=True)
class Asked:
    """What makes a command the same one. ``fingerprint`` is the short one of the instrument."""

    fingerprint: str
    count: int
    precisions: tuple[str, ...]
    seed: int
    threads: int
    cache_mode: CacheMode

    def __post_init__(self) -> None:
        object.__setattr__(self, "precisions", tuple(self.precisions))
        object.__setattr__(self, "cache_mode", CacheMode(self.cache_mode))
        require_text("fingerprint", self.fingerprint)
        for name in self.precisions:
            require_text("a precision", name)
        for name in ("count", "threads"):
            require_count(name, getattr(self, name), least=1)
        require_count("seed", self.seed)


@dataclass(frozen=True)
class Unfinished:
    """``done`` workloads of those that were asked for are measured, and ``pending`` is what comes next."""

    asked: Asked
    done: int = 0
    pending: tuple[Draw, ...] = ()

    def __post_init__(self) -> None:
        require_count("done", self.done)
        if self.left < 0 or len(self.pending) > self.left:
            raise ValueError("more workloads are done or pending than were asked for")

    @property
    def left(self) -> int:
        """Workloads that are not measured yet, the pending ones included."""
        return self.asked.count - self.done


def save(path: Path, state: Unfinished) -> None:
    """Replace the file in one step; without anything left there shall be none. Raises `OutputError` if that fails."""
    if not state.left:
        remove(path)
        return
    body = {
        "version": SAMPLE_VERSION,
        "asked": {**asdict(state.asked), "cache_mode": state.asked.cache_mode.value},
        "done": state.done,
        "pending": [[spec.to_dict() for spec in draw.specs] for draw in state.pending],
    }
    write_whole(path, (json.dumps(body, indent=1) + "\n").encode())


def remove(path: Path) -> None:
    """Forget the run. Raises `OutputError` if the file cannot be removed."""
    with writing(path):
        path.unlink(missing_ok=True)


def load(path: Path, asked: Asked) -> Unfinished | None:
    """What an earlier run of the same command has left; None if there is nothing.

    Raises `InvalidFile` for a damaged file, one that is of another kind, or of a newer version, and `ProfilerError` for
    what another command has left, saying in what it differs.
    """
    try:
        state = _parse(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise InvalidFile(_damaged(path, f"{error} is missing")) from None
    except RecursionError:
        raise InvalidFile(_damaged(path, "it is nested too deeply")) from None
    except (OSError, ValueError, TypeError, AttributeError, InvalidWorkload) as error:
        raise InvalidFile(_damaged(path, escaped(str(error)))) from None
    if state.asked != asked:
        raise ProfilerError(
            f"{path}: {state.left} of {state.asked.count} workloads are left of a sample that was asked for otherwise "
            f"({_difference(state.asked, asked)}); give the same command again to finish it, or delete the file"
        )
    return state


def _parse(body: Any) -> Unfinished:
    if not isinstance(body, dict) or body.get("version") != SAMPLE_VERSION:
        raise ValueError(f"it is not of version {SAMPLE_VERSION}")
    return Unfinished(Asked(**body["asked"]), body["done"], tuple(_draw(specs) for specs in body["pending"]))


def _draw(specs: list[Mapping[str, Any]]) -> Draw:
    parsed = tuple(KernelSpec.from_dict(spec) for spec in specs)
    if len({spec.workload for spec in parsed}) != 1:
        raise ValueError("kernels of several workloads, or of none, are pending as one")
    return Draw(parsed[0].workload, parsed)


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path}: not the state of an unfinished sample: {reason}; delete the file to begin anew, "
        "what was measured is in the journals"
    )


def _difference(there: Asked, here: Asked) -> str:
    pairs = [(f.name, getattr(there, f.name), getattr(here, f.name)) for f in fields(Asked)]
    return ", ".join(f"{name} {_text(a)} and not {_text(b)}" for name, a, b in pairs if a != b)


def _text(value: object) -> str:
    if isinstance(value, CacheMode):
        return value.value
    return ",".join(value) if isinstance(value, tuple) else str(value)
