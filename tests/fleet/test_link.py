"""What becomes of questions when the scheduler has gone for good."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from profiler.fleet.link import Link, SchedulerLost, WorkerLost

distributed = pytest.importorskip("distributed")


def closed() -> Any:
    """A link whose client has given up: Dask's own error says so, and is of no class that Python has."""
    link: Any = Link.__new__(Link)

    def refuse(*_: object, **__: object) -> None:
        raise distributed.client.ClosedClientError("Client is closed. Can't send update-graph message.")

    link.address = "tls://h:1"
    link._closed = distributed.client.ClosedClientError
    link._client = SimpleNamespace(submit=refuse, cancel=refuse, sync=refuse, scheduler=SimpleNamespace(identity=None))
    return link


def test_whoever_asks_comes_back() -> None:
    with pytest.raises(WorkerLost, match="takes no tasks any more"):
        closed().ask(print, workers=["tls://w:1"], watch=lambda: None)


def test_whoever_leads_the_run_tells_it() -> None:
    with pytest.raises(SchedulerLost, match=r"tls://h:1 does not answer any more; what was measured is kept"):
        closed().offers()
