"""What ends a run, whichever backend builds: a compiler that cannot build any kernel."""

from __future__ import annotations

from profiler.errors import CompilerError


class ToolchainError(CompilerError):
    """A compiler is missing, too old or broken: no fault of a config, but no kernel can be built."""
