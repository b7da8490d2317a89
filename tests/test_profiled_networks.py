"""Networks that runs leave beside their journals: found again, the last one first, under names that are files'."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from profiler import profiled_networks
from profiler.errors import OutputError
from profiler.frontend import load_network
from profiler.profiled_networks import keep, kept
from tests.report.stages.cases import chain


def test_a_network_is_found_again(tmp_path: Path) -> None:
    network = load_network("resnet18", 4)
    path = keep(tmp_path, network)
    assert kept(tmp_path) == (path,)
    assert path == tmp_path / "networks" / "resnet18-n4.json"
    assert load_network(str(path), 4) == network
    assert load_network(str(path), 1) == load_network("resnet18", 1)


def test_where_nothing_was_profiled_nothing_is_found(tmp_path: Path) -> None:
    assert kept(tmp_path) == ()
    assert kept(tmp_path / "none") == ()


def test_the_last_profiled_one_stands_first(tmp_path: Path) -> None:
    a, b = keep(tmp_path, chain(name="a")), keep(tmp_path, chain(name="b"))
    os.utime(a, ns=(5_000, 5_000))
    os.utime(b, ns=(4_000, 4_000))
    assert kept(tmp_path) == (a, b)
    os.utime(b, ns=(6_000, 6_000))
    assert kept(tmp_path) == (b, a)
    os.utime(b, ns=(5_000, 5_000))
    assert kept(tmp_path) == (a, b)  # at the same time their names decide


def test_profiling_again_makes_it_the_last(tmp_path: Path) -> None:
    a, b = keep(tmp_path, chain(name="a")), keep(tmp_path, chain(name="b"))
    os.utime(a, ns=(4_000, 4_000))
    os.utime(b, ns=(5_000, 5_000))
    assert keep(tmp_path, chain(name="a")) == a
    assert kept(tmp_path) == (a, b)


def test_each_batch_is_kept(tmp_path: Path) -> None:
    network = load_network("resnet18", 1)
    other = load_network("resnet18", 8)
    assert {keep(tmp_path, network).name, keep(tmp_path, other).name} == {"resnet18-n1.json", "resnet18-n8.json"}
    assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize(
    "name",
    ["../../../evil", "/etc/passwd", "..", ".", "", "a/b\\c", "<script>", "$(rm -rf)", "x" * 5000, "\u00fcber", "a b"],
)
def test_whatever_its_name_the_file_lies_in_the_folder(tmp_path: Path, name: str) -> None:
    path = keep(tmp_path / "logs", replace(chain(), name=name))
    assert path.resolve().parent == (tmp_path / "logs" / "networks").resolve()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert len(path.name) < 100
    assert path.name.isascii()
    assert load_network(str(path), 1).name == name


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "networks").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        keep(tmp_path, chain())


def test_journals_are_not_networks(tmp_path: Path) -> None:
    """Nor is what else lies there."""
    path = keep(tmp_path, chain())
    (path.parent / "notes.txt").write_text("")
    (tmp_path / "sample.json").write_text("{}")
    assert kept(tmp_path) == (path,)
    assert profiled_networks.kept(path.parent) == ()
