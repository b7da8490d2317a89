"""kill -9 at any moment, and start again."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import random
import shutil
import signal
import sys
import tempfile
import time

import pytest

from profiler.lut.check import check
from profiler.record import Journal
from tests.e2e.command import FILES_OF_A_RUN, KERNELS, Place

KILLS = 20


def _serve(arguments: list[str], folder: str) -> None:
    """The command line in a forked process that has its imports behind it: what is killed is work and not starting."""
    from profiler.cli import main

    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
    sys.argv = ["profiler", *arguments]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    main()


def _committed(place: Place) -> dict[str, bytes]:
    """The whole lines of all journals."""
    return {name: data[: data.rfind(b"\n") + 1] for name, data in place.journals().items()}


def _end(process: multiprocessing.process.BaseProcess, place: Place, kind: str, moment_s: float) -> int | None:
    """Wait for the moment, kill, and return the exit code."""
    if kind == "recorded":
        size, limit = _size(place), time.monotonic() + 30
        while process.is_alive() and _size(place) == size and time.monotonic() < limit:
            time.sleep(0.005)
    process.join(moment_s)
    process.kill()
    process.join()
    return process.exitcode


def _size(place: Place) -> int:
    return sum(len(content) for content in place.journals().values())


@pytest.mark.slow
def test_kill_at_twenty_moments(place: Place) -> None:
    """Seconds after the start of the program, after the start of its work, and after it has recorded something."""
    generator = random.Random(20)
    moments = [("program", generator.uniform(0.5, 1.5)) for _ in range(3)]
    moments += [("work", generator.uniform(0.05, 1.3)) for _ in range(11)]
    moments += [("recorded", generator.uniform(0.0, 0.8)) for _ in range(KILLS - len(moments))]
    generator.shuffle(moments)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["profiler.pipeline", "profiler.cli.commands", "profiler.cli.progress"])
    arguments = place.profile("--trials", "1")
    kept: dict[str, bytes] = {}
    while moments:
        kind, moment_s = moments.pop()
        if kind == "program":
            program = place.start(arguments)
            time.sleep(moment_s)
            program.kill()  # this process alone: its workers must notice
            program.communicate()
            code: int | None = program.returncode
        else:
            forked = context.Process(target=_serve, args=(arguments, str(place.tmp)))
            forked.start()
            code = _end(forked, place, kind, moment_s)
        assert place.strays() == []
        now = _committed(place)
        for name, content in kept.items():
            assert now[name].startswith(content), f"{name} has lost records"
        assert place.measured_twice() == []
        kept = now
        if code != -signal.SIGKILL:
            assert code == 0
            _finished(place)
            moments.append((kind, moment_s))  # it was over before it could be killed: begin anew
            shutil.rmtree(place.out)
            kept = {}
    last = place.run(arguments)
    assert last.code == 0, last.err
    for name, content in kept.items():
        assert place.journals()[name].startswith(content)
    _finished(place)


def _finished(place: Place) -> None:
    assert check(place.lut) == []
    assert len(place.lut.read_text().splitlines()) == 1 + KERNELS
    assert place.measured_twice() == []
    assert place.failures() == []
    assert place.files() == FILES_OF_A_RUN
    for name in place.journals():
        list(Journal(place.out / "tuning_logs" / "cpu" / name).read())
