"""Options of the whole suite, and what it takes for granted of the process that it runs in."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ALONE = tuple(HERE / name for name in (
    "bundle", "devices", "e2e", "measure", "rehearsal", "tuning", "test_sampling.py", "kernels/test_pool_build.py",
))  # fmt: skip
"""Tests that time kernels, or that end, hang and restart processes: beside others they would see a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(place) for place in ALONE):
            item.add_marker(pytest.mark.alone)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_configure() -> None:
    # A shell starts its background jobs with Ctrl-C ignored, and they pass that on to the commands under test.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # so does nohup with the end of its terminal
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
