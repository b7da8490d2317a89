"""As much of torch as `bench.torch_product` uses, on a GPU that is two clocks: the host's and the stream's, in seconds.

A command of the stream begins when the one before has ended and the host has put it there, so that a stream that runs
dry has launch gaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

CALL_S = 20e-6
"""Of the host, per command."""


@dataclass
class FakeTensor:
    """``values`` is a view, as torch's are."""

    values: Any

    def cuda(self) -> FakeTensor:
        return FakeTensor(self.values)

    def cpu(self) -> FakeTensor:
        return FakeTensor(self.values.copy())

    def numpy(self) -> Any:
        return self.values

    def t(self) -> FakeTensor:
        return FakeTensor(self.values.T)

    def contiguous(self) -> FakeTensor:
        return FakeTensor(np.ascontiguousarray(self.values))

    def zero_(self) -> FakeTensor:
        self.values[:] = 0
        return self


@dataclass
class FakeTorch:
    """The module, a CUDA build.

    product_s : seconds of a product, by layout. first_s : what the first one behind a sleep takes beyond that.
    refused : messages by layout. wrong : layouts whose product is not written. slow_host : factor on `CALL_S`.
    cards : (name, UUID) each; an empty UUID is not told. broken : what every launch says.
    """

    product_s: dict[str, float] = field(default_factory=lambda: {"column-major": 5e-6, "row-major": 8e-6})
    first_s: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    slow_host: float = 1.0
    clock_hz: float = 1.59e9
    cards: tuple[tuple[str, str], ...] = (("Tesla T4", "1a2b3c4d-0000-0000-0000-000000000000"),)
    cuda_version: str | None = "12.4"
    available: bool = True
    broken: str = ""
    current: int | None = None
    sleeps_s: list[float] = field(default_factory=list)
    host_s: float = 0.0
    stream_s: float = 0.0

    int8, int32 = "int8", "int32"
    __version__ = "2.6.0+cu124"

    def __post_init__(self) -> None:
        self._more_s = 0.0
        self.version = SimpleNamespace(cuda=self.cuda_version)
        self.cuda = SimpleNamespace(
            is_available=lambda: self.available,
            device_count=lambda: len(self.cards),
            get_device_properties=self._card,
            set_device=self._set_device,
            Event=lambda enable_timing: FakeEvent(self) if enable_timing else None,
            _sleep=self._sleep,
            synchronize=self._synchronize,
        )

    def from_numpy(self, values: Any) -> FakeTensor:
        assert values.flags["C_CONTIGUOUS"]
        return FakeTensor(values)

    def empty(self, shape: tuple[int, ...], dtype: str, device: str) -> FakeTensor:
        assert (dtype, device) == ("int32", "cuda")
        return FakeTensor(np.full(shape, -1, np.int32))

    def _int_mm(self, left: FakeTensor, right: FakeTensor, out: FakeTensor) -> FakeTensor:
        rows, inner = left.values.shape
        if rows <= 16:
            raise RuntimeError(f"self.size(0) needs to be greater than 16, but got {rows}\nException raised from ...")
        if inner % 8 or right.values.shape[1] % 8:
            raise RuntimeError("self.size(1) needs to be greater than 0 and a multiple of 8")
        layout = "row-major" if right.values.flags["C_CONTIGUOUS"] else "column-major"
        if layout in self.refused:
            raise RuntimeError(self.refused[layout])
        if layout not in self.wrong:
            out.values[:] = left.values.astype(np.int32) @ right.values.astype(np.int32)
        self.put(self.product_s[layout] + self._more_s)
        self._more_s = 0.0
        return out

    def put(self, duration_s: float) -> float:
        """A command; when it ends."""
        self.host_s += self.slow_host * CALL_S
        self.stream_s = max(self.stream_s, self.host_s) + duration_s
        return self.stream_s

    def _card(self, index: int) -> SimpleNamespace:
        name, uuid = self.cards[index]
        return SimpleNamespace(name=name, **({"uuid": uuid} if uuid else {}))

    def _set_device(self, index: int) -> None:
        self.current = index

    def _sleep(self, cycles: int) -> None:
        if self.broken:
            raise RuntimeError(self.broken)
        self._more_s = self.first_s
        self.sleeps_s.append(cycles / self.clock_hz)
        self.put(cycles / self.clock_hz)

    def _synchronize(self) -> None:
        self.host_s = max(self.host_s, self.stream_s)


@dataclass
class FakeEvent:
    torch: FakeTorch
    at_s: float | None = None

    def record(self) -> None:
        self.at_s = self.torch.put(0.0)

    def query(self) -> bool:
        assert self.at_s is not None
        return self.at_s <= self.torch.host_s

    def elapsed_time(self, end: FakeEvent) -> float:
        """Milliseconds; both must have passed."""
        assert self.query()
        assert end.query()
        assert self.at_s is not None
        assert end.at_s is not None
        return (end.at_s - self.at_s) * 1e3
