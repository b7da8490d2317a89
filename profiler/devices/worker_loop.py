"""The worker process from inside: one request after the other, on what were its standard input and output.

What a kernel prints goes nowhere, so that it cannot disturb the conversation (`pipe`). The process ends when its
parent does.

The first message is the greeting, ``{"ok": true, ...}``. Then an answer to each request is ``{"ok": true, ...}``, or
``{"ok": false, "kind": ..., "message": ..., "last": ...}``. The kind is that of a `record.FailureKind`, "device" for a
device that does not work at all, or "defect" for an error of ours. After an answer that is the ``last`` the worker
ends: what happened leaves nothing to go on with.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Callable, Dict, Tuple

from profiler.devices.pipe import Closed, Header, Pipe
from profiler.devices.protocol import KernelFailure
from profiler.errors import DeviceError

Answer = Tuple[Header, bytes]
Operation = Callable[[Header, bytes], Answer]
Operations = Dict[str, Operation]


class LastFailure(KernelFailure):
    """A kernel's failure after which this process is of no use: its successor answers the next request."""


def serve(parent: int, start: Callable[[], tuple[Header, Mapping[str, Operation]]]) -> None:
    """Speak with the parent process until it ends. ``start`` gives the greeting and what answers which request.

    Never returns: the process ends at once, without destructors, since kernels' cannot be trusted.
    """
    _die_with(parent)
    pipe = Pipe(os.dup(0), os.dup(1))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    with suppress(Closed):
        try:
            greeting, operations = start()
        except DeviceError as error:
            pipe.send({"ok": False, "message": str(error)})
            os._exit(0)
        pipe.send({"ok": True, **greeting})
        last = False
        while not last:
            request, payload = pipe.receive()
            header, body = answer(operations, request, payload)
            last = not header["ok"] and header["last"]
            pipe.send(header, body)
    os._exit(0)


def answer(operations: Mapping[str, Operation], request: Header, payload: bytes) -> Answer:
    """Carry out one request."""
    try:
        header, body = operations[request["request"]](request, payload)
    except KernelFailure as failure:
        return _refusal(failure.kind.value, failure.message, isinstance(failure, LastFailure))
    except DeviceError as error:
        return _refusal("device", str(error), True)
    except Exception:
        return _refusal("defect", traceback.format_exc(), False)
    return {"ok": True, **header}, body


def _refusal(kind: str, message: str, last: bool) -> Answer:
    return {"ok": False, "kind": kind, "message": message, "last": last}, b""


def _die_with(parent: int) -> None:
    pr_set_pdeathsig = 1
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before
        sys.exit(0)
