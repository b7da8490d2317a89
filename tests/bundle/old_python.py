"""What a source evaluates that came after Python 3.8. Annotations may hold anything: they are not evaluated."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_BUILT_IN = {"dict", "list", "tuple", "set", "frozenset", "type"}


def newer_than_3_8(source: str) -> list[str]:
    """The expressions, as text."""
    tree = ast.parse(source)
    generic = set(_BUILT_IN)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "collections.abc":
            generic |= {alias.asname or alias.name for alias in node.names}
        for annotation in ("annotation", "returns"):
            if getattr(node, annotation, None) is not None:
                setattr(node, annotation, None)
    return [ast.unparse(node) for node in _suspects(tree, generic)]


def _suspects(tree: ast.AST, generic: set[str]) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name(id=name)) if name in generic:
                yield node
            case ast.BinOp(op=ast.BitOr(), left=ast.Name(id=name)) if name[:1].isupper() and not name.isupper():
                yield node  # of classes; constants in capitals may be sets or flags
            case ast.Attribute(attr="removeprefix" | "removesuffix"):
                yield node
            case ast.Call(keywords=keywords) if any(keyword.arg == "strict" for keyword in keywords):
                yield node
            case ast.ImportFrom(module="functools", names=names) if any(alias.name == "cache" for alias in names):
                yield node
