"""What a network answers right in integers, beside the same network in real numbers, and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.table import Cell, Column, Kind, Table
from profiler.verdict import Span


@dataclass(frozen=True)
class Share:
    """``right`` of ``images``, and the ends of the 95% interval of that share, 0 to 1. Raises `ValueError`."""

    right: int
    images: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 <= self.right <= self.images and self.images > 0 and 0 <= self.low <= self.value <= self.high <= 1):
            raise ValueError(f"not a share with its interval: {self.right} of {self.images}, {self.low} to {self.high}")

    @property
    def value(self) -> float:
        return self.right / self.images


@dataclass(frozen=True)
class Beside:
    """Answers (the class of the largest logit) beside those of the float network, image by image: ``changed`` differ,
    ``lost`` of them were right in float and are wrong, ``won`` the other way round. ``p_value`` is that of as uneven a
    split of lost and won where both are as likely (the exact test of McNemar, Psychometrika 12, 1947)."""

    changed: int
    lost: int
    won: int
    p_value: float


@dataclass(frozen=True)
class FloatAccuracy:
    """The network in real numbers. ``top5`` is None where there are no more than five classes."""

    top1: Share
    top5: Share | None


@dataclass(frozen=True)
class IntegerAccuracy:
    """A configuration of bits. ``kind`` is ``INT8``, ... where all layers are of it, else ``MIXED``. ``bits`` says how
    many layers are of which precision; ``weight_bytes`` is what all weights take. ``latency`` is that of the whole
    network, None where it was not measured."""

    name: str
    kind: str
    bits: str
    weight_bytes: float
    top1: Share
    top5: Share | None
    beside: Beside
    latency: Span | None


@dataclass(frozen=True)
class Accuracies:
    """``device_name`` is where the integer networks ran, in batches of ``batch``."""

    network: str
    device_name: str
    batch: int
    reference: FloatAccuracy
    configurations: tuple[IntegerAccuracy, ...]


def table_of(accuracies: Accuracies) -> Table:
    """A row per configuration, the float network first."""
    reference = accuracies.reference
    five = reference.top5 is not None
    columns = (
        Column("configuration", "configuration"),
        Column("bits", "layers"),
        Column("weight_bytes", "weights (bytes)", Kind.NUMBER),
        Column("images", "images", Kind.NUMBER),
        *_share_columns("top1", "top-1"),
        *(_share_columns("top5", "top-5") if five else ()),
        Column("changed", "answers changed", Kind.NUMBER),
        Column("lost", "lost", Kind.NUMBER),
        Column("won", "won", Kind.NUMBER),
        Column("p_value", "p", Kind.NUMBER),
        Column("latency_s", "latency", Kind.SECONDS),
        Column("latency_low_s", "latency from", Kind.SECONDS),
        Column("latency_high_s", "latency to", Kind.SECONDS),
    )
    empty: tuple[Cell, ...] = (None,) * 7
    rows: list[tuple[Cell, ...]] = [
        ("float", "", None, reference.top1.images, *_share_cells(reference.top1), *_share_cells(reference.top5), *empty)
    ]
    for found in accuracies.configurations:
        beside, latency = found.beside, found.latency
        times: tuple[Cell, ...] = (None, None, None)
        if latency is not None:
            times = (latency.latency_s, latency.low_s, latency.high_s)
        rows.append(
            (
                found.name,
                found.bits,
                found.weight_bytes,
                found.top1.images,
                *_share_cells(found.top1),
                *_share_cells(found.top5),
                beside.changed,
                beside.lost,
                beside.won,
                beside.p_value,
                *times,
            )
        )
    return Table(columns, tuple(rows))


def _share_columns(name: str, title: str) -> tuple[Column, ...]:
    return (
        Column(f"{name}_right", f"{title} right", Kind.NUMBER),
        Column(f"{name}_percent", title, Kind.PERCENT),
        Column(f"{name}_low_percent", f"{title} from", Kind.PERCENT),
        Column(f"{name}_high_percent", f"{title} to", Kind.PERCENT),
    )


def _share_cells(share: Share | None) -> tuple[Cell, ...]:
    """None at all where there is no such share."""
    if share is None:
        return ()
    return share.right, 100 * share.value, 100 * share.low, 100 * share.high
