"""The file of throughputs: what is kept, replaced and refused."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.errors import FingerprintMismatch, InvalidFile, OutputError
from profiler.frontend import load_network
from profiler.throughput import file
from profiler.throughput.digests import network_digest
from profiler.throughput.point import Window
from tests.allocation.networks import residual
from tests.throughput.examples import content, point, windows

POINTS = (point(1), point(8, 0.03), point(8, 0.02, configuration="int4"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cpu.throughput.json"
    written = file.update(path, content(POINTS))
    assert file.read(path) == written
    assert set(written.points) == set(POINTS)
    assert path.read_bytes() == file.to_bytes(content(tuple(reversed(POINTS)))), "the same points give the same bytes"


def test_a_later_run_adds_and_replaces_by_key(tmp_path: Path) -> None:
    path = tmp_path / "cpu.throughput.json"
    file.update(path, content(POINTS))
    later = replace(POINTS[1], windows=windows(0.5), measured_at=1.76e9, run_id="later")
    earlier = replace(POINTS[0], windows=windows(0.5), measured_at=1.7e9, run_id="earlier")
    other = replace(POINTS[0], bits_digest="0000000a", configuration="bits")
    merged = file.update(path, content((later, earlier, other)))
    assert set(merged.points) == {POINTS[0], later, POINTS[2], other}
    assert [p.key for p in merged.points] == sorted(p.key for p in merged.points)


def test_derived_numbers_are_for_readers(tmp_path: Path) -> None:
    """They are there, right, and not read."""
    path = tmp_path / "cpu.throughput.json"
    file.update(path, content((point(8, windows=tuple(Window(10, 2.0, 5.0) for _ in range(6))),)))
    body = json.loads(path.read_text())
    (told,) = body["points"]
    assert told["derived"]["images_per_s"] == pytest.approx(8 * 10 / 2.0)
    assert told["derived"]["j_per_image"] == pytest.approx(5.0 / 80)
    assert told["derived"]["images_per_j"] == pytest.approx(16)
    told["derived"] = {"images_per_s": 1e9}
    path.write_text(json.dumps(body))
    assert file.read(path).points[0].images_per_s == pytest.approx(40)


def test_another_instrument_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "cpu.throughput.json"
    assert file.path_for(tmp_path, "cpu", "01234567") == path
    file.update(path, content(POINTS))
    before = path.read_bytes()
    assert file.path_for(tmp_path, "cpu", "01234567") == path
    assert file.path_for(tmp_path, "cpu", "89abcdef") == tmp_path / "cpu-89abcdef.throughput.json"
    for wrong in (lambda: file.update(path, content(POINTS, "89abcdef")), lambda: file.require(path, "89abcdef")):
        with pytest.raises(FingerprintMismatch, match=r"is of Invented CPU \(01234567\), and not of this instrument"):
            wrong()
    assert path.read_bytes() == before
    assert file.beside(tmp_path / "cpu.csv") == (path,)


def damaged(body: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(body | changes).encode()


def test_whatever_is_wrong_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cpu.throughput.json"
    file.update(path, content(POINTS))
    sound = json.loads(path.read_text())
    first = sound["points"][0]
    window = first["windows"][0]
    cases: list[tuple[bytes, str]] = [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "make one with the command throughput"),
        (b'{"format": "x"}', "make one with the command throughput"),
        (path.read_bytes()[:-40], "not JSON"),
        (b'{"format": 1, "format": 2}', "'format' is there twice"),
        (damaged(sound, version=2), "version 2"),
        (damaged(sound, version=True), "version True"),
        (damaged(sound, device=1), "throughputs.device is not a text"),
        (damaged(sound, more=1), "'more' is unknown"),
        (damaged(sound, points=[first, first]), "is there twice"),
        (damaged(sound, points=[{**first, "batch": 0}]), "a batch of 0"),
        (damaged(sound, points=[{k: v for k, v in first.items() if k != "run_id"}]), "'run_id' is missing"),
        (damaged(sound, points=[{**first, "windows": [{**window, "runs": 1.5}]}]), "runs is not an integer"),
        (damaged(sound, points=[{**first, "windows": [{**window, "runs": 0}]}]), "runs of a window is 0"),
        (damaged(sound, points=[{**first, "windows": [{**window, "duration_s": 1e400}]}]), "is not finite"),
    ]
    for data, said in cases:
        path.write_bytes(data)
        with pytest.raises(InvalidFile, match=said) as caught:
            file.read(path)
        assert str(caught.value).startswith(f"{path}")
        assert "\n" not in str(caught.value)
        with pytest.raises(InvalidFile):
            file.update(path, content(POINTS))
        assert path.read_bytes() == data, "nothing is lost of it"
    with pytest.raises(InvalidFile, match="cannot be read"):
        file.read(tmp_path / "none.json")
    with pytest.raises((OutputError, InvalidFile)):
        file.update(tmp_path, content(POINTS))


def _add(path: Path, batch: int) -> None:
    file.update(path, content((point(batch),)))


def test_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cpu.throughput.json"
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_add, args=(path, batch)) for batch in range(1, 9)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(30)
    assert [p.batch for p in file.read(path).points] == list(range(1, 9))


def test_a_networks_digest_knows_its_layers_and_no_batch() -> None:
    networks = [load_network("resnet18", 1), load_network("resnet18", 8), load_network("resnet50", 1), residual(1)]
    digests = [network_digest(network) for network in networks]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    renamed = replace(networks[0], name="another")
    assert network_digest(renamed) != digests[0]


def test_a_point_of_the_future_is_replaced(tmp_path: Path) -> None:
    """Its clock was wrong; it would stay for ever."""
    path = tmp_path / "cpu.throughput.json"
    wrong, right = point(1, measured_at=4e9), point(1, 0.005, measured_at=1.8e9)
    file.update(path, content([wrong]), now=1.8e9)
    assert file.update(path, content([right]), now=1.8e9).points == (right,)
    assert file.update(path, content([wrong]), now=1.8e9).points == (right,)
    assert file.update(path, content([wrong]), now=4e9).points == (wrong,)
