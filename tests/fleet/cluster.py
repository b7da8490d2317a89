"""A scheduler and workers as processes of this machine, as `dask scheduler` and `dask worker` start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.command import ROOT

START_LIMIT_S = 60
END_LIMIT_S = 5


@dataclass
class Cluster:
    """``folder`` gets logs and temporary files. ``tls`` are Dask's options for it, none for plain TCP."""

    folder: Path
    tls: tuple[str, ...] = ()
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    nannies: list[str] = field(default_factory=list)
    address: str = ""

    def __post_init__(self) -> None:
        self.tmp = self.folder / "tmp"
        self.tmp.mkdir(parents=True)
        described = self.folder / "scheduler.json"
        protocol = "tls" if self.tls else "tcp"
        address = ("--host", f"{protocol}://127.0.0.1", "--port", "0", "--scheduler-file", str(described))
        self.scheduler = self._start("scheduler", {}, *address)
        end = time.monotonic() + START_LIMIT_S
        while not self.address:
            assert self.scheduler.poll() is None, self.log("scheduler")
            assert time.monotonic() < end, "the scheduler does not start"
            time.sleep(0.05)
            with suppress(OSError, ValueError):
                self.address = json.loads(described.read_text())["address"]

    def worker(self, name: str, resources: str, threads: int = 2, nanny: bool = False, **said: Any) -> None:
        """Start one; ``said`` is what its seat shall pretend. It joins when it is ready. With a ``nanny``, as is
        Dask's default, the worker is a daemonic child of the process that is started."""
        options = ("--nthreads", str(threads), "--name", name, "--local-directory", str(self.tmp))
        options += ("--nanny" if nanny else "--no-nanny",)
        if nanny:
            self.nannies.append(name)
        environment = {"FLEET_TEST": json.dumps(said)}
        self.workers[name] = self._start(
            "worker", environment, self.address, *options, "--resources", resources, log=name
        )

    def kill(self, name: str) -> None:
        """At once, and whatever it has in hand."""
        self.workers[name].kill()
        self.workers[name].wait()

    def close(self) -> None:
        for name in self.nannies:
            self.workers[name].terminate()  # and it ends its worker
            with suppress(subprocess.TimeoutExpired):
                self.workers[name].wait(END_LIMIT_S)
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def strays(self, patience_s: float = 10) -> list[str]:
        """Command lines of processes of this cluster that are neither its scheduler nor its workers."""
        own = {process.pid for process in (*self.workers.values(), self.scheduler)}
        end = time.monotonic() + patience_s
        while found := self._processes(own):
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        return found

    def _processes(self, own: set[int]) -> list[str]:
        mark = f"TMPDIR={self.tmp}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if not entry.name.isdigit() or int(entry.name) in own or int(entry.name) == os.getpid():
                    continue
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [line for line in found if line]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.tmp), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}

    def _start(
        self, what: str, environment: Mapping[str, str], *options: str, log: str = ""
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options, "--no-dashboard", *self.tls]
        with open(self.folder / f"{log or what}.log", "wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.environment, **environment},
                start_new_session=True,
            )
