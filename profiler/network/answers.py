"""What a network answers: the class of the largest logit, and how many classes stand before the right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Of images, in order. ``classes`` is the answer to each; ``ranks`` is how many classes stand before the right one
    by their logit, so that 0 is a right answer, and below 5 among the top five."""

    classes: Integers
    ranks: Integers

    @staticmethod
    def of(logits: Array, labels: Integers) -> Answers:
        """``logits`` : real or integer, [images, classes]. Of equal logits the first class stands before the others. A
        NaN stands behind all else."""
        values = np.where(np.isnan(logits), -np.inf, logits) if logits.dtype.kind == "f" else logits
        own = np.take_along_axis(values, labels[:, None], axis=1)
        earlier = np.arange(values.shape[1])[None, :] < labels[:, None]
        ranks = ((values > own) | ((values == own) & earlier)).sum(axis=1)
        return Answers(values.argmax(axis=1).astype(np.int64), ranks.astype(np.int64))

    @staticmethod
    def joined(parts: list[Answers]) -> Answers:
        """Of all images together; at least one part."""
        return Answers(np.concatenate([p.classes for p in parts]), np.concatenate([p.ranks for p in parts]))

    @property
    def count(self) -> int:
        return len(self.classes)

    def within(self, places: int) -> int:
        """Images whose right class is among the first so many."""
        return int((self.ranks < places).sum())
