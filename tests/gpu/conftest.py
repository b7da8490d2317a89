from __future__ import annotations

from pathlib import Path

import pytest

from tests.gpu.fake_driver import compile_fake_driver


@pytest.fixture
def library(tmp_path: Path) -> str:
    """The fake driver as a library of its own, so that what a test does to it ends with the test."""
    path = tmp_path / "libfake.so"
    compile_fake_driver(path)
    return str(path)
