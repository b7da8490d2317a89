"""A matrix product as `torch._int_mm` does it on a GPU, timed the way our kernels are (`profiler.devices.cuda_timing`).

    sleep | event product event | event product event | ...
    ~~~~~ meanwhile everything behind it is put into the stream, so that there are no launch gaps

torch is imported when it is asked for, and handed around as a value.
"""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import DeviceError

Int8 = npt.NDArray[np.int8]

LAUNCHES = 100
"""At most in one batch, as with our kernels."""
_HOLD_S = 0.02
_ATTEMPTS = 5
_CHOICE_LAUNCHES = 20
_NEED = "int_mm needs a machine with an NVIDIA GPU and a CUDA build of torch: "


class TorchRefusal(Exception):
    """A product that torch does not compute on this card, and why, in one line."""


def load_torch(load: Callable[[], Any] = lambda: importlib.import_module("torch")) -> Any:
    """The module. Raises `DeviceError` if it is missing, or cannot use an NVIDIA GPU."""
    try:
        torch = load()
    except ImportError as error:
        raise DeviceError(
            f"{_NEED}torch cannot be imported ({error}); pip install torch into .venv on a machine that has the card"
        ) from None
    if torch.version.cuda is None:
        raise DeviceError(
            f"{_NEED}torch {torch.__version__} is built without CUDA; install a build for CUDA, see "
            "pytorch.org/get-started"
        )
    if not torch.cuda.is_available():
        raise DeviceError(
            f"{_NEED}torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU that it can use; nvidia-smi "
            "says what is there and which CUDA its driver supports"
        )
    return torch


def torch_index(torch: Any, name: str, uuid: str) -> int:
    """torch's number of the card: by its UUID, which NVML writes with ``GPU-`` ahead of it, or the only one of that
    name where torch does not tell UUIDs. Raises `DeviceError`."""
    cards = [(index, torch.cuda.get_device_properties(index)) for index in range(torch.cuda.device_count())]
    for index, card in cards:
        if hasattr(card, "uuid") and str(card.uuid).lower().removeprefix("gpu-") == uuid.lower().removeprefix("gpu-"):
            return index
    named = [index for index, card in cards if card.name == name and not hasattr(card, "uuid")]
    if len(named) == 1:
        return named[0]
    found = ", ".join(card.name for _, card in cards) or "none"
    raise DeviceError(f"torch does not find {name} ({uuid}) among its GPUs ({found}); is CUDA_VISIBLE_DEVICES set?")


class TorchTimer:
    """Times launches of torch on a GPU, torch's ``index``-th, which becomes its current one.

    clock_hz : the card's highest SM clock, for `_sleep`. Raises `DeviceError` if torch does not work there.
    """

    def __init__(self, torch: Any, index: int, clock_hz: float) -> None:
        self._torch = torch
        self._clock_hz = clock_hz
        self._hold_s = _HOLD_S
        self._events = [tuple(torch.cuda.Event(enable_timing=True) for _ in range(2)) for _ in range(LAUNCHES)]
        try:
            torch.cuda.set_device(index)
            torch.cuda._sleep(1)
            for begin, end in self._events:  # they are made when they are first recorded
                begin.record()
                end.record()
            torch.cuda.synchronize()
        except RuntimeError as error:
            raise DeviceError(f"torch {torch.__version__} does not work on this GPU: {_first_line(error)}") from None

    def time(self, launch: Callable[[], object], launches: int) -> tuple[float, ...]:
        """Seconds of each of so many launches, at most `LAUNCHES`. ``launch`` has run before.

        Raises `DeviceError` if they cannot be kept free of launch gaps.
        """
        events = self._events[:launches]
        for _ in range(_ATTEMPTS):
            self._torch.cuda._sleep(round(self._hold_s * self._clock_hz))
            for begin, end in events:
                begin.record()
                launch()
                end.record()
            held = not events[0][0].query()
            self._torch.cuda.synchronize()
            if held:
                return tuple(begin.elapsed_time(end) * 1e-3 for begin, end in events)
            self._hold_s *= 2
        raise DeviceError(
            f"{launches} launches of torch could not be queued within {self._hold_s / 2:g} s; this machine is too busy "
            "with something else, or CUDA_LAUNCH_BLOCKING is set"
        )


class TorchProduct:
    """``a @ b.T``, int8 to int32, on the current GPU.

    a : (M, K). b : (N, K), as a dense layer has its weights. torch gets b as it lies (column-major to the product) and
    turned (row-major). What is timed is the faster of those that it computes, and computes rightly; ``layout`` says
    which. Raises `TorchRefusal` if there is none.
    """

    def __init__(self, torch: Any, timer: TorchTimer, a: Int8, b: Int8) -> None:
        self._timer = timer
        expected = exact_product(a, b)
        left, weights = (torch.from_numpy(np.ascontiguousarray(x)).cuda() for x in (a, b))
        out = torch.empty(expected.shape, dtype=torch.int32, device="cuda")
        found: list[tuple[float, str, Callable[[], object]]] = []
        refusals = []
        for layout, right in (("column-major", weights.t()), ("row-major", weights.t().contiguous())):
            launch = _launch(torch, left, right, out)
            try:
                out.zero_()
                launch()
                product = out.cpu().numpy()
            except RuntimeError as error:
                refusals.append(f"{layout} weights: {_first_line(error)}")
                continue
            if not np.array_equal(product, expected):
                refusals.append(f"{layout} weights: a wrong product")
                continue
            times_s = timer.time(launch, _CHOICE_LAUNCHES)[1:]
            found.append((statistics.fmean(times_s), layout, launch))  # single ones are in steps of the events' clock
        if not found:
            raise TorchRefusal("; ".join(dict.fromkeys(refusals)))
        _, self.layout, self._launch = min(found, key=lambda choice: choice[0])

    def time(self, launches: int) -> tuple[float, ...]:
        """Seconds of each of so many launches, at most `LAUNCHES`."""
        return self._timer.time(self._launch, launches)


def exact_product(a: Int8, b: Int8) -> npt.NDArray[np.int32]:
    """``a @ b.T`` in int32, by NumPy. Doubles hold every partial sum exactly."""
    exact: npt.NDArray[np.int32] = (a.astype(np.float64) @ b.astype(np.float64).T).astype(np.int32)
    return exact


def _launch(torch: Any, left: Any, right: Any, out: Any) -> Callable[[], object]:
    """Into memory that is there: an allocation may wait for the GPU."""
    return lambda: torch._int_mm(left, right, out=out)


def _first_line(error: RuntimeError) -> str:
    return (str(error).splitlines() or ["unknown error"])[0]
