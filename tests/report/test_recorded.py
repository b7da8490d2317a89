"""The reports that are committed are those that the program makes of the tables that ship."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import pytest

from profiler.report.content.report import Section
from profiler.report.content.table import to_csv
from profiler.report_stages import report as stage
from profiler.report_stages.report import ReportRequest, report_of
from profiler.report_stages.subject import subject_of

ROOT = Path(__file__).parents[2]
HOST, CARD = "cpu-8cfd341f", "t4_hawqv3"
COMMANDS = {
    HOST: f"python -m profiler report resnet18 --lut lut/recorded/{HOST}.csv -o reports/recorded/{HOST}",
    CARD: f"python -m profiler report resnet18 --device t4 -o reports/recorded/{CARD}",
}
COMMON = ("speedup", "time", "time-summary", "roofline", "front", "health", "layers")
NAMES = {HOST: {*COMMON, "throughput"}, CARD: {*COMMON, "published"}}
"""Of the tables. Those of the predictor are left out, whose last digits depend on scikit-learn's version, and so are
figures and pages, which depend on matplotlib's."""

Tables = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The CSV files of both reports, without what somebody may have measured in this folder."""
    nothing = tmp_path_factory.mktemp("nothing")
    requests = {
        HOST: ReportRequest(model="resnet18", lut=ROOT / f"lut/recorded/{HOST}.csv", folder=nothing),
        CARD: ReportRequest(model="resnet18", device="t4", folder=nothing),
    }
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        left_out = Section("predictor", "Left out", "", None, notes=("It takes a minute, and is not compared.",))
        patch.setattr(stage, "prediction_section", lambda subject: left_out)
        for name, request in requests.items():
            report = report_of(subject_of(request), request)
            tables = [report.layers, *(table for section in report.sections for table in section.tables)]
            found[name] = {table.name: to_csv(table.table) for table in tables}
    return found


def differing(committed: str, made: str) -> str:
    """The first line that differs, and how many do."""
    lines = list(zip_longest(committed.splitlines(), made.splitlines(), fillvalue="(no line)"))
    at = [index for index, (old, new) in enumerate(lines) if old != new]
    if not at:
        return "only line ends differ"
    old, new = lines[at[0]]
    return f"{len(at)} of {len(lines)} lines differ, first line {at[0] + 1}:\n  committed {old}\n  made      {new}"


@pytest.mark.parametrize(("report", "name"), [(report, name) for report in NAMES for name in sorted(NAMES[report])])
def test_a_committed_table_is_what_the_program_makes(made: Tables, report: str, name: str) -> None:
    path = ROOT / "reports" / "recorded" / report / f"{name}.csv"
    committed, now = path.read_bytes().decode(), made[report][name]
    assert committed == now, (
        f"{path.relative_to(ROOT)} is not what the program makes today: {differing(committed, now)}\n"
        f"If the change is meant, rebuild the report and commit it:\n  {COMMANDS[report]}"
    )


@pytest.mark.parametrize("report", list(NAMES))
def test_there_are_no_other_tables(made: Tables, report: str) -> None:
    """Neither committed ones that the report no longer has, nor new ones that nobody committed."""
    committed = {path.stem for path in (ROOT / "reports" / "recorded" / report).glob("*.csv")}
    assert committed - {"predictor", "predictor-splits"} == set(made[report]) == NAMES[report], COMMANDS[report]
