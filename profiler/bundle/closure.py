"""The modules that travel: what the box's entry imports, at once or later, and what those import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ENTRY = "profiler.bundle.box.__main__"
_DATA = ("*.ptx",)
"""Files beside modules that are read at run time."""


def files() -> Mapping[str, Path]:
    """What goes into the zip, by its name there: modules, their packages, and the data beside them."""
    sources = {f"profiler/{path.relative_to(PACKAGE).as_posix()}": path for path in map(_file, modules()) if path}
    folders = {path.parent for path in sources.values()}
    data = [path for folder in folders for pattern in _DATA for path in folder.glob(pattern)]
    return {**sources, **{f"profiler/{path.relative_to(PACKAGE).as_posix()}": path for path in data}}


def modules() -> frozenset[str]:
    """The closure over imports, from the entry on. Those for type checkers alone are no imports."""
    found: set[str] = set()
    waiting = {ENTRY}
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found.add(name)
        waiting.update(_parents(name), imports(path.read_text()))
    return frozenset(found)


def imports(source: str) -> Iterator[str]:
    """Names that a module may import at run time; some are those of functions and lead to no file."""
    for node in _run(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"profiler(\.\w+)+", str(node.value)):
            yield str(node.value)  # a worker that is started with -m


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, but for the bodies of ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield from _run(child)


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def _file(name: str) -> Path | None:
    """The module's file; None for what is not ours, or no module."""
    parts = name.split(".")
    if parts[0] != "profiler":
        return None
    path = PACKAGE.joinpath(*parts[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None
