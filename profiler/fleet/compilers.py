"""Kernels from the workers with spare cores. All compile with one and the same compiler, since it is part of what a
fingerprint says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from profiler.artifact import Artifact
from profiler.errors import ProfilerError
from profiler.fleet import worker_side
from profiler.fleet.limits import FleetLimits
from profiler.fleet.link import Link, WorkerLost
from profiler.fleet.offers import COMPILE
from profiler.fleet.orders import BrokenCompiler, BuildOrder, Built, Compiler, Unusable
from profiler.fleet.roster import Roster, Watch
from profiler.kernels.backend import Backend, CpuBackend, CudaBackend
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.pool_build import BuildFailure
from profiler.kernels.toolchain import ToolchainError
from profiler.tuning.workbench import Request

_CHUNK = 2
"""Kernels of one task: the reference output of a kernel is worked out once in each process that compiles it."""
_STEP_S = 0.2


class CompilersLost(WorkerLost):
    """Several workers were lost while they compiled the same kernels. The card that waits for these is not at fault."""


@dataclass
class Compilers:
    """Used by all threads of a run. ``refused`` is told of a worker whose compiler is of no use, and why."""

    link: Link
    roster: Roster
    limits: FleetLimits
    refused: Callable[[str, str], None]
    _known: dict[tuple[Backend, str], Compiler | Unusable] = field(default_factory=dict)
    _references: dict[Backend, Compiler] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def compiler(self, backend: Backend, arch: str, watch: Watch) -> Compiler:
        """What compiles in this run. ``arch`` : of the machine that a CPU's kernels are for.

        Raises `ProfilerError` if within a while there is no worker that can.
        """
        self._workers(backend, arch, watch)
        return self._references[backend]

    def build(
        self, backend: Backend, requests: Sequence[Request], arch: str, watch: Watch
    ) -> list[Artifact | BuildFailure]:
        """Compile all; the results are in the order of the requests. A worker that is lost, or whose compiler does not
        work any more, costs nothing but time.

        Raises `CompilersLost` if several were lost, and `ProfilerError` if there is no worker left that can compile.
        """
        order = sorted(range(len(requests)), key=lambda index: requests[index][0].key)
        waiting = [order[start : start + _CHUNK] for start in range(0, len(order), _CHUNK)]
        results: dict[int, Artifact | BuildFailure] = {}
        losses = 0
        while waiting:
            turn_s = self.limits.compilers_turn_s
            orders = [(BuildOrder(backend, tuple(requests[index] for index in chunk), turn_s),) for chunk in waiting]
            try:
                answers = self._asked(backend, orders, arch, watch)
            except WorkerLost as lost:
                watch()  # if it is our own worker that is lost, that is what happened
                losses += 1
                if losses == self.limits.attempts:
                    raise CompilersLost(f"{losses} times a worker was lost that compiled it, last: {lost}") from None
                continue
            for chunk, answer in zip(tuple(waiting), answers, strict=True):
                if isinstance(answer, BrokenCompiler):
                    self._judge(backend, answer.address, Unusable(answer.message))
                    continue
                waiting.remove(chunk)
                for index, result in zip(chunk, answer.results, strict=True):
                    results[index] = Artifact.from_bytes(result) if isinstance(result, bytes) else result
        return [results[index] for index in range(len(requests))]

    def _asked(
        self, backend: Backend, orders: Sequence[tuple[BuildOrder]], arch: str, watch: Watch
    ) -> list[Built | BrokenCompiler]:
        workers = self._workers(backend, arch, watch)
        offering = all(self._offers(address) for address in workers)
        return self.link.ask_all(
            worker_side.build,
            orders,
            workers=workers,
            watch=self._watch(workers, watch),
            resources={COMPILE: 1} if offering else {},
        )

    def _offers(self, address: str) -> bool:
        offer = self.roster.present.get(address)
        return offer is not None and offer.amount(COMPILE) > 0

    def _workers(self, backend: Backend, arch: str, watch: Watch) -> tuple[str, ...]:
        """Those that compile for it, alike. Waits until there is one, unless those that are there are of no use."""
        end_s = time.monotonic() + self.limits.workers_s
        while True:
            able = tuple(address for address in self.roster.compiling() if self._able(backend, address, arch, watch))
            if able:
                return able
            watch()
            there = self.roster.compiling()
            hopeless = all(isinstance(self._known.get((backend, address)), Unusable) for address in there)
            if time.monotonic() > end_s or (there and hopeless):
                raise ProfilerError(self._nobody(backend))
            time.sleep(_STEP_S)

    def forget(self, address: str) -> None:
        """The worker has left: another one may come under its address."""
        for known in [known for known in list(self._known) if known[1] == address]:
            self._known.pop(known, None)

    def _able(self, backend: Backend, address: str, arch: str, watch: Watch) -> bool:
        sight = self.roster.sights.get(address)
        if sight is None or (isinstance(backend, CpuBackend) and sight.arch != arch):
            return False
        if (backend, address) not in self._known:
            with self._lock:
                if (backend, address) not in self._known:
                    try:
                        found = self.link.ask(
                            worker_side.compiler,
                            backend,
                            self.limits.compilers_turn_s,
                            workers=[address],
                            watch=self._watch([address], watch),
                        )
                    except WorkerLost:
                        watch()
                        return False
                    self._judge(backend, address, found)
        return isinstance(self._known.get((backend, address)), Compiler)

    def _watch(self, addresses: Sequence[str], watch: Watch) -> Watch:
        """All of them: nobody tells which one has which task, and Dask waits for a silent one for long."""

        def still_there() -> None:
            watch()
            for address in addresses:
                self.roster.require(address)

        return still_there

    def _judge(self, backend: Backend, address: str, found: Compiler | Unusable) -> None:
        name = self.roster.present[address].text if address in self.roster.present else address
        if isinstance(found, Compiler):
            if backend not in self._references:
                self._references[backend] = _own(backend) or found
            reference = self._references[backend]
            if found.text != reference.text:
                found = Unusable(f"compiles with {found.text}, and this run is with {reference.text}")
        if isinstance(found, Unusable) and not isinstance(self._known.get((backend, address)), Unusable):
            self.refused(name, f"{found.message}; it compiles nothing in this run")
        self._known[backend, address] = found

    def _nobody(self, backend: Backend) -> str:
        found = [found for (asked, _), found in self._known.items() if asked == backend]
        reasons = [compiler.message for compiler in found if isinstance(compiler, Unusable)]
        why = f" ({reasons[-1]})" if reasons else ""
        return f"no worker of {self.link.address} can compile{why}: start one with --resources 'compile=4'"


@dataclass(frozen=True)
class FleetBuilder:
    """A `tuning.workbench.Builder` for one card. A GPU's kernels are kept at home, as those of any run are."""

    compilers: Compilers
    backend: Backend
    arch: str
    watch: Watch
    cache: ArtifactCache | None = None

    def build(self, requests: Sequence[Request]) -> list[Artifact | BuildFailure]:
        keys = self._keys(requests)
        results: dict[int, Artifact | BuildFailure] = {}
        if self.cache is not None:
            for index, key in keys.items():
                artifact = self.cache.get(requests[index][0], key)
                if artifact is not None:
                    results[index] = artifact
        missing = [index for index in range(len(requests)) if index not in results]
        if missing:
            built = self.compilers.build(self.backend, [requests[index] for index in missing], self.arch, self.watch)
            for index, result in zip(missing, built, strict=True):
                results[index] = result
                if self.cache is not None and index in keys and isinstance(result, Artifact):
                    self.cache.put(keys[index], result)
        return [results[index] for index in range(len(requests))]

    def _keys(self, requests: Sequence[Request]) -> dict[int, str]:
        """In the cache; none where this machine has no compiler that would tell."""
        if self.cache is None:
            return {}
        try:
            return {index: self.backend.key(*request) for index, request in enumerate(requests)}
        except ToolchainError:
            return {}


def _own(backend: Backend) -> Compiler | None:
    """What this machine would compile with for a GPU, if it can: its cache of kernels is then of use."""
    if not isinstance(backend, CudaBackend):
        return None
    try:
        return Compiler.of(backend)
    except ProfilerError:
        return None
