"""A network in a worker process, from this side: load it, give it inputs, run it, notice that it died.

    this process                          worker (`host_worker`)
    NetworkProcess.step(0), step(1), ...  --> one kernel each     <-- what it wrote
    NetworkProcess.run()                  --> all of them in a row <-- the outputs
    NetworkProcess.time(runs, marks)      --> many runs            <-- nanoseconds of each run, and of each step

Values are bytes here, as kernels see them: who knows what they mean is `network.device_network`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact
from profiler.devices.kernel_process import LOAD_LIMIT_S, Died, Worker, refusal
from profiler.devices.pipe import Header, Overdue
from profiler.devices.protocol import KernelFailure
from profiler.errors import ProfilerError
from profiler.network.execute.loading import load_request
from profiler.network.execute.planned import Plan
from profiler.record import FailureKind

Array = npt.NDArray[Any]

_TRAFFIC_LIMIT_S = 30.0
"""The longest that inputs may take on their way."""


class NetworkFailure(ProfilerError):
    """A network that could not be loaded, crashed, hung, or computed something else than it should.

    ``step`` is the index of the step, None where the run of all steps failed.
    """

    def __init__(self, kind: FailureKind, text: str, step: int | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.step = step


@dataclass(frozen=True)
class TimedRuns:
    """``totals_s`` of each run, and ``steps_s`` [runs, steps] of each step of each run (no row where the steps were not
    marked). ``header`` is what else the worker told of them."""

    totals_s: Array
    steps_s: Array
    header: Header


class NetworkProcess:
    """A network in a worker, as a context manager. The worker is started when it is first needed.

    name : of the network, for messages. parameters : what lies in the parameters' memory. artifacts : one for each of
    the plan's kernels, in that order. command : starts the worker; the id of this process is appended. time_limit_s,
    run_limit_s : the longest that one kernel, and that a run of all of them may take.

    Whatever goes wrong in the worker raises `NetworkFailure`; it is loaded again for the next request.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        parameters: bytes,
        artifacts: Sequence[Artifact],
        command: Sequence[str],
        time_limit_s: float = 10.0,
        run_limit_s: float = 60.0,
    ) -> None:
        self.name, self.plan = name, plan
        self._parameters, self._artifacts = parameters, tuple(artifacts)
        self._command = tuple(command)
        self._time_limit_s, self._run_limit_s = time_limit_s, run_limit_s
        self._worker: Worker | None = None
        self._longest_run_s = 0.0  # of those that were timed

    @property
    def pid(self) -> int | None:
        """Process id of the running worker."""
        return self._worker.process.pid if self._worker else None

    def set_inputs(self, payload: bytes) -> None:
        """All inputs in the plan's order, one behind the other; all other values are poisoned."""
        self._call(self._running(), {"request": "inputs"}, payload, _TRAFFIC_LIMIT_S, None)

    def step(self, index: int) -> bytes:
        """Launch one step; the value that it writes, behind it."""
        return self._ask({"request": "step", "index": index}, self._time_limit_s, index)[1]

    def run(self) -> bytes:
        """All steps in a row; the outputs, one behind the other."""
        return self._ask({"request": "run"}, self._run_limit_s)[1]

    def outputs(self) -> bytes:
        """As the last run left them."""
        return self._ask({"request": "outputs"}, self._time_limit_s)[1]

    def check(self) -> None:
        """Raises `NetworkFailure` if anything was written where nothing belongs."""
        self._ask({"request": "check"}, self._time_limit_s)

    def time(self, runs: int, marked: bool) -> TimedRuns:
        """So many runs in a row, with the time of each step where ``marked``."""
        limit_s = self._run_limit_s + runs * (10 * self._longest_run_s or self._run_limit_s)
        header, raw = self._ask({"request": "time", "runs": runs, "marks": marked}, limit_s)
        ns = np.frombuffer(raw, np.int64)
        totals_s = ns[:runs] * 1e-9
        self._longest_run_s = max(self._longest_run_s, float(totals_s.max()))
        ends_s = ns[runs:].reshape(-1, len(self.plan.steps)) * 1e-9
        return TimedRuns(totals_s, np.diff(ends_s, axis=1, prepend=0.0), header)

    def work(self, duration_s: float) -> int:
        """Keep the device busy with runs for at least so long; how many there were."""
        limit_s = self._run_limit_s + 2 * duration_s
        header, _ = self._ask({"request": "work", "duration_s": duration_s}, limit_s)
        return int(header["runs"])

    def require_outputs(self, first: bytes) -> None:
        """Raises `NetworkFailure` where the last run did not leave what the first one did, or anything was written
        where nothing belongs."""
        last = self.outputs()
        self.check()
        at = 0
        for value in self.plan.outputs:
            there = slice(at, at + value.place.nbytes)
            if first[there] != last[there]:
                text = f"'{value.name}' after the timed runs is not what it was after the first one"
                raise self.failure(FailureKind.WRONG_OUTPUT, text)
            at = there.stop

    def failure(self, kind: FailureKind, text: str, index: int | None = None) -> NetworkFailure:
        """What to raise, saying where: in which network, and in which step unless ``index`` is None."""
        where = f"network '{self.name}'"
        if index is not None:
            where += f", {self.plan.where(index)}"
        return NetworkFailure(kind, f"{where}: {text}", index)

    def close(self) -> None:
        """End the worker; a second call does nothing, and the next request starts a new one."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def __enter__(self) -> NetworkProcess:
        self._running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> Worker:
        if self._worker is not None and self._worker.alive:
            return self._worker
        self.close()
        self._worker = Worker(self._command)
        header, payload = load_request(self.plan, self._parameters, self._artifacts)
        self._call(self._worker, header, payload, LOAD_LIMIT_S, None)
        return self._worker

    def _ask(self, request: Header, limit_s: float, step: int | None = None) -> tuple[Header, bytes]:
        """Of the worker that has the inputs: another one would go on with nothing."""
        if self._worker is None:
            raise self.failure(FailureKind.CRASH, "its process has ended; give it inputs again", step)
        return self._call(self._worker, request, b"", limit_s, step)

    def _call(
        self, worker: Worker, request: Header, payload: bytes, limit_s: float, step: int | None
    ) -> tuple[Header, bytes]:
        try:
            answer, body = worker.ask(request, payload, limit_s)
        except Overdue:
            self.close()
            text = f"no answer within {limit_s:.3g} s ({request['request']})"
            raise self.failure(FailureKind.TIMEOUT, text, step) from None
        except Died as death:
            self.close()
            raise self.failure(FailureKind.CRASH, str(death), step) from None
        except BaseException:  # also Ctrl-C: half a conversation cannot be continued
            self.close()
            raise
        if answer["ok"]:
            return answer, body
        reason = refusal(answer)
        if answer["last"]:
            self.close()
        if isinstance(reason, KernelFailure):
            raise self.failure(reason.kind, reason.message, step) from None
        raise reason
