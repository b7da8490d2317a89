from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from profiler.cli import main
from tests.e2e.command import Outcome, Place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.compile)
            if platform.system() != "Linux":
                item.add_marker(pytest.mark.skip(reason="the host device is Linux only"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


@pytest.fixture(scope="session")
def _profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Outcome]:
    place = Place(tmp_path_factory.mktemp("profiled") / "place")
    return place, place.run(place.profile("--json"))


@pytest.fixture(scope="session")
def first_run(_profiled: tuple[Place, Outcome]) -> Outcome:
    """What the run said that made `profiled`."""
    return _profiled[1]


@pytest.fixture
def profiled(_profiled: tuple[Place, Outcome], place: Place) -> Place:
    """A place where the small network was profiled before."""
    original, outcome = _profiled
    assert outcome.code == 0, outcome.err
    shutil.copytree(original.out, place.out)
    return place


@pytest.fixture
def command(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[list[str]], Outcome]:
    """Runs a command in this process, which spares the start, and lets parts be replaced by broken ones."""
    monkeypatch.setenv("TMPDIR", str(place.tmp))
    monkeypatch.setattr(tempfile, "tempdir", None)

    def run(arguments: list[str]) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["profiler", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        code = end.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, said.out, said.err)

    return run
