"""Problems as JSON files: their optima against trying all assignments in NumPy, and what is refused."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.allocation.limit_text import LimitText
from profiler.allocation.problem import Quantity
from profiler.allocation.problem_file import read_problem
from profiler.allocation_stages.from_problem import ProblemAnswer, front_of_file, solve_file
from profiler.errors import InvalidFile, ProfilerError

PUBLISHED = Path(__file__).parents[1] / "data" / "hawqv3_resnet18_ilp.json"
SUMS = (Quantity.LATENCY, Quantity.SIZE, Quantity.BOPS)
FRACTIONS = (0.75, 0.5, 0.25)
Body = dict[str, Any]
Floats = npt.NDArray[np.float64]


class BruteForce:
    """All assignments of a file that its ties admit, and what each one costs: sums over the layers, read from the file
    by nothing of ours."""

    def __init__(self, body: Body) -> None:
        layers, ties = body["layers"], body.get("ties", [])
        names = sorted(layers[0]["latency_ms"], key=lambda name: -int(name[3:]))
        self.bits_of_level = np.array([int(name[3:]) for name in names])
        # Tied layers follow the first of them, until nothing changes any more (ties may overlap).
        leader = list(range(len(layers)))
        for _ in layers:
            for tie in ties:
                for index in tie:
                    leader[index] = min(leader[other] for other in tie)
        free = sorted(set(leader))
        grid = np.indices((len(names),) * len(free)).reshape(len(free), -1)
        self.levels = grid[[free.index(first) for first in leader]]  # layers x assignments
        self.bits = self.bits_of_level[self.levels]

        def by_level(value: Callable[[Body, str], float]) -> Floats:
            table = np.array([[value(layer, name) for name in names] for layer in layers])
            picked: Floats = np.take_along_axis(table, self.levels, axis=1)
            return picked

        def perturbed(layer: Body, name: str) -> float:
            found: float = layer["hessian_trace_normalised"] * layer["weight_perturbation_sq"][name]
            return found

        parameters, macs = (np.array([[layer[key]] for layer in layers]) for key in ("parameters", "macs"))
        self.objective = by_level(perturbed).sum(axis=0)
        self.costs: Mapping[Quantity, Floats] = {
            Quantity.LATENCY: by_level(lambda layer, name: layer["latency_ms"][name]).sum(axis=0) / 1e3,
            Quantity.SIZE: (parameters * self.bits / 8).sum(axis=0),
            Quantity.BOPS: (macs * self.bits * self.bits).sum(axis=0),
        }

    def most(self, quantity: Quantity, fraction: float) -> float:
        """Of the way from the narrowest to the widest uniform network."""
        costs = self.costs[quantity]
        narrow, wide = (costs[(self.levels == level).all(axis=0)][0] for level in (self.levels.max(), 0))
        return float(narrow + fraction * (wide - narrow))

    def feasible(self, limits: Mapping[Quantity, float]) -> npt.NDArray[np.bool_]:
        within = np.ones(self.objective.shape, dtype=bool)
        for quantity, most in limits.items():
            within &= self.costs[quantity] <= most * (1 + 1e-9)
        return within

    def check(self, answer: ProblemAnswer, limits: Mapping[Quantity, float]) -> bool:
        """That the answer is one of the best; whether there is any."""
        within = self.feasible(limits)
        if not within.any():
            assert answer.status == "infeasible", (answer, limits)
            assert answer.reason
            assert answer.bits == ()
            return False
        assert (answer.status, answer.gap, answer.reason) == ("optimal", 0, "")
        assert answer.objective == pytest.approx(self.objective[within].min(), rel=1e-9, abs=1e-12)
        chosen = (self.bits == np.array(answer.bits)[:, None]).all(axis=0)
        assert chosen.sum() == 1, "the bits contradict the ties"
        assert (chosen & within).any(), "the bits exceed a limit"
        assert answer.objective == pytest.approx(self.objective[chosen][0], rel=1e-12, abs=1e-15)
        reached = (answer.latency_s, answer.size_bytes, answer.bops)
        for quantity, value in zip(SUMS, reached, strict=True):
            assert value == pytest.approx(self.costs[quantity][chosen][0], rel=1e-12)
        return True


@pytest.fixture(scope="module")
def published() -> BruteForce:
    force = BruteForce(json.loads(PUBLISHED.read_text()))
    assert force.levels.shape == (19, 1 << 16)
    return force


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("quantities", [*((quantity,) for quantity in SUMS), SUMS])
def test_published_resnet18(published: BruteForce, quantities: tuple[Quantity, ...], fraction: float) -> None:
    answer = solve_file(PUBLISHED, [LimitText(quantity, fraction=fraction) for quantity in quantities])
    limits = {quantity: published.most(quantity, fraction) for quantity in quantities}
    for limit in answer.limits:
        assert limit.most == pytest.approx(limits[limit.quantity], rel=1e-12)
    assert published.check(answer, limits)
    assert answer.objective > published.objective.min()  # the limit does something


def test_front_of_published_resnet18(published: BruteForce) -> None:
    """Every size that any assignment has, from the largest on: a point is where the best objective so far changes."""
    size, objective = published.costs[Quantity.SIZE], published.objective
    order = np.lexsort((objective, size))
    expected = []
    for index in order:
        if not expected or objective[index] < expected[-1][1] - 1e-12:
            expected.append((size[index], objective[index]))
    front = front_of_file(PUBLISHED, [], Quantity.SIZE)
    assert front.exact
    found = [(point.size_bytes, point.objective) for point in front.points]
    assert found == [pytest.approx(point, rel=1e-9) for point in reversed(expected)]


def random_body(generator: np.random.Generator) -> Body:
    """One to five layers, one to four precisions, ties that may overlap, values that are often equal or zero; an INT4
    may be slower than an INT8."""
    names = sorted(generator.choice(["int8", "int6", "int4", "int2"], int(generator.integers(1, 5)), replace=False))
    count = int(generator.integers(1, 6))

    def number() -> float:
        kind = generator.random()
        return 0.0 if kind < 0.1 else float(generator.integers(1, 4)) if kind < 0.5 else float(generator.random())

    layers = [
        {
            "name": f"layer {index}",
            "parameters": int(generator.integers(0, 50)),
            "macs": int(generator.integers(0, 50)),
            "hessian_trace_normalised": number(),
            "weight_perturbation_sq": {name: number() for name in names},
            "latency_ms": {name: number() for name in names},
        }
        for index in range(count)
    ]
    ties = [
        [int(index) for index in generator.integers(0, count, int(generator.integers(1, 4)))]
        for _ in range(int(generator.integers(0, 3)))
    ]
    return {"layers": layers, "ties": ties}


@pytest.mark.parametrize("block", range(4))
def test_random_problems_have_the_optimum_of_brute_force(block: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(block)
    path = tmp_path / "random.json"
    feasible = 0
    for _ in range(75):
        body = random_body(generator)
        path.write_text(json.dumps(body))
        force = BruteForce(body)
        texts, limits = [], {}
        for quantity in SUMS:
            kind = generator.random()
            if kind < 0.3:
                continue
            if kind < 0.6:
                fraction = float(generator.choice([0.0, 0.25, 0.5, 0.75, 1.0]))
                texts.append(LimitText(quantity, fraction=fraction))
                limits[quantity] = force.most(quantity, fraction)
            else:
                amount = float(generator.choice(force.costs[quantity])) * float(generator.choice([1.0, 1.0, 1.3, 0.5]))
                texts.append(LimitText(quantity, amount=amount))
                limits[quantity] = amount
        feasible += force.check(solve_file(path, texts), limits)
    assert 40 < feasible < 75


def _body(**changes: Any) -> Body:
    """Two layers, INT8 and INT4; ``changes`` are of the first layer."""
    layer = {
        "name": "a",
        "parameters": 100,
        "macs": 1000,
        "hessian_trace_normalised": 0.5,
        "weight_perturbation_sq": {"int8": 1.0, "int4": 2.0},
        "latency_ms": {"int8": 2.0, "int4": 1.0},
    }
    return {"layers": [{**layer, **changes}, {**copy.deepcopy(layer), "name": "b"}]}


def _solve(tmp_path: Path, body: Body, **fractions: float) -> ProblemAnswer:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(body))
    texts = [LimitText(Quantity(name), fraction=fraction) for name, fraction in fractions.items()]
    answer = solve_file(path, texts)
    force = BruteForce(body)
    assert force.check(answer, {Quantity(name): force.most(Quantity(name), f) for name, f in fractions.items()})
    return answer


def test_one_layer(tmp_path: Path) -> None:
    body = {"layers": _body()["layers"][:1]}
    assert _solve(tmp_path, body).bits == (8,)
    assert _solve(tmp_path, body, latency=0.99).bits == (4,)


def test_without_sensitivities_the_fastest_is_chosen(tmp_path: Path) -> None:
    body = {"layers": [{**layer, "hessian_trace_normalised": 0} for layer in _body()["layers"]]}
    answer = _solve(tmp_path, body)
    assert (answer.objective, answer.gap, answer.bits) == (0, 0, (4, 4))


def test_int4_that_is_slower_stays_int8(tmp_path: Path) -> None:
    body = _body(latency_ms={"int8": 1.0, "int4": 3.0}, hessian_trace_normalised=0)
    body["layers"][1]["latency_ms"] = {"int8": 4.0, "int4": 1.0}
    answer = _solve(tmp_path, body, latency=0.5)  # 4.5 ms of 4 (all INT4) to 5 (all INT8)
    assert answer.bits == (8, 4)
    assert answer.latency_s == pytest.approx(0.002)


def test_equal_latencies_leave_the_least_sensitive(tmp_path: Path) -> None:
    body = {"layers": [{**layer, "latency_ms": {"int8": 1, "int4": 1}} for layer in _body()["layers"]]}
    for fraction in (0.0, 0.5, 1.0):
        assert _solve(tmp_path, body, latency=fraction).bits == (8, 8)


def test_a_narrower_precision_may_be_less_sensitive(tmp_path: Path) -> None:
    assert _solve(tmp_path, _body(weight_perturbation_sq={"int8": 2.0, "int4": 1.0})).bits == (4, 8)


def test_ties_that_overlap_are_one_group(tmp_path: Path) -> None:
    layers = [{**_body()["layers"][0], "name": name} for name in "abcde"]
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({"network": "chain", "layers": layers, "ties": [[0, 1], [3, 4], [1, 3], [2]]}))
    problem = read_problem(path)
    assert (problem.network, problem.names, problem.bits) == ("chain", tuple("abcde"), (8, 4))
    assert problem.choice_of == (0, 0, 1, 0, 0)


def test_names_that_are_missing_are_made_up(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    body = _body()
    del body["layers"][1]["name"]
    path.write_text(json.dumps(body))
    problem = read_problem(path)
    assert (problem.network, problem.names) == ("mine", ("a", "layer1"))


_NUMBERS = ("parameters", "macs", "hessian_trace_normalised")
_BY_PRECISION = ("weight_perturbation_sq", "latency_ms")
_WRONG: Sequence[tuple[Any, str]] = (
    (-1, "not a finite number of at least 0"),
    (float("nan"), "not a finite number"),
    (float("inf"), "not a finite number"),
    (10**400, "not a finite number"),
    (1e101, "too large"),
    ("1", "not a number"),
    (True, "not a number"),
    (None, "not a number"),
    ([1], "not a number"),
)


def _refused(path: Path, *parts: str) -> None:
    with pytest.raises(InvalidFile) as error:
        read_problem(path)
    text = str(error.value)
    assert text.startswith(f"{path}: "), text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 250
    for part in parts:
        assert part in text, text


@pytest.mark.parametrize(("wrong", "part"), _WRONG)
@pytest.mark.parametrize("field", [*_NUMBERS, *_BY_PRECISION])
def test_broken_values_are_refused(tmp_path: Path, field: str, wrong: Any, part: str) -> None:
    body = _body()
    layer = body["layers"][1]
    if field in _NUMBERS:
        layer[field] = wrong
        place = f"layer 1 ('b'): '{field}'"
    else:
        layer[field]["int4"] = wrong
        place = f"layer 1 ('b'): '{field}': 'int4'"
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(body))
    _refused(path, place, part)


@pytest.mark.parametrize("field", [*_NUMBERS, *_BY_PRECISION])
def test_missing_fields_are_refused(tmp_path: Path, field: str) -> None:
    body = _body()
    del body["layers"][1][field]
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(body))
    _refused(path, f"layer 1 ('b'): '{field}' is missing")


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ([], ["no list 'layers'"]),
        ({}, ["no list 'layers'"]),
        ({"layers": {}}, ["no list 'layers'"]),
        ({"layers": []}, ["'layers' is empty"]),
        ({"layers": [1]}, ["layer 0"]),
        ({"layers": [*_body()["layers"], 1]}, ["layer 2 is not an object"]),
        (_body(name="b"), ["two layers are called 'b'"]),
        (_body(name=1), ["layer 0", "'name'"]),
        (_body(name="a\nb"), ["layer 0", "'name'"]),
        (_body(latency_ms={}), ["layer 0", "'latency_ms'"]),
        (_body(latency_ms=1), ["layer 0", "'latency_ms'"]),
        (_body(latency_ms={"int8": 1, "fp8": 1}), ["layer 0", "'fp8' is no precision"]),
        (_body(latency_ms={"int8": 1, "int0": 1}), ["layer 0", "'int0' is no precision"]),
        (_body(latency_ms={"int8": 1}), ["layer 0 ('a')", "'weight_perturbation_sq'", "'int4'"]),
        (_body(weight_perturbation_sq={"int8": 1}), ["layer 0 ('a')", "'weight_perturbation_sq'", "'int4' is missing"]),
        (_body(weight_perturbation_sq=[1, 2]), ["layer 0 ('a')", "'weight_perturbation_sq'"]),
        ({**_body(), "network": 3}, ["'network' is not a text"]),
        ({**_body(), "network": "a\x1b[2J"}, ["'network' is not a text"]),
        ({**_body(), "ties": 3}, ["'ties'"]),
        ({**_body(), "ties": [3]}, ["tie 0"]),
        ({**_body(), "ties": [[0, 1], []]}, ["tie 1"]),
        ({**_body(), "ties": [[0, 2]]}, ["tie 0", "2 is not the index of a layer (0 to 1)"]),
        ({**_body(), "ties": [[0, -1]]}, ["tie 0", "-1 is not the index"]),
        ({**_body(), "ties": [[0, 1.0]]}, ["tie 0", "1.0 is not the index"]),
        ({**_body(), "ties": [[0, True]]}, ["tie 0", "True is not the index"]),
        ({**_body(), "ties": [["a", "b"]]}, ["tie 0", "'a' is not the index"]),
    ],
)  # fmt: skip
def test_broken_structures_are_refused(tmp_path: Path, body: Any, parts: list[str]) -> None:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(body))
    _refused(path, *parts)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"layers": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        (b"\x00", "is not JSON"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "problem.json"
    path.write_bytes(content)
    _refused(path, part)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "nowhere.json", "cannot be read: No such file")
    _refused(tmp_path, "cannot be read: Is a directory")


@pytest.mark.parametrize("quantity", [Quantity.ENERGY, Quantity.MEMORY])
def test_limits_of_what_the_file_does_not_tell_are_refused(quantity: Quantity) -> None:
    with pytest.raises(ProfilerError, match=f"says nothing of {quantity.value}"):
        solve_file(PUBLISHED, [LimitText(quantity, fraction=0.5)])
    with pytest.raises(ProfilerError, match=f"says nothing of {quantity.value}"):
        front_of_file(PUBLISHED, [], quantity)


def test_many_layers_are_read_in_little_time(tmp_path: Path) -> None:
    layers = [{**_body()["layers"][0], "name": f"l{index}"} for index in range(5000)]
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({"layers": layers}))
    began = time.process_time()
    assert len(read_problem(path).names) == 5000
    assert time.process_time() - began < 1  # each name compared with each other one takes longer
