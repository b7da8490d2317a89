"""Integer networks as files: there and back, and whatever is damaged or made up is one line."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidFile, OutputError
from profiler.network import integer_file
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.workload import DType, Epilogue
from tests.network.integer_drafts import Draft, random_inputs

WEIGHT = "0/weight.npy"


def network() -> IntegerNetwork:
    """Every kind of step, four bits too; names that a file must not trip over, and scales of each channel."""
    draft = Draft(seed=1, batch=2)
    x = draft.input(5, 5, 3, DType.INT8)
    a = draft.conv(x, 4, 3)
    b = draft.conv(a, 4, epilogue=Epilogue.ADD_REQUANT_RELU, residual=a)
    c = draft.conv(draft.convert(a, DType.UINT4), 4, 3, weight=DType.INT4)
    pooled = draft.avg_pool(draft.max_pool(draft.concat([draft.add(b, c), c])))
    made = draft.network([draft.dense(pooled, 3)], "a network ☃ with 'quotes' / slashes \\ and \"more\"")
    values = (replace(made.values[0], scale=(1 / 3,)), replace(made.values[1], scale=(0.1, 1e-30, 1 / 3, 2.0)))
    values = (*values, *made.values[2:])
    steps = (replace(made.steps[0], name="../weight.npy", layer="<b>layer</b>"), *made.steps[1:])
    return replace(made, values=values, steps=steps)


NETWORK = network()
DATA = integer_file.to_bytes(NETWORK)
ENTRIES = {name: zipfile.ZipFile(io.BytesIO(DATA)).read(name) for name in zipfile.ZipFile(io.BytesIO(DATA)).namelist()}
DESCRIPTION: Mapping[str, Any] = json.loads(ENTRIES["network.json"])


def archive(entries: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", how) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return data.getvalue()


def described(change: Callable[[Any], None]) -> bytes:
    """The file with another description."""
    body = copy.deepcopy(dict(DESCRIPTION))
    change(body)
    return archive({**ENTRIES, "network.json": json.dumps(body).encode()})


def reason(folder: Path, data: bytes) -> str:
    """Why it is refused, on one line that names the file."""
    path = folder / "network.npz"
    path.write_bytes(data)
    with pytest.raises(InvalidFile) as caught:
        integer_file.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    return text


def outcome(path: Path) -> IntegerNetwork | str:
    """A network whose parameters are those of ours, or that it is refused; any other exception is a defect."""
    try:
        found = integer_file.load(path)
    except InvalidFile as error:
        return "refused" if str(error).isprintable() else str(error)
    same = all(
        np.array_equal(values, theirs.parameters[name])
        for ours, theirs in zip(NETWORK.steps, found.steps, strict=True)
        for name, values in ours.parameters.items()
    )
    return found if same else "other parameters"


# -- there and back ---------------------------------------------------------------------------------------------------


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "network.npz"
    integer_file.save(path, NETWORK)
    assert integer_file.is_integer_network(path)
    found = integer_file.load(path)
    assert found == NETWORK
    assert (found.values[0].scale, found.values[1].scale) == ((1 / 3,), (0.1, 1e-30, 1 / 3, 2.0))
    for ours, theirs in zip(NETWORK.steps, found.steps, strict=True):
        assert list(ours.parameters) == list(theirs.parameters)
        for name, values in ours.parameters.items():
            assert theirs.parameters[name].dtype == values.dtype
            np.testing.assert_array_equal(theirs.parameters[name], values)
    inputs = random_inputs(NETWORK)
    expected = oracle_run(NETWORK, inputs)
    for name, values in oracle_run(found, inputs).items():
        np.testing.assert_array_equal(values, expected[name])


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    integer_file.save(path, NETWORK)
    assert path.read_bytes() == DATA == integer_file.to_bytes(network())
    assert integer_file.to_bytes(integer_file.load(path)) == DATA
    assert integer_file.to_bytes(replace(NETWORK, name="another")) != DATA


def test_numpy_reads_the_arrays(tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    path.write_bytes(DATA)
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["0/weight"], NETWORK.steps[0].parameters["weight"])


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"none\.npz: cannot be read: No such file"):
        integer_file.load(tmp_path / "none.npz")
    with pytest.raises(InvalidFile, match="cannot be read: Is a directory"):
        integer_file.load(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        integer_file.save(tmp_path, NETWORK)


OTHERS = [b"", b"PK", b"layer,int8\n", archive({"x.npy": b""})]
OTHERS += [archive({"network.json": text}) for text in (b"[]", b"\xff\xfe\x00", b"{" * 10, b"{}")]


@pytest.mark.parametrize("data", OTHERS, ids=range(len(OTHERS)))
def test_other_files_are_none(tmp_path: Path, data: bytes) -> None:
    reason(tmp_path, data)
    assert not integer_file.is_integer_network(tmp_path / "network.npz")
    assert not integer_file.is_integer_network(tmp_path)
    assert not integer_file.is_integer_network(tmp_path / "none.npz")


# -- damaged ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    for end in sorted({*range(0, len(DATA), 211), len(DATA) - 1}):
        reason(tmp_path, DATA[:end])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, len(DATA)), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_no_damage_is_anything_but_an_invalid_file(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], at_the_end: bool
) -> None:
    """Bytes anywhere, or in the directory at the end. What is read all the same is what was written: the checksums of
    the archive leave nothing else, and dates count for nothing."""
    data = bytearray(DATA)
    for place, byte in changes:
        data[-(place % 1500) - 1 if at_the_end else -place] = byte
    path = tmp_path_factory.mktemp("damaged") / "network.npz"
    path.write_bytes(data)
    integer_file.is_integer_network(path)
    assert outcome(path) in (NETWORK, "refused")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_head_of_an_array_is_anything_but_an_invalid_file(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    """With the right checksum: as somebody would make it on purpose."""
    content = bytearray(ENTRIES[WEIGHT])
    for place, byte in changes:
        content[place] = byte
    path = tmp_path_factory.mktemp("damaged") / "network.npz"
    path.write_bytes(archive({**ENTRIES, WEIGHT: bytes(content)}, zipfile.ZIP_STORED))
    assert outcome(path) in (NETWORK, "refused")


@pytest.mark.parametrize("name", list(ENTRIES)[:4] + list(ENTRIES)[-1:])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    text = reason(tmp_path, archive({other: data for other, data in ENTRIES.items() if other != name}))
    assert name in text
    assert "missing" in text


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_other_compressions_are_refused(tmp_path: Path, how: int) -> None:
    assert "compressed" in reason(tmp_path, archive(ENTRIES, how))


# -- made up ----------------------------------------------------------------------------------------------------------


def head(shape: str, descr: str = "'|i1'", order: str = "False") -> bytes:
    """Of an array that says so, and has nothing behind it."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def saved(array: Any) -> bytes:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=True)
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(np.array([print, {}], object)), "Object arrays cannot be loaded"),
        (saved(np.zeros((4, 3, 3, 3))), "is not integers of shape"),
        (saved(np.zeros((4, 3, 3, 3), bool)), "is not integers of shape"),
        (saved(np.zeros((4, 3, 3, 3), [("a", "i1")])), "is not integers of shape"),
        (saved(np.zeros((4, 3, 3), np.int8)), "is not integers of shape"),
        (saved(np.full((4, 3, 3, 3), 128)), "out of its range"),
        (saved(np.zeros((400, 3, 3, 300), np.int8)), "is larger than its kernel's operand"),
        (head("(1000000000000,)"), ""),
        (head("(4294967296, 4294967296)"), ""),
        (head("(-4, 3, 3, 3)"), ""),
        (head("(4, 3, 3, 3)"), ""),
        (head("(4, 3"), ""),
        (head("(4, 3, 3, 3)", "'|O'"), "Object arrays cannot be loaded"),
        (head("(4, 3, 3, 3)", "'|i99'"), ""),
        (head("(" * 40), ""),
        (b"\x93NUMPY\x09\x00", ""),
        (b"", ""),
        (ENTRIES[WEIGHT][:-1], ""),
        (ENTRIES[WEIGHT] + b"\0", "has something behind its array"),
        (ENTRIES[WEIGHT][:8] + b"A" + ENTRIES[WEIGHT][9:], "has something behind its array"),  # it begins too early
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_an_array_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in reason(tmp_path, archive({**ENTRIES, WEIGHT: content}))


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte, that says how long it is: nobody unpacks it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in ENTRIES.items():
            if name != WEIGHT:
                file.writestr(name, content)
        with file.open(WEIGHT, "w", force_zip64=True) as entry:
            entry.write(head("(1073741824,)"))
            for _ in range(64):
                entry.write(bytes(1 << 20))
    assert "is larger than" in reason(tmp_path, data.getvalue())


def test_a_description_does_not_go_off_either(tmp_path: Path) -> None:
    """Whoever asks whether a file is ours unpacks no gigabyte."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("network.json", b" " * (65 << 20) + ENTRIES["network.json"])
    assert "'network.json' is larger than" in reason(tmp_path, data.getvalue())
    assert not integer_file.is_integer_network(tmp_path / "network.npz")


def test_images_are_told_from_a_network(tmp_path: Path) -> None:
    np.savez(tmp_path / "network.npz", image=np.zeros((1, 3, 4, 4), np.float32))
    text = reason(tmp_path, (tmp_path / "network.npz").read_bytes())
    assert text.endswith("network.npz: not an integer network: 'network.json' is missing; quantize again")


def put(*keys: Any, value: Any) -> Callable[[Any], None]:
    """Sets a member of the description, deep inside."""

    def change(body: Any) -> None:
        for key in keys[:-1]:
            body = body[key]
        body[keys[-1]] = value

    return change


NOT_NUMBERS = [None, "1", 1.0, True, [], {}, float("inf"), float("nan"), -1, 0, 10**30]


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "keys",
    [
        ("batch",),
        ("values", 0, "shape", 1),
        ("steps", 0, "first_channel"),
        ("steps", 0, "spec", "in_channels"),
        ("steps", 0, "spec", "groups"),
        ("version",),
    ],
    ids=lambda keys: keys[-1],
)
def test_numbers_that_are_none_are_refused(tmp_path: Path, keys: tuple[Any, ...], value: Any) -> None:
    if keys[-1] in ("first_channel", "version") and value in (0, 1.0) and not isinstance(value, str):
        return  # 0 is the first channel, and 1.0 == 1 is no version to fight about
    reason(tmp_path, described(put(*keys, value=value)))


@pytest.mark.parametrize("value", [None, "1", True, [], float("inf"), float("nan"), -1.0, 0, 10**400], ids=str)
def test_scales_that_are_none_are_refused(tmp_path: Path, value: Any) -> None:
    reason(tmp_path, described(put("values", 1, "scale", 0, value=value)))


@pytest.mark.parametrize(
    "keys",
    [
        ("name",),
        ("inputs", 0),
        ("outputs", 0),
        ("values", 0, "name"),
        ("values", 0, "dtype"),
        ("steps", 0, "name"),
        ("steps", 0, "layer"),
        ("steps", 0, "writes"),
        ("steps", 0, "reads", 0, 0),
        ("steps", 0, "reads", 0, 1),
        ("steps", 0, "parameters", 0),
        ("steps", 0, "spec", "op"),
        ("steps", 0, "spec", "input_dtype"),
        ("steps", 0, "spec", "epilogue"),
        ("steps", 0, "spec", "input_layout"),
    ],
    ids=lambda keys: str(keys),
)
def test_texts_that_are_none_are_refused(tmp_path: Path, keys: tuple[Any, ...]) -> None:
    for value in ("two\nlines", "\x1b[31mred", "\udcff", "\u2028", None, 1, ["x"], {"x": 1}):
        reason(tmp_path, described(put(*keys, value=value)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("version", value=2), "version 2 is unknown (known is 1)"),
        (put("version", value="1\n2"), r"version '1\n2' is unknown"),
        (put("format", value="another"), "not an integer network"),
        (put("values", 0, "dtype", value="int5"), "'int5' is not a valid DType"),
        (put("values", 0, "shape", value=[1, 2, 3]), "has 3 extents instead of four"),
        (put("steps", 0, "spec", "op", value="softmax"), "'softmax' is not a valid Op"),
        (put("steps", 0, "spec", value={}), "not a kernel spec"),
        (put("steps", 0, "parameters", value=["weight"]), "operand 'bias' is missing"),
        (put("steps", 0, "parameters", value=["weight", "../network"]), "is missing"),
        (put("steps", 0, "reads", value=[["input"]]), ""),
        (put("steps", 0, "reads", value="ab"), ""),
        (put("steps", value=None), ""),
        (put("values", value="abcd"), ""),
        (put("values", value={"a": 1}), ""),
        (put("values", value=[]), "is not there"),
        (lambda body: body.pop("steps"), "'steps' is missing"),
        (lambda body: body["values"].append(body["values"][0]), "a value is defined twice"),
        (lambda body: body["steps"].reverse(), ""),
        (lambda body: body["steps"].append(body["steps"][-1]), ""),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    assert message in reason(tmp_path, described(change))


def test_json_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("", "{", "[" * 100_000, "1" * 10_000, '{"format": 1e999}', "\ufeff{}", "null"):
        reason(tmp_path, archive({**ENTRIES, "network.json": text.encode()}))
        assert not integer_file.is_integer_network(tmp_path / "network.npz")


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    """Its flag alone, in the directory: there is nobody to ask for a password."""
    data = bytearray(DATA)
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert "not an integer network, or damaged" in reason(tmp_path, bytes(data))


@pytest.mark.parametrize("ours", [RuntimeError("a mistake"), MemoryError("all of it is taken")])
def test_what_our_own_code_raises_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: BaseException
) -> None:
    def fails(**_: Any) -> IntegerNetwork:
        raise ours

    path = tmp_path / "network.npz"
    path.write_bytes(DATA)
    monkeypatch.setattr(integer_file, "IntegerNetwork", fails)
    with pytest.raises(type(ours), match=str(ours)):
        integer_file.load(path)
