"""The file of a fitted latency model (`model_codec` has its format): written whole, built again when it is read.

No regression is stored: a model is fitted again to its own rows, which takes no longer than reading one would. A few
kernels with the answers that they got, the probes, tell whether it came out the same under other versions of the
libraries.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

from profiler import __version__
from profiler.errors import InvalidFile, ProfilerError
from profiler.output_folder import write_whole
from profiler.predictor.latency_model import LatencyModel
from profiler.predictor.model_codec import FORMAT, MadeBy, ModelFile, Probe, brief, decode, encode
from profiler.predictor.regressors import REGRESSORS
from profiler.workload import distinct

PROBES = 16
PROBE_TOLERANCE = 0.005
"""Relative. BLAS libraries differ by rounding, which is far less; no prediction is as good as this."""


def save(path: Path, model: LatencyModel, report: Mapping[str, Any] | None = None) -> None:
    """Replace the file, making its folder. ``report`` is the validation's. Raises `OutputError` if that fails."""
    file = ModelFile(model.state, made_here(), report, _probes(model))
    write_whole(path, encode(file).encode())


def read(path: Path) -> ModelFile:
    """What the file says, without building the model. Raises `InvalidFile` for what is no such file or is damaged."""
    return decode(_text(path), str(path))


def load(path: Path) -> tuple[LatencyModel, ModelFile]:
    """The model of the file, and what else the file says.

    Raises `InvalidFile` for what is no such file, is damaged, too new, or does not become the model that it was.
    """
    file = read(path)
    return _built(file, path), file


def is_model(path: Path) -> bool:
    """Whether the file begins like one, sound or not."""
    with path.open("rb") as file:
        return FORMAT.encode() in file.read(200)


def made_here() -> MadeBy:
    """This program and its libraries, now."""
    return MadeBy(__version__, platform.python_version(), np.__version__, sklearn.__version__, time.time())


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InvalidFile(f"{path}: there is no such file; 'profiler fit' makes one") from None
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidFile(
            f"{path}: not a latency model: it is no UTF-8 text; name a file that 'profiler fit' has written"
        ) from None


def _probes(model: LatencyModel) -> tuple[Probe, ...]:
    """Of kernels that the model has seen, spread over all, and of the same at twice the batch."""
    seen = distinct(o.spec for o in model.state.observations)
    some = seen[:: -(-len(seen) // (PROBES // 2))]
    larger = (replace(spec, workload=spec.workload.with_batch(2 * spec.workload.batch)) for spec in some)
    return tuple(
        Probe(answer.spec, answer.latency_s) for answer in model.estimate(distinct((*some, *larger)), look_up=False)
    )


def _built(file: ModelFile, path: Path) -> LatencyModel:
    regressor = file.state.regressor
    if regressor not in REGRESSORS:
        raise InvalidFile(
            f"{path}: its regressor '{regressor}' is not known here ({', '.join(REGRESSORS)} are); update the profiler,"
            " or fit the model again with this one"
        )
    try:
        model = LatencyModel(file.state)
        answers = model.estimate([probe.spec for probe in file.probes], look_up=False)
    except (ValueError, ArithmeticError, LookupError, ProfilerError) as error:
        raise InvalidFile(f"{path}: no model can be built of it ({brief(error)}); fit it again from its LUT") from None
    worst = max(
        (abs(a.latency_s / p.latency_s - 1) for a, p in zip(answers, file.probes, strict=True)),
        default=0.0,
    )
    if not worst <= PROBE_TOLERANCE:
        made, here = file.made_by, made_here()
        raise InvalidFile(
            f"{path}: answers {100 * worst:.3g}% off what it answered when it was fitted, with {_versions(made)};"
            f" here are {_versions(here)}, and what this program knows of devices may have changed: fit it again from"
            " its LUT (python -m profiler fit)"
        )
    return model


def _versions(made: MadeBy) -> str:
    return f"lowbit-profiler {made.tool}, Python {made.python}, NumPy {made.numpy}, scikit-learn {made.scikit_learn}"
