"""Whole networks in a bundle, by the command line alone: bundle, the box, ingest, allocate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import Place

ONNX = Path(__file__).parents[1] / "data/tiny_torch.onnx"


def test_from_home_to_the_box_and_into_an_allocation(place: Place, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    run, quantized = place.folder / "run.zip", place.folder / "int4.npz"
    done = place.run(["quantize", str(ONNX), "--uniform", "int4", "-o", str(quantized)])
    assert done.code == 0, done.err
    asked = ["bundle", str(ONNX), "--device", "cpu", "-o", str(run), "--kernels", str(place.folder)]
    asked += ["--configs", "1", "--no-mixed", "--network", "uniform:int8", "--network", str(quantized)]
    made = place.run(asked)
    assert made.code == 0, made.err
    assert "network uniform int8: 14 steps" in made.out
    assert "networks: 0.0 MB of parameters, inputs and plans" in made.out

    box = tmp_path / "box"
    box.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(place.tmp)}
    command = [sys.executable, "-S", "-c", f"import sys; sys.path += {numpy_folder()!r}; {RUN}", str(run)]
    done = subprocess.run(
        [*command, "-o", "results.jsonl"], cwd=box, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("its kernels take") == 2

    taken = place.run(["ingest", str(box / "results.jsonl"), "--out", str(place.out)])
    assert taken.code == 0, taken.err
    table = place.out / "tuning_logs/cpu/end_to_end.csv"
    assert f"2 of 2 networks ran end to end: {table}, for allocate --end-to-end" in taken.out
    assert len(table.read_text().splitlines()) == 3

    options = ["--lut", str(place.out / "lut/cpu.csv"), "--end-to-end", str(table), "-o", str(tmp_path / "bits.json")]
    chosen = place.run(["allocate", str(ONNX), "--batch", "1", "--max-latency", "1s", *options])
    if "do not grow with the sums" not in chosen.err:  # two networks of a few us, on a busy machine
        assert chosen.code == 0, chosen.err
        assert "the whole network" in chosen.out


def numpy_folder() -> list[str]:
    """Where NumPy is installed, which is all that a box has."""
    import numpy

    return [str(Path(numpy.__file__).parents[1])]


RUN = "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""As ``python3 run.zip`` does, where nothing but NumPy can be imported by the main process."""


def test_what_was_asked_badly_is_one_line(place: Place) -> None:
    pytest.importorskip("onnx")
    other = place.folder / "other.npz"
    done = place.run(["quantize", str(ONNX), "--uniform", "int8", "-o", str(other)])
    assert done.code == 0, done.err
    asked = ["bundle", str(place.model), "--device", "cpu", "-o", str(place.folder / "run.zip")]
    for options, said in (
        (["--network", "uniform:int9"], "unknown precision 'int9'"),
        (["--network", "none.json"], "none.json: cannot be read"),
        (["--network", "none.npz"], "none.npz: cannot be read"),
        (["--network", str(other)], "is network 'tiny_torch' of batch 1, and the bundle is of"),
        (["--network", "uniform:int8", "--threads", "2"], "one thread"),
        (["--network", "uniform:int8", "--ranges", "odd"], "--ranges odd"),
        (["--calibrate", "none.npz"], "--calibrate is of networks"),
    ):
        refused = place.run([*asked, *options])
        assert refused.refused(said), (options, refused)
        assert not (place.folder / "run.zip").exists()
