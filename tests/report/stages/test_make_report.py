"""Files of a report: the same bytes whenever and wherever, nobody else's files touched, nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.allocation_stages.allocate import AllocateRequest, allocate
from profiler.errors import InvalidFile, OutputError
from profiler.lut import store
from profiler.record import SCREEN_STAGE, FailureKind
from profiler.report.files import names_of
from profiler.report.page.page import GENERATOR
from profiler.report_stages import report as stage
from profiler.report_stages.report import ReportResult, make_report
from tests.report.stages.cases import (
    ROOT,
    Place,
    chain,
    failure,
    journal,
    measurement,
    place,
    rows_of_network,
    sensitivities,
)

ROWS = rows_of_network(chain())


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def own_run(folder: Path) -> Place:
    """With journals, sensitivities and a bits.json: everything that can name a place on this machine."""
    there = place(folder)
    records = [measurement(one.spec, "a", 2 * one.latency_median_s, SCREEN_STAGE) for one in ROWS]
    finals = [measurement(one.spec, "b", one.latency_median_s) for one in ROWS]
    journal(folder, [*records, failure(ROWS[0].spec, "c", FailureKind.CRASH), *finals])
    asked = AllocateRequest(str(there.model), lut=there.table, sensitivity=sensitivities(there), batch=1)
    allocate(replace(asked, forbid=("two=int8",), out=folder / "bits.json"))
    return there


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return own_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def made(there: Place) -> ReportResult:
    """In the folder of the run, with everything."""
    return make_report(
        there.request(lut=None, device="cpu", sensitivity=sensitivities(there), bits=there.folder / "bits.json")
    )


@pytest.fixture
def drawn(made: ReportResult, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    """The files that every report of the test has: what is tested is how they are written."""
    files = {name: (made.folder / name).read_bytes() for name in made.files}
    monkeypatch.setattr(
        stage, "files_of", lambda report: dict(sorted(files.items(), key=lambda f: f[0] != "report.md"))
    )
    return files


# -- what is written -------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_is_told(there: Place, made: ReportResult) -> None:
    assert made.folder == there.folder / "reports" / "cpu"
    assert made.files[0] == "index.html"
    assert sorted(made.files) == sorted(contents(made.folder))
    assert {f"{name}.{kind}" for name in ("speedup", "time", "roofline", "front", "tuning", "health") for kind in
            ("svg", "png", "csv")} <= set(made.files)  # fmt: skip
    assert {"time-summary.csv", "tuning-failures.csv", "layers.csv", "report.md"} <= set(made.files)
    assert names_of(made.folder) == set(made.files) - {"index.html"}  # a later report knows them all
    assert made.report.doubts == ()


def test_no_file_names_a_place_on_this_machine(there: Place, made: ReportResult, tmp_path: Path) -> None:
    """Nor where sensitivities and journals are looked for and not found."""
    bare = place(tmp_path / "bare")
    (tmp_path / "bare" / "tuning_logs" / "cpu").mkdir(parents=True)
    for folder, result in ((there.folder, made), (bare.folder, make_report(bare.request()))):
        assert result.folder == folder / "reports" / "cpu"
        for name, data in contents(result.folder).items():
            for text in (folder, folder.resolve(), ROOT, tmp_path.parent):
                assert str(text).encode() not in data, (name, text)


def test_the_same_again_elsewhere_in_another_process(made: ReportResult, there: Place, tmp_path: Path) -> None:
    """Another folder, another working directory, other hash values of texts, another time zone and language."""
    copy = tmp_path / "a copy"
    shutil.copytree(there.folder, copy, ignore=shutil.ignore_patterns("reports"))
    arguments = ["model.json", "--device", "cpu", "--batch", "1", "--sensitivity", "costs.csv", "--bits", "bits.json"]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-m", "profiler", "report", *arguments]
    subprocess.run(command, cwd=copy, env=environment, check=True, timeout=120, capture_output=True)
    assert contents(copy / "reports" / "cpu") == contents(made.folder)


# -- whose files they are --------------------------------------------------------------------------------------------


def test_a_second_report_replaces_the_first_and_keeps_what_is_not_its(
    there: Place, drawn: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    make_report(there.request(out=out))
    strangers = {
        "notes.txt", "time-notes.csv", "speedup-mine.csv", "front.pdf", "layers.xlsx", "layers.svg", "my-front.png",
        "health.csv.bak", "time", "sub/front.svg",
    }  # fmt: skip
    for name in strangers:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(name)
    fewer = {name: data for name, data in drawn.items() if not name.startswith(("front", "tuning"))}
    monkeypatch.setattr(stage, "files_of", lambda report: fewer)
    make_report(there.request(out=out))
    assert set(contents(out)) == set(fewer) | strangers
    assert all((out / name).read_text() == name for name in strangers)


def test_a_page_that_is_no_report_is_not_replaced(there: Place, drawn: Mapping[str, bytes], tmp_path: Path) -> None:
    """Not even one that tells of such reports."""
    for number, text in enumerate(("", "<html>my page</html>", f"<title>About the {GENERATOR}</title>")):
        out = tmp_path / str(number)
        out.mkdir()
        (out / "index.html").write_text(text)
        with pytest.raises(OutputError, match=r"index\.html: is there and is not of a report.*name another folder"):
            make_report(there.request(out=out))
        assert contents(out) == {"index.html": text.encode()}


@pytest.mark.parametrize("name", ["report.md", "layers.csv", "front.svg", "time-summary.csv", "speedup-int4.csv"])
def test_other_files_of_such_a_name_are_not_replaced(
    there: Place, drawn: Mapping[str, bytes], tmp_path: Path, name: str
) -> None:
    """In a folder without a report's page: that of a project's documents, say."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="is there and is not of a report"):
        make_report(there.request(out=tmp_path))
    assert contents(tmp_path) == {name: b"mine"}


# -- how they are written --------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What ends a process."""


@pytest.mark.parametrize("after", [0, 1, 2, 10, -1])
def test_a_report_that_is_killed_leaves_the_page_old_or_new(
    there: Place, drawn: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """And the next one goes on as if nothing had happened, whether there was one before or not."""
    whole, limit = stage.write_whole, after % len(drawn)
    for before in (False, True):
        out = tmp_path / str(before)
        if before:
            make_report(there.request(out=out))
            (out / "index.html").write_bytes(drawn["index.html"] + b"<!-- old -->")
        written: list[str] = []

        def write(path: Path, data: bytes, written: list[str] = written) -> None:
            if len(written) == limit:
                raise Killed
            written.append(path.name)
            whole(path, data)

        monkeypatch.setattr(stage, "write_whole", write)
        with pytest.raises(Killed):
            make_report(there.request(out=out))
        monkeypatch.setattr(stage, "write_whole", whole)
        page = out / "index.html"
        assert page.exists() == before
        assert not before or page.read_bytes().endswith(b"<!-- old -->")
        make_report(there.request(out=out))
        assert contents(out) == drawn


def test_an_output_folder_that_is_a_file(there: Place, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        with pytest.raises(OutputError, match=r"\(make: TO=\)"):
            make_report(there.request(out=out))
    assert contents(tmp_path) == {"file": b"mine"}


def test_an_output_folder_that_cannot_be_written(there: Place) -> None:
    """Of the kernel's, where not even root can."""
    with pytest.raises(OutputError, match=r"/proc/report: cannot be written.*\(make: TO=\)"):
        make_report(there.request(out=Path("/proc/report")))


@pytest.mark.parametrize("name", ["index.html", "layers.csv", "time.svg"])
def test_a_folder_in_the_place_of_a_file(there: Place, drawn: Mapping[str, bytes], tmp_path: Path, name: str) -> None:
    """Seen before the first file is written."""
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=name):
        make_report(there.request(out=tmp_path))
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_nor_is_a_report_half_replaced_because_of_one(there: Place, drawn: Mapping[str, bytes], tmp_path: Path) -> None:
    make_report(there.request(out=tmp_path))
    (tmp_path / "time.svg").unlink()
    (tmp_path / "time.svg").mkdir()
    (tmp_path / "report.md").write_bytes(drawn["report.md"] + b"old")
    with pytest.raises(OutputError, match=r"time\.svg: is a folder"):
        make_report(there.request(out=tmp_path))
    assert (tmp_path / "report.md").read_bytes().endswith(b"old")


def test_a_folder_called_like_a_stale_file_is_kept(
    there: Place, drawn: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    make_report(there.request(out=out))
    fewer = {name: data for name, data in drawn.items() if not name.startswith("front")}
    monkeypatch.setattr(stage, "files_of", lambda report: fewer)
    (out / "front.svg").unlink()
    (out / "front.svg").mkdir()
    make_report(there.request(out=out))
    assert (out / "front.svg").is_dir()
    assert not (out / "front.csv").exists()


def test_an_error_in_what_is_given_leaves_no_file(there: Place, tmp_path: Path) -> None:
    bits = tmp_path / "bits.json"
    bits.write_text("{}")
    out = tmp_path / "out"
    with pytest.raises(InvalidFile):
        make_report(there.request(out=out, bits=bits))
    assert not out.exists()


def test_an_error_keeps_a_folder_that_was_there(there: Place, tmp_path: Path) -> None:
    bits = tmp_path / "bits.json"
    bits.write_text("{}")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InvalidFile):
        make_report(there.request(out=out, bits=bits))
    assert list(out.iterdir()) == []


def test_a_folder_that_holds_something_by_then_stays(
    there: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else put a file there while the report was worked out."""
    out = tmp_path / "out"

    def drawn_too_late(report: object) -> dict[str, bytes]:
        (out / "theirs").write_text("theirs")
        raise Killed

    monkeypatch.setattr(stage, "files_of", drawn_too_late)
    with pytest.raises(Killed):
        make_report(there.request(out=out))
    assert contents(out) == {"theirs": b"theirs"}


def test_what_a_table_calls_its_device_leads_nowhere(tmp_path: Path, drawn: Mapping[str, bytes]) -> None:
    """A table of anybody's: the folder of its report lies among the reports."""
    rows = [replace(one, device="cpu/../../../elsewhere") for one in ROWS]
    base = tmp_path / "one" / "two"
    there = place(base / "ok", rows=ROWS)
    table = base / "table.csv"
    store.write(table, rows)
    result = make_report(there.request(lut=table))
    assert result.folder.resolve().parent == (there.folder / "reports").resolve()
    assert {path.name for path in tmp_path.iterdir()} == {"one"}
