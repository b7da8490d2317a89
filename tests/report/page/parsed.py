"""HTML as a tree, by the standard library: what a page holds, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = frozenset({"meta", "link", "img", "input", "br", "wbr"})


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """As it stands in the file, without the space around it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children).strip()

    def all(self, tag: str = "", css: str = "") -> Iterator[Node]:
        """Elements below this one, in their order, of a tag and of a class."""
        for child in self.children:
            if isinstance(child, str):
                continue
            if tag in ("", child.tag) and (not css or css in (child.attributes.get("class") or "").split()):
                yield child
            yield from child.all(tag, css)

    def only(self, tag: str = "", css: str = "") -> Node:
        found = list(self.all(tag, css))
        assert len(found) == 1, f"{len(found)} of {tag} {css}"
        return found[0]

    def by_id(self, name: str) -> Node:
        found = [node for node in self.all() if node.attributes.get("id") == name]
        assert len(found) == 1, f"{len(found)} of #{name}"
        return found[0]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands twice"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in _VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        closed = self.open.pop()
        assert closed.tag == tag, f"{tag} closes {closed.tag}"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Node:
    """Raises `AssertionError` where elements are not closed in order."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.open == [builder.root], f"never closed: {builder.open[-1].tag}"
    return builder.root
