"""Answers and ranks against sorting by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.network.answers import Answers


def ranked(row: list[float], label: int) -> int:
    """The place of a class, by sorting all: the largest first, of equal ones the first."""
    return sorted(range(len(row)), key=lambda index: (-row[index], index)).index(label)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_ranks_are_places_in_the_sorted_list(dtype: type) -> None:
    rng = np.random.default_rng(0)
    logits: npt.NDArray[Any] = rng.integers(-3, 4, (200, 9)).astype(dtype)  # many equal ones
    labels = rng.integers(0, 9, 200)
    found = Answers.of(logits, labels)
    assert found.ranks.tolist() == [ranked(row, label) for row, label in zip(logits.tolist(), labels, strict=True)]
    assert found.classes.tolist() == [sorted(range(9), key=lambda i: (-row[i], i))[0] for row in logits.tolist()]
    assert found.within(1) == int((found.classes == labels).sum())
    assert found.within(9) == found.count == 200


def test_a_nan_is_no_answer() -> None:
    found = Answers.of(np.array([[np.nan, 1.0, 2.0], [np.nan, -np.inf, 0.0]]), np.array([2, 0]))
    assert found.classes.tolist() == [2, 2]
    assert found.ranks[0] == 0
    assert found.ranks[1] == 1


def test_large_integers_are_told_apart() -> None:
    """As float32 both logits were the same number."""
    logits = np.array([[2**30, 2**30 + 1]], np.int32)
    assert Answers.of(logits, np.array([1])).ranks.tolist() == [0]


def test_parts_are_joined_in_order() -> None:
    logits, labels = np.eye(4), np.array([0, 1, 0, 3])
    parts = [Answers.of(logits[:3], labels[:3]), Answers.of(logits[3:], labels[3:])]
    whole = Answers.joined(parts)
    assert whole.classes.tolist() == [0, 1, 2, 3]
    assert whole.within(1) == 3
