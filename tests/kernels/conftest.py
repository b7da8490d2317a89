from __future__ import annotations

from pathlib import Path

import pytest

from profiler.kernels.cpu.build import Toolchain


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    folder: Path = tmp_path_factory.mktemp("toolchain")
    return Toolchain.prepare(folder)
