"""What a computer answers, in the words that the command line says it with: results, and its status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from aoray.protocol.outputs import WIRING, output_of

NO_OUTPUT = "(no output)"
OUT_OF_COMPUTE = "out of compute"
"""The error of a message that spent its fuel. Results keep it as it is, since engines decide them."""
WAY_OUT = "state a larger Compute-Limit as the process is spawned or its module published (docs/fuel.md)"


def describe(found: dict[str, Any]) -> str:
    """Return a result as a person reads it: its output, its error, and what it sent."""
    text = output_of(found)
    lines = [text] if text else []
    lines += [error_of(found)] if found.get("Error") else []
    return "\n".join(lines + describe_sent(found)) or NO_OUTPUT


def error_of(found: Mapping[str, Any]) -> str:
    """Return the error of a result, as a line that is marked as an error."""
    error = str(found["Error"]).strip()  # Lua's begins with lines of its own
    if error == OUT_OF_COMPUTE:
        error += f": {WAY_OUT}"
    return error if error.startswith("error:") else f"error: {error}"


def describe_sent(found: Mapping[str, Any]) -> list[str]:
    """Return what a result sends, one line each."""
    kinds = (("Messages", "sent"), ("Spawns", "spawned"), ("Assignments", "assigned"))
    return [f"{verb}: {_describe_sent(each)}" for key, verb in kinds for each in found.get(key) or []]


def _describe_sent(sent: dict[str, Any]) -> str:
    tags = {tag.get("name"): tag.get("value") for tag in sent.get("Tags") or []}
    where = sent.get("Target") or tags.get("Module") or sent.get("Message") or ""
    others = " ".join(f"{name}={value}" for name, value in tags.items() if name not in WIRING)
    return " ".join(str(part) for part in (where, tags.get("Action"), others, sent.get("Data")) if part)


def describe_crons(found: dict[str, Any]) -> str:
    """Return the crons of a process (`GET /monitor/{process}`) as text, and when they are due."""
    process, crons = found["process"], found["crons"]
    if not crons:
        return f"{process} has no Cron-Interval tags: there is nothing to tick"
    lines = [f"{process} {'ticks' if found['monitored'] else 'does not tick'}"]
    return "\n".join([*lines, *(f"{cron['cron']}: {_due(cron)}" for cron in crons)])


def _due(cron: dict[str, Any]) -> str:
    if "next" not in cron:
        return "due when it is monitored"
    if cron["unit"] == "blocks":
        return f"next at block {cron['next']}"
    return f"next at {datetime.fromtimestamp(cron['next'] / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def describe_status(found: dict[str, Any]) -> str:
    """Return the status of a computer as a person reads it."""
    lines = [f"{found['url']}: {found['status']}"]
    if found.get("error"):
        lines.append(f"  error        {found['error']}")
    stopped = found.get("stopped", ())
    lines += [f"  stopped      {process_id} (aoray process resume)" for process_id in stopped]
    lines += [
        f"  over quota   {process_id}: what it sends waits {wait_s:.1f} s"
        for process_id, wait_s in found.get("held", {}).items()
    ]
    lines += _describe_faults(found)
    return "\n".join(lines + (_describe_flushing(found) if found["arweave"] else []))


def _describe_faults(found: dict[str, Any]) -> list[str]:
    """The processes that can't go on, and why."""
    diverged = [
        f"  diverged     {process} is stopped: slot {each['nonce']} gave {each['stored']}, and when it was"
        f" evaluated again {each['evaluated']} (docs/engines.md; aoray process recheck)"
        for process, each in found.get("diverged", {}).items()
    ]
    waits = [
        f"  waits        {process} for {each['seconds']:.0f} s, tried {each['attempts']} times:"
        f" {each['reason']}"
        for process, each in found.get("waits", {}).items()
    ]
    return diverged + waits


def _describe_flushing(found: dict[str, Any]) -> list[str]:
    arweave = found["arweave"]
    lines = [
        f"Arweave: {found['urls']['arweave']} ({arweave['way']})",
        f"  waiting      {arweave['entries']:,} entries, {arweave['publications']:,} other items,"
        f" {arweave['bytes']:,} bytes; the oldest for {arweave['oldest_seconds']:.0f} s",
        f"  unconfirmed  {arweave['unconfirmed']:,} bundles",
        f"  since start  {arweave['bundles']:,} bundles accepted, {arweave['settled']:,} settled,"
        f" {arweave['reposts']:,} posted again",
    ]
    if arweave["last_error"]:
        lines += [f"  error        {arweave['last_error']}", f"               {arweave['hint']}"]
    if arweave.get("height_error"):
        lines.append(f"  height       {arweave['height_error']}")
    return lines


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
    """Return a trace as a tree of text, in colour where the terminal has colours."""
    tree, depth = grown(trace)
    console = Console(highlight=False)
    # Deep chains are wider than the terminal: long lines, rather than cut ones.
    console.width = max(WIDTH_MIN, console.width) + INDENT * depth
    with console.capture() as captured:
        console.print(tree)
    more = "(there is more: trace a message marked …, or the first)\n" if trace["truncated"] else ""
    return "\n".join(line.rstrip() for line in (captured.get() + more).splitlines())


def grown(trace: Mapping[str, Any]) -> tuple[Tree, int]:
    """Return the tree of a trace, and its depth."""
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
