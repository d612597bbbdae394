"""A trace as a tree in the terminal: what `aoray trace` prints, from the JSON of `GET /trace`.

The causes come first, each in the one before; then the message asked for, in bold; then what it caused, with
the state of each delivery and evaluation, and the time since the first of them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

WIDTH_MIN = 110
INDENT = 4
COLOURS = {
    "delivered": "green",
    "uploaded": "green",
    "evaluated": "green",
    "pending": "yellow",
    "waiting": "yellow",
    "skipped": "red",
    "dead": "red",
    "error": "red",
}
Node = Mapping[str, Any]


def draw(trace: Mapping[str, Any]) -> str:
    """The tree, as text; in colour where the terminal has some."""
    tree, depth = grown(trace)
    console = Console(highlight=False)
    # Deep chains are wider than the terminal: long lines, rather than cut ones.
    console.width = max(WIDTH_MIN, console.width) + INDENT * depth
    with console.capture() as captured:
        console.print(tree)
    more = "(there is more: trace a message marked …, or the first)\n" if trace["truncated"] else ""
    return "\n".join(line.rstrip() for line in (captured.get() + more).splitlines())


def grown(trace: Mapping[str, Any]) -> tuple[Tree, int]:
    """The tree, and how deep it is."""
    causes, nodes = trace["causes"], trace["nodes"]
    begin_ms = next((node["timestamp"] for node in (*causes, *nodes) if node.get("timestamp")), 0)
    root = branch = Tree(_label((causes or nodes)[0], begin_ms, bold=not causes))
    for cause in causes[1:]:
        branch = branch.add(_label(cause, begin_ms))
    if causes:
        branch = branch.add(_label(nodes[0], begin_ms, bold=True))
    branches, depths = [branch], [len(causes)]
    for node in nodes[1:]:
        branches.append(branches[node["parent"]].add(_label(node, begin_ms)))
        depths.append(depths[node["parent"]] + 1)
    return root, max(depths)


def _label(node: Node, begin_ms: int, *, bold: bool = False) -> Text:
    delivery = node.get("delivery") or {}
    label = Text(style="bold" if bold else "")
    label.append(f"{node.get('action') or delivery.get('kind') or node.get('type') or 'message'} ")
    label.append(str(node["message"])[:8] or "?", style="dim")
    label.append(" → ")
    label.append(str(node["process"])[:8] or "?", style="cyan")
    if node["nonce"] is not None:
        label.append(f" #{node['nonce']} +{node['timestamp'] - begin_ms} ms")
    for state in (delivery.get("state"), node.get("state")):
        if state:
            label.append(f" {state}", style=COLOURS.get(state, ""))
    if delivery.get("error"):
        label.append(f" ({delivery['attempts']} attempts: {delivery['error'][:120]})", style="red")
    if node.get("more"):
        label.append(" …")
    return label.append(" (again)") if node.get("again") else label
