from __future__ import annotations

import pytest

from profiler.record import Failure, FailureKind, Measurement
from profiler.tuning.efficiency import trials_until
from tests.tuning.simulation import CONDITIONS, conv


def record(latency_s: float | None) -> Measurement | Failure:
    if latency_s is None:
        return Failure(conv(), "c", CONDITIONS, "f", FailureKind.CRASH, "", "r", 0.0, "0")
    return Measurement(conv(), "c", CONDITIONS, "f", "ab" * 32, (latency_s,), 1, 0, "screen", "r", 0.0, "0")


@pytest.mark.parametrize(
    ("latencies_s", "best_s", "expected"),
    [
        ((1.0,), None, 1),
        ((2.0, None, 1.04, 1.0), None, 3),
        ((2.0, None, 1.06, 1.0), None, 4),
        ((2.0, 1.5), 1.0, None),
        ((2.0, 1.05), 1.0, 2),
        ((None, None), None, None),
        ((), None, None),
    ],
)
def test_trials_until(latencies_s: tuple[float | None, ...], best_s: float | None, expected: int | None) -> None:
    assert trials_until([record(s) for s in latencies_s], 0.05, best_s) == expected
