"""The file that comes back: what was written is read again, and no damage goes unnoticed or is put elsewhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.bundle.box.end_to_end import end_to_end, line_of
from profiler.bundle.box.results import RESULTS_VERSION, End, Header, Reason, Results, ResultsFile, parse
from profiler.errors import InvalidFile, OutputError
from tests.bundle.examples import (
    CONDITIONS,
    INSTRUMENT,
    configuration,
    energy_of,
    failure,
    forged,
    kernel,
    linked,
    measurement,
    network_fault,
    network_round,
    spec,
)

HEADER = Header("ab" * 32, "0.1.0", INSTRUMENT, CONDITIONS, "made up", 1, 2, {"python": "3.8.18"}, 1000.0)
RECORDS = (
    measurement(spec(), "c0"),
    failure(spec(), "c1"),
    measurement(spec(bits=4), "c0", stage="screen"),
    measurement(spec(bits=4), "c1"),
)
END = End(Reason.INTERRUPTED, 3, 1, 2000.0)


def written(path: Path, header: Header = HEADER) -> bytes:
    """A header, two batches of two records, an end: six lines."""
    with ResultsFile(path) as file:
        file.begin(header)
        file.append(RECORDS[:2])
        file.append(RECORDS[2:])
        file.end(END)
    return path.read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("results") / "results.jsonl")


def test_what_was_written_is_read(data: bytes) -> None:
    results = parse(data, "file")
    assert (results.header, results.records, results.end) == (HEADER, RECORDS, END)
    assert (results.size_bytes, results.lines, results.torn) == (len(data), 6, False)
    assert results.chain == json.loads(data.splitlines()[-1])["chain"]


def test_energies_are_records_of_the_same_chain(tmp_path: Path) -> None:
    """In a file of the version that has been, where an edited joule is found like anything else."""
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        file.begin(HEADER)
        file.append([measurement(spec(), "c0"), energy_of(spec(), "c0")])
        file.end(END)
    data = path.read_bytes()
    results = parse(data, "file")
    assert results.records == (measurement(spec(), "c0"), energy_of(spec(), "c0"))
    assert json.loads(data.splitlines()[0])["header"]["version"] == RESULTS_VERSION == 2
    with pytest.raises(InvalidFile, match="file, line 3: it does not follow"):
        parse(data.replace(b'"counted_j":50.0', b'"counted_j":40.0'), "file")
    lines = [json.loads(line) for line in data.splitlines()]
    lines[2]["record"]["energy"]["windows"][0]["counted_j"] = -1.0
    with pytest.raises(InvalidFile, match=r"file, line 3: .*counted_j is not a possible number"):
        parse(linked(lines), "file")


def test_the_chain_is_what_the_docs_say(data: bytes) -> None:
    """Computed from the description: sha256 of the chain before and the canonical JSON of the rest."""
    before = "0" * 64
    for line in data.splitlines():
        body = json.loads(line)
        chain = body.pop("chain")
        rest = json.dumps(body, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256((before + rest).encode()).hexdigest() == chain
        before = chain


def line_named(data: bytes) -> int:
    """The line that is found to be wrong; one behind the last where the file is only cut."""
    try:
        results = parse(data, "file")
    except InvalidFile as error:
        return int(str(error).split("line ")[1].split(":")[0])
    return results.lines + 1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_is_found_where_it_is(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    byte = draw.draw(st.integers(0, 255).filter(lambda value: value != data[at]))
    damaged = data[:at] + bytes([byte]) + data[at + 1 :]
    assert line_named(damaged) == data[:at].count(b"\n") + 1


LINES = st.integers(0, 5)


@given(LINES)
def test_a_missing_line_is_found(data: bytes, at: int) -> None:
    lines = data.splitlines(keepends=True)
    shorter = b"".join(lines[:at] + lines[at + 1 :])
    assert line_named(shorter) == at + 1
    if at == 5:
        assert parse(shorter, "file").end is None


@given(LINES)
def test_a_repeated_line_is_found(data: bytes, at: int) -> None:
    lines = data.splitlines(keepends=True)
    assert line_named(b"".join([*lines[: at + 1], *lines[at:]])) == at + 2


@given(LINES, LINES)
def test_a_moved_line_is_found(data: bytes, first: int, second: int) -> None:
    lines = data.splitlines(keepends=True)
    lines[first], lines[second] = lines[second], lines[first]
    assert line_named(b"".join(lines)) == (7 if first == second else min(first, second) + 1)


def test_a_line_of_another_file_is_found(data: bytes, tmp_path: Path) -> None:
    """Of the same place in a file that differs in its header alone, and is sound."""
    lines = data.splitlines(keepends=True)
    others = written(tmp_path / "other.jsonl", replace(HEADER, started_at=1001.0)).splitlines(keepends=True)
    for at, other in enumerate(others):
        found = line_named(b"".join([*lines[:at], other, *lines[at + 1 :]]))
        assert found == (2 if at == 0 else at + 1)


def test_equal_json_in_other_bytes_is_found(data: bytes) -> None:
    lines = data.splitlines()
    lines[2] = json.dumps(json.loads(lines[2]), sort_keys=True).encode()
    assert line_named(b"\n".join([*lines, b""])) == 3
    assert line_named(data.replace(b"\n", b"\r\n")) == 1


def test_a_record_of_another_instrument_is_refused(tmp_path: Path) -> None:
    """Though its chain be sound."""
    other = replace(INSTRUMENT, driver="other")
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        file.begin(HEADER)
        file.append([RECORDS[0], measurement(spec(), "c0", instrument=other)])
    with pytest.raises(InvalidFile, match="line 3: a record of another instrument"):
        parse(path.read_bytes(), path)


@mock.patch("os.fsync", new=mock.Mock())
def test_goes_on_after_a_cut_anywhere_in_the_last_lines(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(ends[-3], len(data)):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        with ResultsFile(path) as file:
            assert file.results.records == RECORDS[: min(whole - 1, 4)]
            assert file.results.torn == (cut not in ends)
            file.append(RECORDS[:1])
            file.end(END)
        again = parse(path.read_bytes(), path)
        assert again.records == (*RECORDS[: min(whole - 1, 4)], RECORDS[0])
        assert again.end == END


def test_a_new_session_goes_on_behind_an_end(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(data)
    with ResultsFile(path) as file:
        file.append(RECORDS[:1])
    results = parse(path.read_bytes(), path)
    assert path.read_bytes().startswith(data)
    assert results.records == (*RECORDS, RECORDS[0])
    assert results.end is None


def test_a_write_that_was_interrupted_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        file.begin(HEADER)
        with mock.patch("os.fsync", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            file.append(RECORDS)
        file.end(END)
    assert parse(path.read_bytes(), path) == Results(HEADER, (), END, mock.ANY, mock.ANY, 2, False)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    full = OSError(28, "No space left on device")
    with ResultsFile(path) as file:
        file.begin(HEADER)
        with mock.patch("os.fsync", side_effect=full), pytest.raises(OutputError, match="written: No space left"):
            file.append(RECORDS)


@pytest.mark.parametrize("text", ["notes of a user", "a\nb\n", '{"json": 1}\n'])
def test_another_file_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(InvalidFile, match="choose another file"):
        ResultsFile(path)
    assert path.read_text() == text


def test_one_run_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path), pytest.raises(OutputError, match="another run"):
        ResultsFile(path)
    with ResultsFile(path):
        pass


def test_a_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is no file"):
        ResultsFile(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        ResultsFile(tmp_path / "file" / "results.jsonl")


def test_a_device_is_no_file(tmp_path: Path) -> None:
    """Reading one may never end."""
    with pytest.raises(OutputError, match="/dev/zero: is no file"):
        ResultsFile(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("header", "version", True),
        ("header", "version", "2\n"),
        ("header", "batch", None),
        ("header", "batch", True),
        ("header", "kernels", 0),
        ("header", "kernels", "3"),
        ("header", "network", "a\x1b[2J"),
        ("header", "network", ["a"]),
        ("header", "tool_version", None),
        ("header", "manifest", "ab"),
        ("header", "host", None),
        ("header", "host", {"system": "a\nb"}),
        ("header", "host", {"system": 5}),
        ("header", "started_at", "now"),
        ("header", "started_at", -1),
        ("header", "conditions", {"threads": None}),
        ("header", "conditions", None),
        ("header", "fingerprint", {}),
        ("header", "odd\x1b", 1),
        ("end", "reason", "bored\n"),
        ("end", "measurements", None),
        ("end", "failures", -1),
        ("end", "ended_at", True),
        ("end", "odd\x1b", 1),
        ("record", "discarded", None),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_though_the_chain_be_sound(
    data: bytes, kind: str, name: str, value: object
) -> None:
    with pytest.raises(InvalidFile, match=r"file, line [126]: ") as caught:
        parse(forged(data, kind, {name: value}), "file")
    assert str(caught.value).isprintable()


# -- networks ---------------------------------------------------------------------------------------------------------

RAN = configuration("uniform int8", kernel(spec(), 1), kernel(spec(bits=4), 1))
NETWORKS = (network_round(RAN, 2.0), network_fault(configuration("mixed.json", kernel(spec(), 1))))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("networks") / "results.jsonl"
    with ResultsFile(path) as file:
        file.begin(replace(HEADER, configurations=2))
        file.append(RECORDS[:1])
        file.append_network(NETWORKS[0])
        file.append(RECORDS[1:])
        file.append_network(NETWORKS[1])
        file.end(END)
    return path.read_bytes()


def test_networks_that_were_written_are_read(ran: bytes) -> None:
    results = parse(ran, "file")
    assert (results.records, results.networks, results.end) == (RECORDS, NETWORKS, END)
    assert results.header == replace(HEADER, configurations=2)


def test_a_file_of_the_first_version_is_read(data: bytes) -> None:
    """It has no networks, and its header does not speak of them."""
    lines = [json.loads(line) for line in data.splitlines()]
    del lines[0]["header"]["configurations"]
    lines[0]["header"]["version"] = 1
    assert parse(linked(lines), "file").header == HEADER


def test_a_later_version_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidFile, match=r"file, line 1: version 3 is not supported \(this is version 2\)"):
        parse(forged(data, "header", {"version": 3}), "file")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("network", "configuration", "a\x1b[2J"),
        ("network", "samples_s", []),
        ("network", "samples_s", [-1.0]),
        ("network", "samples_s", ["1"]),
        ("network", "samples_s", 5),
        ("network", "marked_s", [None]),
        ("network", "steps", []),
        ("network", "steps", [5]),
        ("network", "steps", [{"name": "a"}]),
        ("network", "narrow_layers", True),
        ("network", "verified_bytes", -1),
        ("network", "circumstances", {}),
        ("network", "circumstances", {"notes": [5]}),
        ("network", "fingerprint", "ab" * 32),
        ("network", "odd", 1),
        ("network_fault", "kind", "bored"),
        ("network_fault", "message", 5),
        ("network_fault", "step", -1),
        ("network_fault", "fingerprint", None),
        ("network_fault", "measured_at", "now"),
    ],
)
def test_a_network_of_the_wrong_kind_is_refused_though_the_chain_be_sound(
    ran: bytes, kind: str, name: str, value: object
) -> None:
    with pytest.raises(InvalidFile, match=rf"file, line {3 if kind == 'network' else 7}: ") as caught:
        parse(forged(ran, kind, {name: value}), "file")
    assert str(caught.value).isprintable()


def test_sums_are_of_the_kernels_that_the_network_ran() -> None:
    """By their latest final measurement; a faster config that a later phase found is not asked."""
    records = [
        measurement(spec(), "c0", 3.0),
        measurement(spec(), "c0", 9.0, stage="screen"),
        measurement(spec(), "c1", 1.0),
        measurement(spec(bits=4), "c0", 4.0),
        measurement(spec(), "c0", 2.5),
    ]
    (found,) = end_to_end(records, [network_round(RAN, 6.0), network_round(RAN, 7.0, measured_at=200.0)])
    assert found.summary is not None
    assert (found.rounds, found.lut_sum_s, found.missing, found.measured_at) == (2, 2.5 + 4.0, "", 200.0)
    assert found.summary.median_s == pytest.approx((6.3 + 6.6) / 2)  # of 5.4, 6, 6.3, 6.6, 7, 7.7
    assert found.beyond_sum == pytest.approx((6.3 + 6.6) / 2 / 6.5 - 1)


def test_no_sum_where_a_kernel_was_not_measured() -> None:
    (found,) = end_to_end([measurement(spec(), "c0", 3.0)], [network_round(RAN)])
    assert (found.lut_sum_s, found.beyond_sum, found.missing) == (None, None, "a kernel")
    assert "no sum of its kernels, as a kernel was not measured" in line_of(found)


def test_a_network_that_failed_has_no_latency() -> None:
    (found,) = end_to_end([], [NETWORKS[1]])
    assert (found.summary, found.rounds, found.lut_sum_s) == (None, 0, None)
    assert line_of(found) == "network mixed.json: failed (wrong_output): it is wrong"


def test_a_forgery_without_a_change_is_the_file(data: bytes) -> None:
    assert forged(data, "header", {}) == data
