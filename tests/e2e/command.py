"""The command line as a user runs it, in a place of its own, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from profiler.frontend import network_file
from profiler.record import Failure, Journal, Measurement, Record
from profiler.workload import Layer, Network, Op, Tensor, Workload

ROOT = Path(__file__).parents[2]

_CONV = Workload(Op.CONV2D, 1, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1)
NETWORK = Network(
    name="small",
    batch=1,
    tensors=(
        Tensor("image", 8, 8, 16, signed=True),
        Tensor("first", 8, 8, 16, signed=False),
        Tensor("second", 8, 8, 16, signed=True),
        Tensor("sum", 8, 8, 16, signed=False),
        Tensor("pooled", 4, 4, 16, signed=False),
        Tensor("mean", 1, 1, 16, signed=False),
        Tensor("logits", 1, 1, 10, signed=True),
    ),
    layers=(
        Layer("conv1", _CONV, ("image",), "first", relu=True),
        Layer("conv2", _CONV, ("first",), "second"),
        Layer("add", Workload(Op.ADD, 1, 8, 8, 16, 16), ("second", "first"), "sum", relu=True),
        Layer("pool", Workload(Op.MAX_POOL, 1, 8, 8, 16, 16, 2, 2, 2, 2), ("sum",), "pooled"),
        Layer("mean", Workload(Op.AVG_POOL, 1, 4, 4, 16, 16, 4, 4), ("pooled",), "mean"),
        Layer("fc", Workload(Op.DENSE, 1, 1, 1, 16, 10), ("mean",), "logits"),
    ),
)
"""Every kind of layer once, and an addition that can be fused: seven kernels per precision, five lines of a table."""
KERNELS, LINES = 7, 5

DENSE = Network(
    "dense",
    1,
    (Tensor("x", 1, 1, 16, signed=False), Tensor("y", 1, 1, 10, signed=True)),
    (Layer("fc", Workload(Op.DENSE, 1, 1, 1, 16, 10), ("x",), "y"),),
)
"""One kernel."""

QUICK = ("--trials", "2", "--precisions", "int8", "--no-mixed", "--device", "cpu")


FILES_OF_A_RUN = {"lut/cpu.csv", "lut/.cpu.csv.lock", "tuning_logs/cpu/networks/small-n1.json"}
"""Everything that a run of `NETWORK` leaves, but for journals."""


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    def refused(self, *parts: str) -> bool:
        """Whether it is one line on standard error that has these parts in it, and exit code 2."""
        lines = self.err.splitlines()
        one = len(lines) == 1 and lines[0].startswith("error: ") and all(part in lines[0] for part in parts)
        return self.code == 2 and not self.out and one


class Place:
    """A folder with models, outputs and temporary files of its own.

    The lock between runs is among the temporary files, so tests neither wait for a run of the user nor disturb it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.tmp = folder / "tmp"
        self.tmp.mkdir(parents=True)
        self.model = folder / "small.json"
        network_file.save(NETWORK, self.model)
        self.dense = folder / "dense.json"
        network_file.save(DENSE, self.dense)

    def profile(self, *options: str, model: Path | None = None, out: Path | None = None) -> list[str]:
        """Arguments of a short run."""
        return ["profile", str(model or self.model), "--out", str(out or self.out), *QUICK, *options]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.tmp), "PYTHONPATH": str(ROOT)}

    def start(
        self,
        arguments: list[str],
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> subprocess.Popen[str]:
        """The program in a process group of its own."""
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "profiler", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **(environment or {})},
            start_new_session=True,
            preexec_fn=before,
        )

    def run(
        self,
        arguments: list[str],
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> Outcome:
        """Its answer. A run that hangs is killed."""
        return self.answer(self.start(arguments, environment, before, prefix))

    @staticmethod
    def answer(process: subprocess.Popen[str], limit_s: float = 120) -> Outcome:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Outcome(process.returncode, out, err)

    def strays(self, patience_s: float = 5) -> list[str]:
        """Command lines of processes that belong to this place and do not end."""
        end = time.monotonic() + patience_s
        while found := _processes(f"TMPDIR={self.tmp}"):
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        return found

    def temporary_files(self) -> list[str]:
        """What lies among the temporary files, but for the lock between runs."""
        return [path.name for path in self.tmp.iterdir() if not path.name.endswith(".lock")]

    @property
    def lut(self) -> Path:
        return self.out / "lut" / "cpu.csv"

    def journals(self) -> dict[str, bytes]:
        """Content of the journals by name."""
        return {path.name: path.read_bytes() for path in sorted((self.out / "tuning_logs" / "cpu").glob("*.jsonl"))}

    def journal(self, name: str) -> Path:
        """The journal of a layer's workload."""
        return self.out / "tuning_logs" / "cpu" / f"{NETWORK.layer(name).workload.text}.jsonl"

    def records(self) -> list[Record]:
        return [r for path in (self.out / "tuning_logs" / "cpu").glob("*.jsonl") for r in Journal(path).read()]

    def failures(self) -> list[Failure]:
        return [record for record in self.records() if isinstance(record, Failure)]

    def measured_twice(self) -> list[object]:
        """Candidates that have more than one measurement of a stage."""
        keys = Counter(
            (r.spec.key, r.config, r.conditions, r.fingerprint, r.stage)
            for r in self.records()
            if isinstance(r, Measurement)
        )
        return [key for key, count in keys.items() if count > 1]

    def files(self) -> set[str]:
        """Everything in the output folder, but for journals."""
        found = {str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file()}
        return {name for name in found if not name.endswith(".jsonl")}


def _processes(mark: str) -> list[str]:
    """Command lines of the processes whose environment holds that entry."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found
