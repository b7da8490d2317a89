"""The check of a folder of artifacts, against a driver without a GPU: what is printed, and the exit code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from profiler.artifact import Artifact, Check
from tests.gpu.check_artifacts import main
from tests.gpu.fake_driver import ARTIFACT, launched

pytestmark = pytest.mark.compile

NAME = f"{ARTIFACT.spec.key} {ARTIFACT.config}"
WRONG = replace(ARTIFACT, check=Check(0, "0" * 64))
FOREIGN = replace(ARTIFACT, arch="sm_75")
DAMAGED = ARTIFACT.to_bytes()[:-1]
ILLEGAL_ADDRESS, LAUNCH_FAILED = launched(700, 2, 3), launched(719, 2, 3)


def folder_of(tmp_path: Path, *contents: Artifact | bytes) -> Path:
    """A folder of artifacts, to be checked in that order."""
    folder = tmp_path / "artifacts"
    for number, content in enumerate(contents):
        path = folder / f"spec-{number}" / "key.lbk"
        path.parent.mkdir(parents=True)
        path.write_bytes(content if isinstance(content, bytes) else content.to_bytes())
    return folder


@pytest.mark.parametrize(
    ("contents", "code", "failures", "summary"),
    [
        ([ARTIFACT, ARTIFACT], 0, [], "2 kernels: 2 right"),
        ([ARTIFACT, WRONG, ARTIFACT], 1, [f"{NAME}: the output is not"], "3 kernels: 2 right, 1 failed"),
        ([ARTIFACT, FOREIGN], 0, [], "2 kernels: 1 right, 1 for another architecture"),
        ([FOREIGN], 1, [], "1 kernels: 1 for another architecture"),
        (
            [DAMAGED, ARTIFACT],
            1,
            ["{folder}/spec-0/key.lbk: the content does not match its digest"],
            "2 kernels: 1 right, 1 failed",
        ),
        (
            [ILLEGAL_ADDRESS, ARTIFACT],
            1,
            [f"{NAME}: cuCtxSynchronize: an illegal memory access"],
            "2 kernels: 1 right, 1 failed",
        ),
        (
            [ARTIFACT, LAUNCH_FAILED, ARTIFACT, FOREIGN],
            1,
            [f"{NAME}: cuCtxSynchronize: unspecified launch failure"],
            "4 kernels: 1 right, 1 failed, 2 not tried, because the GPU was lost",
        ),
    ],
    ids=["right", "wrong", "some-foreign", "all-foreign", "damaged", "illegal-address", "launch-failed"],
)
def test_a_line_per_failure_and_a_summary(
    library: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    contents: list[Artifact | bytes],
    code: int,
    failures: list[str],
    summary: str,
) -> None:
    folder = folder_of(tmp_path, *contents)
    assert main(folder, library) == code
    printed, errors = capsys.readouterr()
    *failed, last = printed.splitlines()
    assert last == f"Fake (sm_90), {summary}"
    assert len(failed) == len(failures)
    for line, expected in zip(failed, failures, strict=True):
        assert line.startswith(f"FAILED {expected.format(folder=folder)}")
    assert not errors


def test_without_a_driver_there_is_one_line_and_another_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(folder_of(tmp_path, ARTIFACT), "libthere-is-none.so") == 2
    printed, errors = capsys.readouterr()
    assert errors.startswith("error: no NVIDIA driver")
    assert len(errors.splitlines()) == 1
    assert not printed


def test_an_empty_folder_is_no_success(library: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path / "nowhere", library) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'} holds no artifacts (*.lbk)\n"
