"""The client's side of Dask: the only module here that imports it for the client, and only when a fleet is asked for.

A question is a task on named workers. Whoever asks waits in small steps and looks each time whether waiting still makes
sense: Dask keeps a task whose only worker is gone until one of that address returns, which may be never.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

from profiler.errors import ProfilerError
from profiler.fleet.access import Access
from profiler.fleet.offers import Offer, Versions
from profiler.fleet.tls_files import TlsFile, require_usable

_T = TypeVar("_T")
_STEP_S = 0.1
_ANSWER_S = 30.0  # what is there already, or the scheduler knows
_CLOSE_S = 3.0


class WorkerLost(Exception):
    """A worker that is gone, silent, or did not bring a task to its end. The text says which and why."""


class TaskFailed(WorkerLost):
    """A task that ended with an error that nobody has foreseen: no memory, no disk, no package of ours, a defect."""


class Stopped(Exception):
    """The run ends: nobody waits for the answer any more."""


class SchedulerLost(ProfilerError):
    """The scheduler does not answer any more."""


class Link:
    """A connection to a scheduler; use it as a context manager.

    Raises `ProfilerError` if Dask is not installed, if a file of TLS is of no use, and if the scheduler cannot be
    reached within ``connect_s`` seconds.
    """

    def __init__(self, access: Access, connect_s: float) -> None:
        try:
            import distributed
        except ImportError:
            raise ProfilerError(
                "a fleet needs dask.distributed, which is not installed: make does it where SCHEDULER= is given, and "
                "so does pip install -r requirements/fleet.txt"
            ) from None
        _silence()
        self.address = access.address
        self._distributed = distributed
        self._closed: type[Exception] = distributed.client.ClosedClientError
        try:
            self._client: Any = distributed.Client(
                access.address,
                security=self._security(access),
                timeout=connect_s,
                set_as_default=False,
                direct_to_workers=False,
                name="profiler",
            )
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
            raise ProfilerError(f"the scheduler {access.address} cannot be reached: {_one_line(error)}") from None
        packages = distributed.versions.get_versions()["packages"]
        self.versions = _versions(packages)

    def _security(self, access: Access) -> Any:
        if not access.encrypted:
            return None
        named = (access.ca_file, access.certificate, access.key)
        options: tuple[str, ...] = ("--tls-ca-file", "--tls-cert", "--tls-key")
        if access.ca_file is None:
            security = self._distributed.Security(require_encryption=True)
            named = (
                security.tls_ca_file,
                security.tls_client_cert,
                security.tls_client_key or security.tls_client_cert,
            )
            options = ("distributed.comm.tls.ca-file", *(f"distributed.comm.tls.client.{of}" for of in ("cert", "key")))
            if not all(named):
                raise ProfilerError(
                    f"{access.address} takes --tls-ca-file, --tls-cert and --tls-key (or distributed.comm.tls in "
                    "Dask's configuration); docs/fleet.md has the commands that make them"
                )
        else:
            security = self._distributed.Security(
                require_encryption=True,
                tls_ca_file=str(access.ca_file),
                tls_client_cert=str(access.certificate),
                tls_client_key=str(access.key),
            )
        if not any("\n" in str(file) for file in named):  # Dask's configuration may hold them themselves
            require_usable(*(TlsFile(option, str(file)) for option, file in zip(options, named, strict=True)))
        return security

    def offers(self) -> Mapping[str, tuple[Offer, object]]:
        """The workers that run, by address, each with a value that changes whenever the scheduler hears of it.

        Raises `SchedulerLost`.
        """
        try:
            known = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER_S)
        except (OSError, TimeoutError, CancelledError, RuntimeError, AttributeError, self._closed):
            raise SchedulerLost(
                f"the scheduler {self.address} does not answer any more; what was measured is kept, the same command "
                "goes on from there"
            ) from None
        return {
            address: (Offer(address, str(worker["name"]), dict(worker["resources"])), worker["last_seen"])
            for address, worker in known["workers"].items()
            if worker["status"] in ("running", "paused")
        }

    def versions_of(self, address: str) -> Versions:
        """What a worker runs on. Raises `WorkerLost` if it does not answer."""
        client = self._client
        message = {"op": "versions", "packages": []}
        try:
            answers = client.sync(
                client.scheduler.broadcast,
                msg=message,
                workers=[address],
                on_error="return",
                callback_timeout=_ANSWER_S,
            )
            return _versions(answers[address]["packages"])
        except (OSError, TimeoutError, CancelledError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise WorkerLost(f"it does not tell its versions: {_one_line(error)}") from None

    def ask(
        self,
        function: Callable[..., _T],
        *arguments: object,
        workers: Sequence[str],
        watch: Callable[[], None],
        resources: Mapping[str, float] | None = None,
    ) -> _T:
        """The answer to one question; as `ask_all`."""
        return self.ask_all(function, [arguments], workers=workers, watch=watch, resources=resources)[0]

    def ask_all(
        self,
        function: Callable[..., _T],
        calls: Sequence[tuple[object, ...]],
        *,
        workers: Sequence[str],
        watch: Callable[[], None],
        resources: Mapping[str, float] | None = None,
    ) -> list[_T]:
        """What the function answers to each of the calls, on any of the workers.

        ``watch`` is called while it is waited for, and ends the waiting by what it raises. ``resources`` are what a
        task takes of its worker. Raises `WorkerLost` if the worker is, `TaskFailed`, and what the function raises if
        that is a `ProfilerError`.
        """
        futures: list[Any] = []
        answered = threading.Semaphore(0)
        try:
            for arguments in calls:
                future = self._client.submit(
                    function,
                    *arguments,
                    workers=list(workers),
                    allow_other_workers=False,
                    resources=dict(resources or {}),
                    pure=False,
                    retries=0,
                )
                futures.append(future)
                future.add_done_callback(lambda _: answered.release())
            for _ in futures:
                while not answered.acquire(timeout=_STEP_S):
                    watch()
            return [self._outcome(future) for future in futures]
        except self._closed:  # the scheduler has gone, which whoever leads the run sees by itself
            raise WorkerLost("the scheduler takes no tasks any more") from None
        finally:
            with suppress(Exception):
                self._client.cancel([future for future in futures if not future.done()])
            for future in futures:
                with suppress(Exception):
                    future.release()

    def _outcome(self, future: Any) -> Any:
        try:
            return future.result(timeout=_ANSWER_S)
        except ProfilerError:
            raise
        except (CancelledError, OSError, TimeoutError, self._distributed.KilledWorker) as error:
            raise WorkerLost(_one_line(error)) from None
        except Exception as error:
            raise TaskFailed(f"a task failed there: {type(error).__name__}: {_one_line(error)}") from None

    def tell(self, function: Callable[[], object], workers: Sequence[str]) -> None:
        """Have the function run on each of the workers, without waiting."""
        with suppress(Exception):
            for address in workers:
                future = self._client.submit(function, workers=[address], pure=False)
                self._distributed.fire_and_forget(future)

    def close(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=_CLOSE_S)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _silence() -> None:
    """Dask's own log: what a lost worker means is said by us, in one line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _versions(packages: Mapping[str, str | None]) -> Versions:
    python = ".".join((packages.get("python") or "").split(".")[:2])
    return Versions(python, packages.get("numpy") or "", packages.get("distributed") or "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
