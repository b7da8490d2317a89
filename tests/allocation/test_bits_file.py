"""bits.json: what is written is read again, and what is broken is refused with its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.allocation.bits_file import (
    BITS_VERSION,
    FORMAT,
    Bits,
    LatencyParts,
    LayerBits,
    LimitReached,
    TensorBits,
    TensorConversion,
    dumps,
    is_bits,
    load,
    save,
)
from profiler.errors import InvalidFile, InvalidWorkload
from profiler.workload import INT4, INT8
from tests.e2e.command import DENSE, NETWORK

Place = tuple[str | int, ...]

BITS = Bits(
    network="small",
    batch=1,
    layers=(LayerBits("conv1", "int8", fixed=True), LayerBits("conv2", "int4"), LayerBits("fc", "int8")),
    tensors=(TensorBits("image", "int8"), TensorBits("first", "int8"), TensorBits("sum", "int8")),
    conversions=(TensorConversion("first", "int8", "int4", ("conv2",)),),
    separate=("add",),
    limits=(LimitReached("latency", 1e-3, 0.9e-3), LimitReached("size", 5000.0, 4192.0)),
    sensitivity=0.1 + 0.2,
    sensitivity_source="max-abs",
    bound=0.3,
    gap=1e-16,
    status="optimal",
    latency=LatencyParts(0.9e-3, 0.5e-3, 0.1e-3, 0.3e-3, 0.95e-3, 0.95, 1.1e-3, False, ("add",)),
    size_bytes=4192.0,
    bops=3.5e9,
    activation_bytes=3072.0,
    energy_j=0.02,
    device="cpu",
    device_name="A CPU \u2122",
    fingerprint="01234567",
    lut="lut/cpu.csv",
)
BARE = replace(
    BITS,
    tensors=(), conversions=(), separate=(), limits=(), energy_j=None,
    latency=LatencyParts(1e-3, 1e-3, 0.0, 0.0, 1e-3, kernel_only=True),
)  # fmt: skip


@pytest.mark.parametrize("bits", [BITS, BARE])
def test_what_is_saved_is_loaded(tmp_path: Path, bits: Bits) -> None:
    path = tmp_path / "bits.json"
    save(path, bits)
    assert load(path) == bits
    assert is_bits(path)
    assert path.read_text() == dumps(load(path))
    body = json.loads(path.read_text())
    assert (body["format"], body["version"]) == (FORMAT, BITS_VERSION)


def test_precisions_of_layers() -> None:
    assert BITS.precision_of("conv1") == INT8
    assert BITS.precision_of("conv2") == INT4
    with pytest.raises(KeyError):
        BITS.precision_of("add")


def test_integers_are_numbers(tmp_path: Path) -> None:
    """Other programs write 4192 for 4192.0."""
    body = _body()
    body["size_bytes"] = 4192
    assert load(_written(tmp_path, body)) == BITS


def _body() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dumps(BITS))
    return found


def _written(folder: Path, body: Any) -> Path:
    path = folder / "bits.json"
    path.write_text(json.dumps(body))
    return path


def _refused(path: Path, *parts: str) -> None:
    with pytest.raises(InvalidFile) as error:
        load(path)
    text = str(error.value)
    assert text.startswith(f"{path}: "), text
    assert "\n" not in text
    for part in parts:
        assert part in text, text


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Of everything in the file, from the outside in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from _places(inner, (*place, key))


FIELDS = [place for place in _places(_body()) if place[0] not in ("format", "version")]


def _owner(body: Any, place: Place) -> Any:
    for key in place[:-1]:
        body = body[key]
    return body


def _text(place: Place) -> str:
    return "bits" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)


def test_all_fields_are_among_the_places() -> None:
    """Else the tests below would look at less than they say."""
    assert set(Bits.__dataclass_fields__) <= {place[0] for place in FIELDS}
    assert ("layers", 1, "precision") in FIELDS
    assert ("latency", "confidence") in FIELDS
    assert len(FIELDS) > 60


@pytest.mark.parametrize("place", [p for p in FIELDS if isinstance(p[-1], str)], ids=_text)
def test_missing_fields_are_refused(tmp_path: Path, place: Place) -> None:
    body = _body()
    del _owner(body, place)[place[-1]]
    _refused(_written(tmp_path, body), f"{_text(place[:-1])}: '{place[-1]}' is missing")


@pytest.mark.parametrize("place", FIELDS, ids=_text)
def test_broken_fields_are_refused(tmp_path: Path, place: Place) -> None:
    right = _owner(_body(), place)[place[-1]]
    wrongs: list[Any] = [{"a": 1}, [[]]]
    if isinstance(right, bool):
        wrongs += [1, "true", None]
    elif isinstance(right, (int, float)):
        wrongs += [True, "1", float("nan"), float("inf"), 10**400 if isinstance(right, float) else 1.5]
    elif isinstance(right, str):
        wrongs += [1, True, None]
    else:
        wrongs += [1, "text", None]
    for wrong in wrongs:
        body = _body()
        _owner(body, place)[place[-1]] = wrong
        _refused(_written(tmp_path, body), _text(place))


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    for place in ((), ("latency",), ("layers", 0), ("conversions", 0)):
        body = _body()
        owner = body
        for key in place:
            owner = owner[key]
        owner["colour"] = "red"
        _refused(_written(tmp_path, body), f"{_text(place)}: 'colour' is unknown")


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, True])
def test_other_versions_are_refused(tmp_path: Path, version: Any) -> None:
    _refused(_written(tmp_path, {**_body(), "version": version}), f"version {version!r} of bits.json is unknown")


@pytest.mark.parametrize("body", [[], 1, {}, {"format": "another"}, {"layers": []}])
def test_other_files_are_refused(tmp_path: Path, body: Any) -> None:
    path = _written(tmp_path, body)
    _refused(path, "is not a bits.json; make one with the command allocate")
    assert not is_bits(path)


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "not JSON"), (b"{", "not JSON"), (b"[" * 200_000, "not JSON"), (b"\xff", "not UTF-8 text")],
)  # fmt: skip
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "bits.json"
    path.write_bytes(content)
    _refused(path, part)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "nowhere.json", "cannot be read: No such file")
    _refused(tmp_path, "cannot be read: Is a directory")


@pytest.mark.parametrize(
    "place",
    [
        ("layers", 1, "precision"),
        ("tensors", 0, "precision"),
        ("conversions", 0, "source"),
        ("conversions", 0, "target"),
    ],
)
def test_unknown_precisions_are_refused(tmp_path: Path, place: Place) -> None:
    body = _body()
    _owner(body, place)[place[-1]] = "int9"
    _refused(_written(tmp_path, body), "unknown precision 'int9'")
    with pytest.raises(InvalidWorkload):
        replace(BITS, layers=(LayerBits("conv1", "int9"),))


@pytest.mark.parametrize(("what", "field"), [("layer", "layers"), ("tensor", "tensors")])
def test_names_that_are_listed_twice_are_refused(tmp_path: Path, what: str, field: str) -> None:
    body = _body()
    body[field].append(copy.deepcopy(body[field][0]))
    _refused(_written(tmp_path, body), f"a {what} is listed twice")


@pytest.mark.parametrize("batch", [0, -1, 4097, 10**9, 10**400])
def test_batches_that_no_command_runs_are_refused(tmp_path: Path, batch: int) -> None:
    path = _written(tmp_path, {**_body(), "batch": batch})
    _refused(path, "the batch is none of 1 to 4096 images")
    with pytest.raises(InvalidFile) as caught:
        load(path)
    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize("field", ["batch", "size_bytes", "version"])
def test_numbers_of_too_many_digits_are_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "bits.json"
    path.write_text(json.dumps({**_body(), field: "here"}).replace('"here"', "1" * 6000))
    _refused(path, "a number with too many digits")
    with pytest.raises(InvalidFile) as caught:
        load(path)
    assert "set_int_max_str_digits" not in str(caught.value)


def test_the_network_must_be_the_one_of_the_bits() -> None:
    layers = tuple(LayerBits(layer.name, "int8") for layer in BITS.layers)
    fitting = replace(BITS, layers=layers, conversions=())
    fitting.require_network(NETWORK)
    fitting.require_network(replace(NETWORK, name="renamed"))  # its layers are what counts
    for bits, part in (
        (replace(BITS, layers=BITS.layers[:-1]), "'fc' is in one of them only"),
        (replace(BITS, layers=(*BITS.layers, LayerBits("conv3", "int8"))), "'conv3' is in one of them only"),
        (replace(BITS, layers=BITS.layers[::-1]), "their order differs"),
        (replace(BITS, tensors=(TensorBits("elsewhere", "int8"),)), "no tensor 'elsewhere'"),
        (replace(BITS, conversions=(TensorConversion("odd", "int8", "int4", ()),)), "no tensor 'odd'"),
        (replace(BITS, separate=("add", "odd")), "no layer 'odd'"),
        (replace(BITS, conversions=(TensorConversion("first", "int8", "int4", ("odd",)),)), "no layer 'odd'"),
        (replace(BITS, latency=replace(BITS.latency, unpriced=("odd",))), "no layer 'odd'"),
    ):
        with pytest.raises(InvalidFile, match="the bits are of another network called 'small'") as error:
            bits.require_network(NETWORK)
        assert part in str(error.value)
    with pytest.raises(InvalidFile, match="not of 'dense'"):
        BITS.require_network(DENSE)


def test_numbers_that_json_does_not_have_are_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps(replace(BITS, gap=float("nan")))
