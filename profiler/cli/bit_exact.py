"""What a command says of a network beside the integer oracle: how much was compared, or that it differs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from profiler.record import FailureKind, escaped


@contextmanager
def bit_exact_or_exit() -> Iterator[None]:
    """In here a network that differs ends the command with one line on standard error and exit code 1."""
    from profiler.network.execute.process import NetworkFailure  # late: it starts what measures

    try:
        yield
    except NetworkFailure as failure:
        if failure.kind is not FailureKind.WRONG_OUTPUT:
            raise
        typer.echo(f"not bit exact: {escaped(str(failure))}", err=True)
        raise typer.Exit(1) from None


def compared_text(steps: int, nbytes: int) -> str:
    """How much of a network was compared."""
    return f"{steps} steps, {nbytes:,} bytes compared with the integer oracle"
