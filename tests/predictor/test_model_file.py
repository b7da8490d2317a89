"""Model files: what is saved is what is loaded, and whatever else a file is, the answer is one line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.hardware import GPUS, CpuSpec, DotIsa
from profiler.lut.schema import Source
from profiler.predictor import model_file
from profiler.predictor.device_facts import ObservedPeaks
from profiler.predictor.latency_model import LatencyModel, fit
from profiler.predictor.model_codec import MadeBy, ModelFile, Probe, decode, encode
from profiler.predictor.model_file import PROBES, load, save
from profiler.predictor.model_state import Calibration, ConfigLatency, ModelState, Origin
from profiler.predictor.observation import Observation
from profiler.predictor.population import draws
from profiler.record import CacheMode, Conditions
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, Workload
from tests.predictor.invented import CPU, ORIGIN, observed

CONV = Workload(Op.CONV2D, 1, 8, 8, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1)
SPECS = (
    KernelSpec(CONV, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU),
    KernelSpec(CONV, DType.UINT4, DType.INT32, DType.INT4, input_layout="hwnc_padded", output_layout="hwnc8n8c"),
    KernelSpec(CONV, DType.INT8, DType.INT8, DType.INT8, DType.INT8, Epilogue.ADD_REQUANT),
    KernelSpec(Workload(Op.DENSE, 2, 1, 1, 7, 9), DType.FLOAT32, DType.FLOAT32, DType.FLOAT32),
    KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 2, 2), DType.UINT4, DType.UINT4),
)
REPORT = {"splits": [{"name": "random", "mape_percent": 3.25}, {"name": "größer", "rows": 12}], "note": None}


@lru_cache
def model() -> LatencyModel:
    return fit(observed(20), ORIGIN, CPU, configs=(ConfigLatency(observed(20)[0].spec, "a=1", 1e-5, 0.01),))


@lru_cache
def saved_text() -> str:
    """A file with everything in it, as `save` writes it."""
    return encode(ModelFile(model().state, model_file.made_here(), REPORT, _probes()))


def _probes() -> tuple[Probe, ...]:
    answers = model().estimate([d.specs[0] for d in draws(4, (INT8,), seed=5)], look_up=False)
    return tuple(Probe(answer.spec, answer.latency_s) for answer in answers)


def signed(body: Any) -> str:
    """The text of an object with the digest that its content has, computed here as the format describes it."""
    rest = {name: value for name, value in body.items() if name != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return json.dumps({**rest, "sha256": hashlib.sha256(canonical.encode()).hexdigest()})


def refusal(path: Path, content: str | bytes) -> str:
    """The one line that refuses a file of that content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidFile) as caught:
        load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    assert len(line) < len(str(path)) + 400
    return line.removeprefix(f"{path}: ")


# -- what is saved is what is loaded -----------------------------------------------------------------------------------


words = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=12)
positive = st.floats(1e-9, 1e3)
numbers = st.floats(allow_nan=False, allow_infinity=False)
specs = st.sampled_from(SPECS)
sizes = st.none() | st.integers(0, 1 << 40)
all_facts = st.one_of(
    st.builds(
        CpuSpec, words, st.sampled_from(DotIsa), st.frozensets(words), words, st.integers(1, 512), sizes, sizes, sizes
    ),
    st.sampled_from(list(GPUS.values())),
    st.builds(lambda gpu, name, power: replace(gpu, name=name, power_w=power), st.sampled_from(list(GPUS.values())),
              words, positive),
    st.builds(ObservedPeaks, st.lists(st.tuples(st.integers(1, 64), positive)).map(tuple), positive),
)  # fmt: skip
states = st.builds(
    ModelState,
    origin=st.builds(
        Origin, words, words, words, words, st.builds(Conditions, st.integers(1, 99), st.sampled_from(CacheMode))
    ),
    facts=all_facts,
    observations=st.lists(
        st.builds(Observation, specs, positive, st.floats(0, 9), st.sampled_from([Source.MEASURED, Source.PUBLISHED])),
        max_size=5,
    ).map(tuple),
    regressor=words,
    hyperparameters=st.lists(numbers, max_size=4).map(tuple),
    calibration=st.builds(
        Calibration,
        st.lists(st.lists(st.floats(0, 1e9), min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
        st.lists(numbers, min_size=1, max_size=3).map(tuple),
    ),
    configs=st.lists(st.builds(ConfigLatency, specs, words, positive, st.floats(0, 1)), max_size=5).map(tuple),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
files = st.builds(
    ModelFile,
    states,
    st.builds(MadeBy, words, words, words, words, st.floats(0, 1e10)),
    st.none() | st.dictionaries(st.text(max_size=5), json_values, max_size=4),
    st.lists(st.builds(Probe, specs, positive), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(files)
def test_any_model_survives_the_text(file: ModelFile) -> None:
    again = decode(encode(file), "x")
    assert again == decode(encode(again), "x")
    assert again == file


def test_a_saved_model_answers_as_it_did(tmp_path: Path) -> None:
    path = tmp_path / "models" / "cpu.json"
    save(path, model(), REPORT)
    again, file = load(path)
    asked = [spec for draw in draws(15, (INT8, INT4), seed=3) for spec in draw.specs]
    assert again.estimate(asked) == model().estimate(asked)
    assert again.state == model().state == file.state
    assert file.report == REPORT
    assert 1 < len(file.probes) <= PROBES
    known = {o.spec for o in model().state.observations}
    assert {probe.spec in known for probe in file.probes} == {True, False}
    assert [p.name for p in path.parent.iterdir()] == ["cpu.json"]


def test_a_report_may_be_missing(tmp_path: Path) -> None:
    save(tmp_path / "m.json", model())
    assert load(tmp_path / "m.json")[1].report is None


def test_the_file_is_readable_and_small() -> None:
    """A line per row with the columns ahead; a thousand observations take less than 400 kB."""
    many = tuple(o for o in observed(800) if o.spec.workload.op is Op.CONV2D)[:1000]
    assert len(many) == 1000
    scores = tuple((0.123456789012345 + i, 1.98765432109876) for i in range(500))
    state = replace(model().state, observations=many, calibration=Calibration(scores, scores[7] * 200))
    text = encode(ModelFile(state, model_file.made_here(), REPORT))
    assert len(text.encode()) < 400_000
    lines = text.splitlines()
    assert max(map(len, lines)) < 10_000
    for o in (many[0], many[-1]):
        line = next(line for line in lines if f"{o.latency_s!r}, {o.noise!r}" in line)
        assert json.loads(line.strip().rstrip(","))[:2] == ["conv2d", o.spec.workload.batch]
    first = next(i for i, line in enumerate(lines) if line.startswith(' "observations"'))
    assert json.loads(lines[first + 1].rstrip(","))[-3:] == ["latency_s", "noise", "source"]


def test_one_changed_row_changes_three_lines() -> None:
    """So that a difference can be read: the row and the two digests."""
    state = model().state
    changed = replace(state.observations[3], latency_s=1.0)
    other = replace(state, observations=(*state.observations[:3], changed, *state.observations[4:]))
    made = model_file.made_here()
    a, b = (encode(ModelFile(s, made)).splitlines() for s in (state, other))
    assert sum(x != y for x, y in zip(a, b, strict=True)) == 3


def test_a_card_with_a_data_sheet_is_named_and_another_one_described() -> None:
    for facts, expected in ((GPUS["t4"], {"kind": "gpu", "slug": "t4"}), (replace(GPUS["t4"], power_w=60.0), None)):
        body = json.loads(encode(ModelFile(replace(model().state, facts=facts), model_file.made_here())))
        assert (body["facts"] == expected) if expected else body["facts"]["power_w"] == 60
    body["facts"] = {"kind": "gpu", "slug": "t5"}
    with pytest.raises(InvalidFile, match="there is no data sheet of 't5'; known are t4"):
        decode(signed(body), "x")


def test_layout_does_not_matter_and_a_byte_order_mark_neither(tmp_path: Path) -> None:
    body = json.loads(saved_text())
    path = tmp_path / "m.json"
    for text in (json.dumps(dict(reversed(body.items())), ensure_ascii=False), "\ufeff" + json.dumps(body, indent=3)):
        path.write_text(text)
        assert load(path)[1] == decode(saved_text(), "x")


def test_a_report_that_is_no_json_is_a_defect_of_ours() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode(ModelFile(model().state, model_file.made_here(), {"mape": float("nan")}))


def test_a_place_that_cannot_be_written_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "m.json"
    path.write_text("older")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OutputError, match=r"m\.json: cannot be written: No space left on device"):
            save(path, model())
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"m.json": "older"}
    with pytest.raises(OutputError, match="Is a directory"):
        save(tmp_path, model())


# -- what else a file can be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("op,batch\nconv2d,1\n", "it is no JSON"),
        (b"\x80\x04\x95\x1a\x00\x00\x00model", "it is no UTF-8 text"),
        (b"PK\x03\x04\x14\x00", "it is no JSON"),
        (b"\x00" * 64, "it is no JSON"),
        ("{}", "it is some other JSON"),
        ("[1, 2]", "it is some other JSON"),
        ("17", "it is some other JSON"),
        ("null", "it is some other JSON"),
        ('{"version": 1, "name": "net", "layers": []}', "it is some other JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 50_000, "nested too deeply"),
        ('{"format": NaN}', "NaN is no number"),
        ('{"format": [1, -Infinity]}', "-Infinity is no number"),
        ('{"format": 1e999}', "1e999 is not finite"),
        (f'{{"format": {"9" * 5000}}}', "no number has 5000 digits"),
        (f'{{"format": 1{"0" * 400}.0}}', "is not finite"),
        ('{"format": 1, "format": 2}', "stands twice"),
        ('{"format": "lowbit-profiler latency model"}', "its version is missing"),
        ('{"format": "lowbit-profiler latency model", "version": true}', "its version is missing"),
        ('{"format": "lowbit-profiler latency model", "version": "1"}', "its version is missing"),
        ('{"format": "lowbit-profiler latency model", "version": 0}', "its version is missing"),
    ],
)
def test_files_that_are_no_model(content: str | bytes, says: str, tmp_path: Path) -> None:
    line = refusal(tmp_path / "m.json", content)
    assert line.startswith("not a latency model: ")
    assert says in line
    assert line.endswith("name a file that 'profiler fit' has written")


def test_a_model_of_a_later_version(tmp_path: Path) -> None:
    """Whatever else it holds."""
    text = json.dumps({"format": "lowbit-profiler latency model", "version": 2, "tree": [1]})
    line = refusal(tmp_path / "m.json", text)
    assert line.startswith("a latency model of version 2, and this program knows 1; update the profiler")


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"none\.json: there is no such file"):
        load(tmp_path / "none.json")
    with pytest.raises(InvalidFile, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidFile, match="cannot be read: Not a directory"):
        load(tmp_path / "file" / "m.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(saved_text())
    path.chmod(0)
    with pytest.raises(InvalidFile, match="cannot be read: Permission denied"):
        load(path)


def test_an_edited_file_is_noticed(tmp_path: Path) -> None:
    body = json.loads(saved_text())
    body["observations"][1][-3] *= 2
    assert "damaged or edited" in refusal(tmp_path / "m.json", json.dumps(body))
    del body["sha256"]
    assert "damaged or edited" in refusal(tmp_path / "m.json", json.dumps(body))


def test_a_file_torn_anywhere_is_noticed(tmp_path: Path) -> None:
    text = saved_text()
    for length in range(0, len(text) - 2, 997):
        assert "not a latency model: it is" in refusal(tmp_path / "m.json", text[:length])


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("probes",), None, "probes is no list"),
        (("observations",), [], "does not begin with its columns"),
        (("observations", 0, 3), "width", "does not begin with its columns"),
        (("observations", 2), [1], "not as wide as its columns"),
        (("observations", 2, 0), "conv3d", "not a valid Op"),
        (("observations", 2, 1), "1", "batch is not a possible integer"),
        (("observations", 2, 1), 10**16, "batch is not a possible integer"),
        (("observations", 2, -4), "a\nb", "output_layout is not a text that can be printed"),
        (("observations", 2, -3), -1.0, "a latency is positive and finite"),
        (("observations", 2, -3), 10**39, "data_sha256 is not that of the observations"),
        (("observations", 2, -2), "little", "noise is no number"),
        (("observations", 2, -1), "predicted", "a predicted latency is no observation"),
        (("observations", 2, -1), "guessed", "not a valid Source"),
        (("data_sha256",), "00", "data_sha256 is not that of the observations"),
        (("origin",), [], "origin is no object"),
        (("origin", "device"), 7, "device is not a text"),
        (("origin", "conditions", "threads"), 0, "threads is not a possible integer of at least 1"),
        (("origin", "conditions", "cache_mode"), "warm", "not a valid CacheMode"),
        (("origin", "host"), "x", "origin has unknown host"),
        (("facts", "kind"), "tpu", "facts are of no kind"),
        (("facts", "isa"), "mmx", "not a valid DotIsa"),
        (("facts", "cores"), 1.5, "cores is not a possible integer"),
        (("facts", "features"), "avx", "features is no list"),
        (("calibration", "scores", 0), [], "scores are finite and not negative"),
        (("calibration", "scores", 0, 0), -1, "scores are finite and not negative"),
        (("calibration", "sums"), [True], "sums is no number"),
        (("hyperparameters",), {"a": 1}, "hyperparameters is no list"),
        (("regressor",), None, "regressor is not a text"),
        (("configs", 1, 0), 5, "configs hold a kernel"),
        (("configs", 1, 2), 0, "configs hold a kernel, latency or noise"),
        (("probes", 1, -1), 0, "a latency is positive and finite"),
        (("made_by", "numpy"), 1, "numpy is not a text"),
        (("report",), [1], "report is no object"),
        (("more",), 1, "the model has unknown more"),
    ],
)
def test_a_model_that_contradicts_itself(path: tuple[Any, ...], value: Any, says: str, tmp_path: Path) -> None:
    """Its digest is right, so that nothing but the contents can tell."""
    body = json.loads(saved_text())
    place = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    line = refusal(tmp_path / "m.json", signed(body))
    assert line.startswith("not a possible latency model: ")
    assert says in line


@pytest.mark.parametrize("name", ["made_by", "origin", "facts", "report", "probes", "configs"])
def test_a_missing_part_is_named(name: str, tmp_path: Path) -> None:
    body = json.loads(saved_text())
    del body[name]
    assert f"the model lacks {name}" in refusal(tmp_path / "m.json", signed(body))


def test_a_regressor_of_another_version(tmp_path: Path) -> None:
    body = json.loads(saved_text())
    body["regressor"] = "oracle"
    line = refusal(tmp_path / "m.json", signed(body))
    assert line.startswith("its regressor 'oracle' is not known here (")
    assert "update the profiler" in line


@pytest.mark.parametrize(("factor", "accepted"), [(1.004, True), (0.996, True), (1.006, False), (0.5, False)])
def test_a_model_that_comes_out_otherwise_is_refused(factor: float, accepted: bool, tmp_path: Path) -> None:
    body = json.loads(saved_text())
    body["probes"][2][-1] *= factor
    body["made_by"].update(numpy="0.1.2", scikit_learn="3.4.5")
    path = tmp_path / "m.json"
    path.write_text(signed(body))
    if accepted:
        assert load(path)[0].state == model().state
        return
    line = refusal(path, signed(body))
    here = model_file.made_here()
    for version in ("NumPy 0.1.2, scikit-learn 3.4.5", f"NumPy {here.numpy}, scikit-learn {here.scikit_learn}"):
        assert version in line
    assert "fit it again from its LUT" in line


@pytest.mark.parametrize("hyperparameters", [[], [1.0], [1e308] * 4, [-1e308] * 9])
def test_a_state_that_no_fit_has_left(hyperparameters: list[float], tmp_path: Path) -> None:
    body = json.loads(saved_text())
    body["hyperparameters"] = hyperparameters
    refusal(tmp_path / "m.json", signed(body))
    body["observations"] = body["observations"][:1]
    body["data_sha256"] = hashlib.sha256(b"").hexdigest()
    assert "no model can be built of it" in refusal(tmp_path / "m.json", signed(body))


# -- fuzzing -----------------------------------------------------------------------------------------------------------


def outcome(path: Path) -> tuple[LatencyModel, ModelFile] | str:
    """What the file gives: a model, or the text of an error."""
    try:
        return load(path)
    except InvalidFile as error:
        return str(error)


def one_line(said: str, path: Path) -> bool:
    return said.startswith(f"{path}: ") and said.isprintable() and len(said) < len(str(path)) + 500


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_changed_byte_is_noticed_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(saved_text().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        width = data.draw(st.sampled_from([0, 1, 1, 1, 40]))
        content[place : place + width] = data.draw(st.binary(max_size=2) | st.sampled_from([b" ", b"0", b"]", b'"']))
    path = tmp_path_factory.getbasetemp() / "mutated.json"
    path.write_bytes(content)
    found = outcome(path)
    if isinstance(found, str):
        assert one_line(found, path)
    else:
        assert found[1] == decode(saved_text(), "x")


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all parts of a JSON value, but of few rows of each table."""
    yield path
    if isinstance(node, dict):
        for name, value in node.items():
            yield from places(value, (*path, name))
    elif isinstance(node, list):
        for index, value in enumerate(node[:2] if len(node) < 4 or isinstance(node[0], list) else node):
            yield from places(value, (*path, index))


def sealed(body: Any) -> str:
    """With both digests as the content has them, where it has such."""
    try:
        header, *rows = body["observations"]
        cells = [dict(zip(header, row, strict=True)) for row in rows]
        lines = sorted(f"{KernelSpec.from_dict(c).key} {c['latency_s']!r} {c['source']}" for c in cells)
        body["data_sha256"] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    except (ProfilerError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return signed(body)


PLACES = st.deferred(lambda: st.sampled_from([path for path in places(json.loads(saved_text())) if path]))
odd = st.sampled_from(
    [0, -1, 1, 2, 10**14, 10**18, -(10**39), 1e308, 5e-324, -0.0, 0.5, True, None, "", "x", "\x1b[31m", "\ud800", [],
     {}, [[]], [[1, 2, 3]], {"kind": "gpu"}, {"slug": "t4"}, {"kind": "gpu", "slug": "t4"}, "int8", "float32",
     "gaussian_process", "ridge", "extra_trees"]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(PLACES, odd | json_values, st.booleans())
def test_any_content_with_right_digests_is_a_model_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[Any, ...], value: Any, delete: bool
) -> None:
    body = json.loads(saved_text())
    parent = body
    for step in place[:-1]:
        parent = parent[step]
    if delete:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    path = tmp_path_factory.getbasetemp() / "forged.json"
    path.write_text(sealed(body))
    found = outcome(path)
    if isinstance(found, str):
        assert one_line(found, path)
    else:
        assert found[0].estimate([SPECS[0]])[0].latency_s > 0
