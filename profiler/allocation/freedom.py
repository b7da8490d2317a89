"""What may be chosen for a network: the precisions, the layers that stay wide, and what is forbidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from profiler.errors import ProfilerError
from profiler.workload import Network, Precision, widest_first


@dataclass(frozen=True)
class Freedom:
    """``precisions`` from the widest to the narrowest; ``allowed`` has the levels (indices into them) of the layers
    that may not have all. ``only_priced`` leaves out what has no price at all, instead of refusing the network: such
    layers stay as wide as they may be."""

    precisions: tuple[Precision, ...]
    allowed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    only_priced: bool = False

    def levels(self, layer: str) -> tuple[int, ...]:
        """Those that a layer may have."""
        return self.allowed.get(layer, tuple(range(len(self.precisions))))


def freedom(
    network: Network,
    precisions: Sequence[Precision],
    keep: Sequence[str] = (),
    forbid: Sequence[str] = (),
    only_priced: bool = False,
) -> Freedom:
    """``keep`` : layers that stay in the widest precision: ``first``, ``last``, names, or patterns with ``*``.
    ``forbid`` : ``PATTERN=PRECISION``.

    Raises `ProfilerError` for a pattern that fits no layer with weights, and for a layer that is left with nothing.
    """
    ordered = widest_first(precisions)
    kept = {name for pattern in keep for name in _matching(network, pattern, "--keep")}
    allowed: dict[str, tuple[int, ...]] = dict.fromkeys(kept, (0,))
    for text in forbid:
        pattern, separator, name = text.rpartition("=")
        if not separator:
            raise ProfilerError(f"--forbid {text}: write LAYER=PRECISION, for instance 'layer1.*=int4'")
        precision = Precision.parse(name)
        if precision not in ordered:
            raise ProfilerError(f"--forbid {text}: {precision.name} is not among the precisions to choose from")
        level = ordered.index(precision)
        for layer in _matching(network, pattern, "--forbid"):
            left = tuple(other for other in allowed.get(layer, tuple(range(len(ordered)))) if other != level)
            if not left:
                raise ProfilerError(f"--forbid {text}: no precision is left for layer '{layer}'")
            allowed[layer] = left
    return Freedom(ordered, allowed, only_priced)


def _matching(network: Network, pattern: str, option: str) -> Iterator[str]:
    names = [layer.name for layer in network.weighted_layers]
    if not names:
        raise ProfilerError(f"network '{network.name}' has no layer with weights: there is nothing to allocate")
    text = pattern.strip()
    ends = {"first": names[0], "last": names[-1]}
    if text in ends and text not in names:
        yield ends[text]
        return
    found = [name for name in names if name == text] or [name for name in names if fnmatchcase(name, text)]
    if not found:
        near = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise ProfilerError(f"{option}: no convolution or dense layer of '{network.name}' is called '{text}' ({near})")
    yield from found
