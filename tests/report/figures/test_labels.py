"""Labels that do not lie on each other."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest

from profiler.report.figures.labels import Box, around, beside, spread


def test_positions_that_are_apart_stay() -> None:
    assert spread([30.0, 10.0, 20.0], 5.0) == [30.0, 10.0, 20.0]


def test_equal_positions_part_around_their_middle() -> None:
    assert spread([10.0, 10.0, 10.0], 4.0) == pytest.approx([6.0, 10.0, 14.0])


def test_positions_stay_in_order_apart_and_near() -> None:
    chance = random.Random(1)
    for _ in range(50):
        wanted = [chance.uniform(0, 40) for _ in range(6)]
        moved = spread(wanted, 5.0)
        order = sorted(range(6), key=lambda index: wanted[index])
        gaps = [moved[b] - moved[a] for a, b in pairwise(order)]
        assert min(gaps) >= 5.0 - 1e-9
        # Least squares: no move of all of a touching group makes it better.
        cost = sum((m - w) ** 2 for m, w in zip(moved, wanted, strict=True))
        for shift in (-0.1, 0.1):
            assert sum((m + shift - w) ** 2 for m, w in zip(moved, wanted, strict=True)) > cost


def test_nothing_is_above_the_most() -> None:
    assert spread([99.0, 100.0, 10.0], 6.0, 100.0) == pytest.approx([94.0, 100.0, 10.0])
    assert spread([100.0, 100.0, 99.0], 6.0, 100.0) == pytest.approx([94.0, 100.0, 88.0])


def test_labels_are_free_of_each_other_of_marks_and_of_texts() -> None:
    chance = random.Random(2)
    inside = Box(0, 0, 400, 300)
    points = [(chance.uniform(0, 400), chance.uniform(0, 300)) for _ in range(25)]
    marks, texts = [around(x, y, 4) for x, y in points], [Box(100, 100, 180, 112)]
    boxes = beside(points, [(60.0, 10.0)] * 25, texts, marks, inside, 7.0)
    placed = [box for box in boxes if box is not None]
    assert len(placed) >= 20
    assert not any(a.meets(b) for a, b in combinations(placed, 2))
    assert not any(box.meets(other) for box in placed for other in (*marks, *texts))
    assert all(inside.holds(box) for box in placed)
    for (x, y), box in zip(points, boxes, strict=True):
        if box is not None:
            near_x, near_y = box.nearest(x, y)
            assert abs(near_x - x) <= 50
            assert abs(near_y - y) <= 50


def test_a_label_without_room_is_left_out() -> None:
    assert beside([(5.0, 5.0)], [(60.0, 10.0)], [], [], Box(0, 0, 10, 10), 7.0) == [None]


def test_boxes_that_only_touch_do_not_meet() -> None:
    assert not Box(0, 0, 1, 1).meets(Box(1, 0, 2, 1))
    assert Box(0, 0, 1, 1).meets(Box(0.9, 0.9, 2, 2))
