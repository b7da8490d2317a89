"""The process that compiles: pickled requests on standard input, artifacts or errors on standard output."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from profiler.errors import CompilerError, ProfilerError
from profiler.kernels.backend import Backend, Build
from profiler.kernels.pool_build import READY, BuildRequest
from profiler.kernels.toolchain import ToolchainError

_PR_SET_PDEATHSIG = 1


def main(folder: str) -> None:
    """Serve until standard input ends. ``folder`` is shared by all workers of a pool."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # never outlive the run
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a compiler prints must not get into the answers
    backend: Backend = pickle.load(requests)
    own = Path(folder) / str(os.getpid())
    build: Build | None = None
    with suppress(ProfilerError, OSError):  # tried again, and answered, when there is something to build
        build = _prepared(backend, own)
    _answer(answers, READY)
    while True:
        try:
            request: BuildRequest = pickle.load(requests)
        except EOFError:
            return
        answer: object
        try:
            build = build or _prepared(backend, own)
            answer = build(request.spec, request.config)
        except CompilerError as error:
            answer = error
        except ProfilerError as error:
            answer = CompilerError(str(error))
        except MemoryError:
            answer = ToolchainError(
                f"{request.spec.key}: not enough memory for its reference output; use a smaller batch"
            )
        except OSError as error:
            answer = ToolchainError(
                f"{folder}: temporary files cannot be written: {error.strerror}; make room for them"
            )
        _answer(answers, answer)


def _prepared(backend: Backend, folder: Path) -> Build:
    folder.mkdir(exist_ok=True)
    return backend.prepare(folder)


def _answer(stream: IO[bytes], message: object) -> None:
    pickle.dump(message, stream)
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1])
