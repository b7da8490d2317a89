"""Digests of what templates emit, kept beside the tests: a change of code that nobody meant is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def digests(emitted: Mapping[str, str]) -> dict[str, str]:
    return {case: hashlib.sha256(text.encode()).hexdigest()[:16] for case, text in emitted.items()}


def compare(path: Path, version: int, emitted: Mapping[str, str], update: bool) -> None:
    """Raises `AssertionError` where a case differs from the file, or the file is of another version."""
    now = digests(emitted)
    if update:
        path.write_text(json.dumps({"templates": version, "digests": now}, indent=1) + "\n")
    golden = json.loads(path.read_text())
    assert golden["templates"] == version, "run pytest with --update-golden"
    changed = [case for case, digest in now.items() if golden["digests"].get(case) != digest]
    assert not changed, f"other code than version {version} emits: raise that version, then --update-golden: {changed}"
