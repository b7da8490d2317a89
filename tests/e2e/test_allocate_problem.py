"""`allocate --problem` as a user runs it: one problem file, limits, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.allocation.test_problem_file import PUBLISHED, SUMS, BruteForce
from tests.e2e.command import Outcome, Place

Command = Callable[[list[str]], Outcome]

ANSWER = {"bits", "objective", "latency_ms", "size_bytes", "bops", "status", "gap", "bound", "seconds"}
KEYS = ANSWER | {"network", "limits", "reason"}


@pytest.fixture(scope="module")
def published() -> BruteForce:
    return BruteForce(json.loads(PUBLISHED.read_text()))


def _json(text: str) -> Any:
    """Refuses what JSON does not have, which Python would read."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def _problem(*limits: str, more: tuple[str, ...] = ()) -> list[str]:
    chosen = [part for limit in limits for part in ("--limit", limit)]
    return ["allocate", "--problem", str(PUBLISHED), *chosen, *more]


@pytest.mark.parametrize("fraction", [0.75, 0.5, 0.25])
def test_the_optimum_as_json(command: Command, published: BruteForce, fraction: float) -> None:
    limits = {quantity: published.most(quantity, fraction) for quantity in SUMS}
    answer = command(_problem(*(f"{quantity.value}={fraction}" for quantity in SUMS), more=("--json",)))
    assert (answer.code, answer.err) == (0, "")
    found = _json(answer.out)
    assert set(found) == KEYS
    assert (found["network"], found["status"], found["gap"], found["reason"]) == ("resnet18", "optimal", 0, "")
    assert len(found["bits"]) == 19
    assert all(type(bits) is int for bits in found["bits"])
    within = published.feasible(limits)
    best = published.objective[within].min()
    assert found["objective"] == pytest.approx(best, rel=1e-9)
    assert found["bound"] == pytest.approx(best, rel=1e-9)
    chosen = int(np.flatnonzero((published.bits == np.array(found["bits"])[:, None]).all(axis=0))[0])
    assert within[chosen]
    latency, size, bops = (published.costs[quantity][chosen] for quantity in SUMS)
    assert found["latency_ms"] == pytest.approx(latency * 1e3, rel=1e-12)
    assert found["size_bytes"] == pytest.approx(size, rel=1e-12)
    assert found["bops"] == pytest.approx(bops, rel=1e-12)
    assert found["limits"] == {quantity.value: pytest.approx(most) for quantity, most in limits.items()}


def test_the_program_itself(place: Place, published: BruteForce) -> None:
    """Not in this process: nothing but JSON on standard output, and no traceback anywhere."""
    answer = place.run(_problem("size=0.5", more=("--json",)))
    assert (answer.code, answer.err) == (0, "")
    assert _json(answer.out)["status"] == "optimal"
    answer = place.run(["allocate", "--problem", str(place.folder / "nowhere.json"), "--json"])
    assert answer.refused("nowhere.json: cannot be read"), answer


def test_without_limits_all_is_as_insensitive_as_can_be(command: Command, published: BruteForce) -> None:
    found = _json(command(_problem(more=("--json",))).out)
    assert found["bits"] == [8] * 19
    assert found["objective"] == pytest.approx(published.objective.min(), rel=1e-12)
    assert found["limits"] == {}


def test_amounts_and_fractions_are_the_same_limits(command: Command, published: BruteForce) -> None:
    most = published.most(SUMS[0], 0.5)
    by_fraction = _json(command(_problem("latency=0.5", more=("--json",))).out)
    by_amount = _json(command(_problem(f"latency={most * 1e3!r}ms", more=("--json",))).out)
    by_option = _json(command(_problem(more=("--max-latency", "0.5", "--json"))).out)
    assert by_fraction["bits"] == by_amount["bits"] == by_option["bits"]


def test_the_table(command: Command) -> None:
    answer = command(_problem("latency=0.5", "size=8MB"))
    assert (answer.code, answer.err) == (0, "")
    for part in ("stage1.unit1.quant_convbn1", "resnet18: sensitivity ", "size: ", " of at most 8 MB", "optimal"):
        assert part in answer.out


def test_limits_that_cannot_be_met(command: Command, published: BruteForce) -> None:
    """The least that is possible is told, and is possible when it is typed in."""
    least = published.costs[SUMS[1]].min()
    answer = command(_problem("size=1MB", "latency=0.5"))
    assert answer.refused(str(PUBLISHED), "a limit cannot be met: size of at most 1 MB asked, the least that is"), (
        answer
    )
    text = answer.err.strip().rpartition(" is ")[2]
    assert float(text.removesuffix(" MB")) * 1e6 == pytest.approx(least, rel=1e-4)
    assert command(_problem(f"size={text}")).code == 0

    said = command(_problem("size=1MB", more=("--json", "--pareto", "latency")))
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    found = _json(said.out)
    assert set(found) == KEYS
    assert found["status"] == "infeasible"
    assert "size of at most 1 MB" in found["reason"]
    for key in ("bits", "objective", "latency_ms", "size_bytes", "bops", "gap", "bound"):
        assert found[key] is None


def test_limits_that_exclude_each_other(command: Command, tmp_path: Path) -> None:
    """Each can be met alone: INT4 is small but slow."""
    layer = {
        "parameters": 1000, "macs": 1, "hessian_trace_normalised": 1,
        "weight_perturbation_sq": {"int8": 1, "int4": 2}, "latency_ms": {"int8": 1, "int4": 2},
    }  # fmt: skip
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({"layers": [layer]}))
    answer = command(["allocate", "--problem", str(path), "--limit", "size=0.5kB", "--limit", "latency=1ms"])
    assert answer.refused(
        "the limits cannot be met together",
        "size of at most 500 B asked, the least that is possible while the others hold is 1 kB",
        "latency of at most 1 ms asked, the least that is possible while the others hold is 2 ms",
    ), answer


def test_pareto(command: Command, published: BruteForce) -> None:
    latency, objective = published.costs[SUMS[0]], published.objective
    expected: list[float] = []
    for index in np.lexsort((objective, latency)):
        if not expected or objective[index] < expected[-1] - 1e-12:
            expected.append(objective[index])
    answer = command(_problem("size=0.5", more=("--pareto", "size", "--points", "4", "--json")))
    few = _json(answer.out)["pareto"]
    assert (few["quantity"], few["exact"], few["complete"]) == ("size", False, True)
    assert 2 <= len(few["points"]) <= 4
    answer = command(_problem(more=("--pareto", "latency", "--json")))
    assert (answer.code, answer.err) == (0, "")
    found = _json(answer.out)
    assert set(found) == KEYS | {"pareto"}
    front = found["pareto"]
    assert set(front) == {"quantity", "exact", "complete", "points"}
    assert (front["quantity"], front["exact"], front["complete"]) == ("latency", True, True)
    assert all(set(point) == ANSWER for point in front["points"])
    assert [point["objective"] for point in front["points"]] == pytest.approx(expected[::-1], rel=1e-9)
    latencies = [point["latency_ms"] for point in front["points"]]
    assert latencies == sorted(latencies, reverse=True)
    assert front["points"][0]["bits"] == found["bits"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (_problem("latency=0.5", "latency=3ms"), ["latency is limited twice"]),
        (_problem("size=0.5", more=("--max-size", "8MB")), ["size is limited twice"]),
        (_problem("speed=0.5"), ["the limit 'speed=0.5'", "latency, size, bops"]),
        (_problem("0.5"), ["the limit '0.5' does not say what it limits"]),
        (_problem("latency=fast"), ["the limit of latency is 'fast'"]),
        (_problem("latency=2"), ["a number without unit is a fraction"]),
        (_problem("latency=8MB"), ["unknown unit 'MB'"]),
        (_problem("size=1e305GB"), ["the limit of size is"]),
        (_problem("energy=0.5"), ["says nothing of energy; it can be limited in latency, size and bops"]),
        (_problem("memory=0.5"), ["says nothing of memory"]),
        (_problem(more=("--pareto", "energy")), ["says nothing of energy"]),
        (_problem(more=("--pareto", "speed")), ["--pareto speed: known are latency"]),
        (_problem(more=("--points", "5")), ["say --pareto latency"]),
        (["allocate", "resnet18", "--problem", str(PUBLISHED)], ["--problem is instead of a network"]),
        (["allocate"], ["say what to allocate"]),
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_refused(command: Command, arguments: list[str], parts: list[str], more: list[str]) -> None:
    answer = command([*arguments, *more])
    assert answer.refused(*parts), answer


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"{", ["is not JSON"]),
        (b"\xff", ["not UTF-8 text"]),
        (b"[]", ["no list 'layers'"]),
        (b'{"layers": []}', ["'layers' is empty"]),
        (b'{"layers": [{"latency_ms": {"int8": 1}, "hessian_trace_normalised": NaN}]}', ["layer 0", "hessian_trace"]),
        (b'{"layers": [{"name": "a\\u001b[2Jb\\n", "latency_ms": {"int8": 1}}]}', ["layer 0", "'name'"]),
        (b'{"layers": [{"latency_ms": {"a\\nb": 1}}]}', ["layer 0", "is no precision"]),
    ],
)  # fmt: skip
def test_broken_files(command: Command, tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    for more in ([], ["--json"], ["--pareto", "latency"]):
        answer = command(["allocate", "--problem", str(path), *more])
        assert answer.refused("broken.json", *parts), answer
