"""The nine bit configurations that HAWQ-V3's authors published for ResNet18, found again from their problem.

Facts of their repository (bit_config.py, MIT): which of the 19 layers are at 4 bits, by limit and fraction.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.allocation.limit_text import parse_named_limit
from profiler.allocation_stages.from_problem import solve_file

PROBLEM = Path(__file__).parents[1] / "data" / "hawqv3_resnet18_ilp.json"
PUBLISHED = {
    "size=0.75": "8888888888888488884",
    "size=0.5": "8888888888888884844",
    "size=0.25": "8888888888888844444",
    "bops=0.75": "8888888848888484884",
    "bops=0.5": "8884888848884444444",
    "bops=0.25": "8884848444444444444",
    "latency=0.75": "8888888848888484884",
    "latency=0.5": "8888848848884484844",
    "latency=0.25": "8884848444444444444",
}


@pytest.mark.parametrize("limit", PUBLISHED)
def test_what_the_authors_published(limit: str) -> None:
    answer = solve_file(PROBLEM, [parse_named_limit(limit)])
    assert "".join(map(str, answer.bits)) == PUBLISHED[limit]
    assert answer.status == "optimal"
    assert answer.gap == 0
