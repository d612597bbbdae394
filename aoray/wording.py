"""What a computer answers, in the words that the command line says it with: results, and its status."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

WIRING = {"Data-Protocol", "Variant", "Type", "Reference", "Action", "Module", "Scheduler", "Authority"}
"""Tags of what is sent that say nothing to a person, or are said elsewhere."""
PROMPT = {"prompt", "print", "test"}
"""What modules put beside their output for a shell."""
NO_OUTPUT = "(no output)"


def describe(found: dict[str, Any]) -> str:
    """A result as a person reads it: what it said, its error, and what it sent."""
    text = output_of(found)
    lines = [text] if text else []
    lines += [error_of(found)] if found.get("Error") else []
    return "\n".join(lines + describe_sent(found)) or NO_OUTPUT


def output_of(found: Mapping[str, Any]) -> str:
    """What a result says, as text, in whichever shape its module says it: `Output` is the text, or has it as
    `data`, or as `data.output`; what is not text is shown as JSON."""
    said = found.get("Output")
    if isinstance(said, dict):
        said = said["data"] if "data" in said else _without(said, PROMPT)
    if isinstance(said, dict):
        said = said["output"] if "output" in said else _without(said, PROMPT)
    if said is None or isinstance(said, str):
        return said or ""
    return orjson.dumps(said, option=orjson.OPT_INDENT_2).decode()


def _without(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any] | None:
    return {name: value for name, value in fields.items() if name not in names} or None


def error_of(found: Mapping[str, Any]) -> str:
    """The error of a result as a line that says that it is one."""
    error = str(found["Error"]).strip()  # Lua's begins with lines of its own
    return error if error.startswith("error:") else f"error: {error}"


def describe_sent(found: Mapping[str, Any]) -> list[str]:
    """What a result sends, a line each."""
    kinds = (("Messages", "sent"), ("Spawns", "spawned"), ("Assignments", "assigned"))
    return [f"{verb}: {_describe_sent(each)}" for key, verb in kinds for each in found.get(key) or []]


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
        f" evaluated again {each['evaluated']}"
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
