"""The range of what a model has seen: outside of it a prediction is a guess, and says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from profiler.workload import DType, KernelSpec, Op

_TOLERANCE = 1.1
"""How far beyond the extremes an extent may lie before it counts as unseen."""


@dataclass(frozen=True)
class _Kind:
    """Kernels that are compared with each other."""

    op: Op
    depthwise: bool
    weights: DType | None

    @staticmethod
    def of(spec: KernelSpec) -> _Kind:
        return _Kind(spec.workload.op, spec.workload.is_depthwise, spec.weight_dtype)

    @property
    def text(self) -> str:
        weights = f" with {self.weights.value} weights" if self.weights else ""
        return f"{'depthwise ' if self.depthwise else ''}{self.op.value}{weights}"


@dataclass(frozen=True)
class _Range:
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low / _TOLERANCE <= value <= self.high * _TOLERANCE


class Envelope:
    """What was seen of each kind of kernel: its ranges, its types and its epilogues."""

    def __init__(self, specs: Iterable[KernelSpec]) -> None:
        self._ranges: dict[_Kind, dict[str, _Range]] = {}
        self._forms: dict[_Kind, set[tuple[str, str]]] = {}
        for spec in specs:
            kind = _Kind.of(spec)
            ranges = self._ranges.setdefault(kind, {})
            for name, value in _extents(spec).items():
                known = ranges.get(name, _Range(value, value))
                ranges[name] = _Range(min(known.low, value), max(known.high, value))
            self._forms.setdefault(kind, set()).update(_forms(spec))

    def warnings(self, spec: KernelSpec) -> tuple[str, ...]:
        """In what the kernel lies outside of it, a line each; none if it lies inside."""
        kind = _Kind.of(spec)
        if kind not in self._ranges:
            return (f"no {kind.text} was measured",)
        ranges, forms = self._ranges[kind], self._forms[kind]
        found = [f"no {kind.text} with {what} {value} was measured" for what, value in _forms(spec) - forms]
        for name, value in _extents(spec).items():
            if not ranges[name].holds(value):
                low, high = ranges[name].low, ranges[name].high
                found.append(f"{name} {value:.4g} is outside of the {low:.4g} to {high:.4g} that were measured")
        return tuple(sorted(found))


def _extents(spec: KernelSpec) -> dict[str, float]:
    w = spec.workload
    found = {
        "batch": w.batch,
        "pixels": w.batch * w.out_height * w.out_width,
        "output channels": w.out_channels,
        "input channels": w.in_channels,
    }
    if w.op in (Op.CONV2D, Op.MAX_POOL, Op.AVG_POOL):
        found |= {"kernel height": w.kernel_h, "kernel width": w.kernel_w, "stride": max(w.stride_h, w.stride_w)}
        found["dilation"] = max(w.dilation_h, w.dilation_w)
    if w.op.has_weights:
        found |= {"products": w.macs, "channels of a group": w.group_inputs}
    return {name: float(value) for name, value in found.items()}


def _forms(spec: KernelSpec) -> set[tuple[str, str]]:
    second = f"+{spec.input2_dtype.value}" if spec.input2_dtype else ""
    types = f"{spec.input_dtype.value}{second}>{spec.output_dtype.value}"  # together: mixtures differ from their parts
    return {("types", types), ("epilogue", spec.epilogue.value)}
