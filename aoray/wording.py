"""What a computer answers, in the words that the command line says it with: results, and its status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

WIRING = {"Data-Protocol", "Variant", "Type", "Reference", "Action", "Module", "Scheduler", "Authority"}
"""Tags of what is sent that say nothing to a person, or are said elsewhere."""


def describe(found: dict[str, Any]) -> str:
    """A result as a person reads it: what it said, its error, and what it sent."""
    output = found.get("Output")
    data = output.get("data", "") if isinstance(output, dict) else output
    text = (
        data or ""
        if isinstance(data, str | None)
        else orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()
    )
    lines = [text] if text else []
    if found.get("Error"):
        error = str(found["Error"]).strip()  # Lua's begins with lines of its own
        lines.append(error if error.startswith("error:") else f"error: {error}")
    for key, verb in (("Messages", "sent"), ("Spawns", "spawned"), ("Assignments", "assigned")):
        lines += [f"{verb}: {_describe_sent(each)}" for each in found.get(key) or []]
    return "\n".join(lines) or "(no output)"


def _describe_sent(sent: dict[str, Any]) -> str:
    tags = {tag.get("name"): tag.get("value") for tag in sent.get("Tags") or []}
    where = sent.get("Target") or tags.get("Module") or sent.get("Message") or ""
    others = " ".join(f"{name}={value}" for name, value in tags.items() if name not in WIRING)
    return " ".join(str(part) for part in (where, tags.get("Action"), others, sent.get("Data")) if part)


def describe_crons(found: dict[str, Any]) -> str:
    """The crons of a process, as `GET /monitor/{process}` has them, and when they are due."""
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
    """The status as a person reads it."""
    lines = [f"{found['url']}: {found['status']}"]
    if found.get("error"):
        lines.append(f"  error        {found['error']}")
    return "\n".join(lines + (_describe_flushing(found) if found["arweave"] else []))


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
    return lines
