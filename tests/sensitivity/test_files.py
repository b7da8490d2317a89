"""Files: what is written reads back the same, and every defect is one line with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidFile, OutputError
from profiler.sensitivity import LayerSensitivity, Sensitivity, read_sensitivity, write_sensitivity
from profiler.sensitivity.files import NOT_STATED, parse_sensitivity, to_csv, to_json

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=8)
COSTS = st.floats(0, allow_infinity=False, allow_nan=False)
LINES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=12).map(str.strip)


@st.composite
def tables(draw: st.DrawFn) -> Sensitivity:
    precisions = draw(st.sampled_from([("int8",), ("int8", "int4"), ("int4", "int8")]))
    costs = st.fixed_dictionaries(dict.fromkeys(precisions, COSTS))
    layers = draw(
        st.lists(
            st.builds(
                LayerSensitivity,
                name=NAMES.filter(str.strip),
                cost=costs,
                perturbation=st.just({}) | costs,
                trace=st.none() | st.floats(allow_infinity=False, allow_nan=False),
                trace_stderr=st.none() | COSTS,
                probes=st.none() | st.integers(1, 10**9),
                parameters=st.none() | st.integers(1, 10**12),
            ),
            min_size=1,
            max_size=4,
            unique_by=lambda layer: layer.name,
        )
    )
    return Sensitivity(draw(LINES.filter(bool)), tuple(layers), draw(LINES))


@given(tables())
@settings(deadline=None)
def test_what_is_written_reads_back_the_same(table: Sensitivity) -> None:
    again = parse_sensitivity(to_csv(table), "t", ".csv")
    assert again == table
    assert again.precisions == table.precisions
    assert parse_sensitivity(to_json(table), "t", ".json") == table
    assert parse_sensitivity(to_json(table), "t") == table


def test_the_name_decides_the_format(tmp_path: Path) -> None:
    table = Sensitivity("m", (LayerSensitivity("a,b", {"int4": 0.1}, probes=3),))
    write_sensitivity(table, tmp_path / "s.csv")
    write_sensitivity(table, tmp_path / "s.json")
    assert (tmp_path / "s.csv").read_text() == '# sensitivity: 1\n# method: m\nlayer,int4,probes\n"a,b",0.1,3\n'
    assert json.loads((tmp_path / "s.json").read_text())["layers"] == [
        {"layer": "a,b", "cost": {"int4": 0.1}, "probes": 3}
    ]
    assert read_sensitivity(tmp_path / "s.csv") == read_sensitivity(tmp_path / "s.json") == table
    with pytest.raises(OutputError):
        write_sensitivity(table, tmp_path)


def test_a_file_by_hand() -> None:
    text = "\ufeff# my own figures\r\n\r\nlayer , INT8, int4,trace\r\nconv1,1e-3, 2 ,\r\n\r\nfc,.5,3,-1\r\n,,,\r\n"
    table = parse_sensitivity(text.removeprefix("\ufeff"), "t")
    assert table.method == NOT_STATED
    assert [dict(layer.cost) for layer in table.layers] == [{"int8": 0.001, "int4": 2.0}, {"int8": 0.5, "int4": 3.0}]
    assert [layer.trace for layer in table.layers] == [None, -1.0]


def test_lines_end_as_in_any_system(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        path = tmp_path / "s.csv"
        path.write_bytes(end.join(["# method: m", "layer,int8", "a,1", "b,-1", ""]).encode())
        with pytest.raises(InvalidFile, match=r"line 4: layer 'b', int8: .* not -1\.0"):
            read_sensitivity(path)


HEADER = "layer,int8,int4\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "t: is empty"),
        (" \n\n", "t: is empty"),
        ("# method: m\n", "t: lists no layer"),
        (HEADER, "t: lists no layer"),
        ("name,int8\na,1\n", "line 1: missing column: layer"),
        ("layer,trace\na,1\n", "line 1: missing column: the cost of a precision, one or more of int8, int4"),
        ("layer,int8,int3\na,1,2\n", "line 1: unknown column 'int3'; precisions are int8, int4"),
        ("layer,int8,latency\na,1,2\n", "line 1: unknown column 'latency'"),
        ("layer,int8,INT8\na,1,2\n", "line 1: column 'int8' is there twice"),
        (HEADER + "a,1,2\na,1,2\n", "line 3, layer: 'a' is listed twice"),
        (HEADER + "a,1\n", "line 2: has 2 cells, the header 3"),
        (HEADER + "a,1,2,3\n", "line 2: has 4 cells, the header 3"),
        (HEADER + "a,1,\n", "line 2, int4: is empty"),
        (HEADER + "a,1,x\n", "line 2, int4: 'x' is not a number"),
        (HEADER + "a,1,1_0\n", "line 2, int4: '1_0' is not a number"),
        (HEADER + "a,1,-1\n", "line 2: layer 'a', int4: must be finite and not negative, not -1.0"),
        (HEADER + "a,nan,1\n", "line 2: layer 'a', int8: must be finite and not negative, not nan"),
        (HEADER + "a,1e999,1\n", "line 2: layer 'a', int8: must be finite and not negative, not inf"),
        (HEADER + ",1,2\n", "line 2: the layer name '' is not"),
        (HEADER + '"a\nb",1,2\n', "line 3: the layer name 'a.nb' is not"),
        (HEADER + '"a,1,2\n', "is not CSV: unexpected end of data"),
        ("layer,int8,probes\na,1,0\n", "line 2: layer 'a', probes: must be an integer of at least 1"),
        ("layer,int8,probes\na,1,1.5\n", "line 2, probes: '1.5' is not a natural number"),
        ("layer,int8,perturbation_int4\na,1,1\n", "line 2: layer 'a': a perturbation for int4, but no cost"),
        ("# sensitivity: 2\n" + HEADER + "a,1,2\n", "line 1: version '2' of a sensitivity file; known is 1"),
        ("# method: a\n# method: b\n" + HEADER + "a,1,2\n", "line 2: '# method:' is there twice"),
        ("# remark\n\n" + HEADER + "a,1,y\n", "line 4, int4: 'y' is not a number"),
    ],
)
def test_defects_of_a_csv_file_have_their_place(text: str, reason: str) -> None:
    with pytest.raises(InvalidFile, match=reason) as caught:
        parse_sensitivity(text, "t", ".csv")
    assert "\n" not in str(caught.value)


GOOD: dict[str, Any] = {"sensitivity": 1, "layers": [{"layer": "a", "cost": {"int8": 1}}]}


def layers(*entries: Any) -> str:
    return json.dumps({**GOOD, "layers": list(entries)})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "t: is empty"),
        ('{"sensitivity": 1,\n "layers": [}', "line 2, column 13: is not JSON"),
        ("[]", "is no sensitivity file: it says no version"),
        ("{}", "is no sensitivity file: it says no version"),
        (json.dumps({**GOOD, "sensitivity": True}), "it says no version"),
        (json.dumps({**GOOD, "sensitivity": 2}), "version 2 of a sensitivity file; known is 1"),
        (json.dumps({**GOOD, "note": 1}), "unknown field 'note'"),
        (json.dumps({**GOOD, "method": 3}), "the method of a sensitivity must be one line of text, not 3"),
        (layers(), "t, layers: must be a list with a member per layer"),
        (layers(3), r"layers\[0\]: must be an object with layer and cost"),
        (layers({"layer": "a"}), r"layers\[0\]: cost is missing"),
        (layers({"cost": {"int8": 1}}), r"layers\[0\]: layer is missing"),
        (layers({"layer": 1, "cost": {"int8": 1}}), r"layers\[0\]: the layer name 1 is not"),
        (layers({"layer": "a", "cost": 1}), r"layers\[0\].cost: must be an object"),
        (layers({"layer": "a", "cost": {"int3": 1}}), r"layers\[0\].cost: unknown precision 'int3'"),
        (layers({"layer": "a", "cost": {"int8": "1"}}), r"layers\[0\]: layer 'a', int8: must be a number"),
        (layers({"layer": "a", "cost": {"int8": -1}}), r"layers\[0\]: layer 'a', int8: must be finite and not"),
        (layers({"layer": "a", "cost": {"int8": float("nan")}}), r"int8: must be finite and not negative, not nan"),
        (layers({"layer": "a", "cost": {"int8": 1}, "probe": 1}), r"layers\[0\]: unknown field 'probe'"),
        (layers(*[{"layer": "a", "cost": {"int8": 1}}] * 2), r"layers\[1\]: layer 'a' is listed twice"),
        ('{"sensitivity": 1, "sensitivity": 1}', "the field 'sensitivity' is there twice in one object"),
        ('{"sensitivity": ' + "1" * 5000 + "}", "a number of too many digits"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_defects_of_a_json_file_have_their_place(text: str, reason: str) -> None:
    with pytest.raises(InvalidFile, match=reason) as caught:
        parse_sensitivity(text, "t", ".json")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"nothing\.csv: cannot be read: No such file"):
        read_sensitivity(tmp_path / "nothing.csv")
    with pytest.raises(InvalidFile, match="cannot be read: Is a directory"):
        read_sensitivity(tmp_path)
    (tmp_path / "s.csv").write_bytes(b"layer,int8\n\xff,1\n")
    with pytest.raises(InvalidFile, match=r"s\.csv: is not UTF-8 text"):
        read_sensitivity(tmp_path / "s.csv")


@given(st.text(max_size=60), st.sampled_from([".csv", ".json", ""]))
@settings(deadline=None)
def test_any_text_is_a_table_or_one_line(text: str, suffix: str) -> None:
    try:
        parse_sensitivity(text, "t", suffix)
    except InvalidFile as error:
        assert "\n" not in str(error)  # noqa: PT017 - most texts raise, some are tables


@given(st.lists(st.lists(st.sampled_from(["layer", "int8", "a", "1", "", '"', "#", "-1"]), max_size=4), max_size=4))
@example([['"', "layer"], ["layer", '"', "layer"]])  # a cell of two lines
@settings(deadline=None)
def test_any_csv_is_a_table_or_one_line(lines: list[list[str]]) -> None:
    text = "\n".join(",".join(cells) for cells in lines)
    try:
        parse_sensitivity(text, "t", ".csv")
    except InvalidFile as error:
        assert "\n" not in str(error)  # noqa: PT017
