"""What is passed to a process: a log entry as the message and the environment that its WASM module reads.

The last step before evaluation. A slot of the log holds two signed data items, the message and its
assignment; here they become the JSON of docs/wire-contract.md §3.7, and a client's dry-run body becomes the
message of §3.3. Pure.

Invariants: `Owner` is the verified signer and nothing else (of a tick: who signed the spawn item that asks
for it, see protocol/cron.py); `From` is the `From-Process` tag or the owner
(whether that claim is believed is for the process's authorities); tags named `From` and `Owner` never reach
the guest. `Pushed-For` counts in an item of our own messenger only, and goes on from there: anybody else's
item begins a chain of its own. The same entry gives the same bytes, whenever and wherever it is replayed.

On failure: a dry-run body of the wrong shape is `MalformedInput` naming the field. Items from the log were
verified before they were ordered, so nothing in them can fail here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from aoray.errors import MalformedInput
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.assignments import EPOCH, LogEntry, plain
from aoray.protocol.cron import Tick, tick_of
from aoray.protocol.ids import b64url_encode
from aoray.protocol.modules import ModuleInfo
from aoray.protocol.signed import ANS104, SignedMessage, parse
from aoray.protocol.tags import Tags, first

TAGS_HINT = 'Tags are [{"name": text, "value": text}, …].'
STRIPPED = frozenset(("From", "Owner"))  # host fields that a tag of that name could overwrite in the guest
NOTHING: frozenset[str] = frozenset()


class AssignmentFields(NamedTuple):
    """What the scheduler states about a message: the tags of its assignment."""

    epoch: int
    nonce: int
    timestamp: int
    block_height: int
    hash_chain: str
    exclude: frozenset[str]
    scheduler: bytes  # the key that signed it


class GuestMessage(NamedTuple):
    """One slot, ready to evaluate: the JSON of its message, and what its result row needs to know."""

    message: bytes
    block_height: int
    pushed_for: str  # '' of a tick, and of nothing else
    due_ms: int = 0  # of a tick that the clock made due


def to_guest_message(entry: LogEntry, messenger: str = "") -> GuestMessage:
    """Return the message of a log entry in the form in which its process gets it; `messenger` is this
    computer's messenger address."""
    said = plain(entry.assignment)
    if said is None:  # of the few that exclude something, or are a process's own
        slot = assignment_fields(parse(entry.assignment, ANS104))
    else:
        numbers = int(EPOCH), int(said.nonce), said.timestamp, said.block_height
        slot = AssignmentFields(*numbers, said.hash_chain, NOTHING, said.owner)
    return guest_message_at(entry, entry.message, slot, messenger)


def guest_message_of(
    entry: LogEntry, item: SignedMessage, assignment: DataItem, messenger: str = ""
) -> GuestMessage:
    """Return what `to_guest_message` returns, for an entry whose items are parsed."""
    return guest_message_at(entry, item, assignment_fields(assignment), messenger)


def guest_message_at(
    entry: LogEntry, item: SignedMessage, slot: AssignmentFields, messenger: str = ""
) -> GuestMessage:
    """Return what `to_guest_message` returns, for an entry whose assignment was read."""
    tick = tick_of(item, entry.process_id, slot.scheduler)
    if tick is not None:
        return GuestMessage(orjson.dumps(tick_message(entry, tick, slot)), slot.block_height, "", tick.due_ms)
    chain = pushed_for(entry, item, messenger)
    return GuestMessage(orjson.dumps(message_of(entry, item, slot)), slot.block_height, chain)


def assignment_fields(assignment: DataItem) -> AssignmentFields:
    """Read a signed assignment. Our scheduler wrote its tags, each name once but for `Exclude`."""
    tags = assignment.tags
    named = dict(tags)
    return AssignmentFields(
        epoch=int(named["Epoch"]),
        nonce=int(named["Nonce"]),
        timestamp=int(named["Timestamp"]),
        block_height=int(named["Block-Height"]),
        hash_chain=named["Hash-Chain"],
        exclude=frozenset(tag.value for tag in tags if tag.name == "Exclude")
        if "Exclude" in named
        else NOTHING,
        scheduler=assignment.owner,
    )


def message_of(entry: LogEntry, item: SignedMessage, slot: AssignmentFields) -> dict[str, Any]:
    """Return the message as a dict: its keys in the contract's order, without those that the assignment
    excludes."""
    owner, sender = item.address, first(item.tags, "From-Process")
    message = {
        "Id": entry.message_id,
        "Signature": b64url_encode(item.signature),
        "Data": item.data.decode("utf-8", "replace"),
        "Owner": owner,
        "Anchor": item.anchor.decode("utf-8", "replace") if item.anchor else None,
        "From": sender or owner,
        "Target": entry.process_id if entry.nonce == 0 else item.target_id,
        "Tags": guest_tags(item.tags),
        "Epoch": slot.epoch,
        "Nonce": slot.nonce,
        "Timestamp": slot.timestamp,
        "Block-Height": slot.block_height,
        "Hash-Chain": slot.hash_chain,
        "Cron": False,
        "Read-Only": False,
    }
    if sender:
        message["Forwarded-By"] = owner
    return _without(message, slot.exclude) if slot.exclude else message


def tick_message(entry: LogEntry, tick: Tick, slot: AssignmentFields) -> dict[str, Any]:
    """Return the message of a tick (§3.9): by the process's owner, with the tags of its cron, and without
    data."""
    return {
        "Id": entry.message_id,
        "Owner": tick.owner,
        "From": tick.owner,
        "Target": entry.process_id,
        "Tags": guest_tags(tick.tags),
        "Epoch": slot.epoch,
        "Nonce": slot.nonce,
        "Timestamp": slot.timestamp,
        "Block-Height": slot.block_height,
        "Hash-Chain": slot.hash_chain,
        "Cron": True,
        "Read-Only": False,
    }


def _without(message: dict[str, Any], exclude: frozenset[str]) -> dict[str, Any]:
    """Leave fields out; `Tags` stays as an empty list, since every guest walks it."""
    if "Tags" in exclude:
        message["Tags"] = []
    return {
        key: value for key, value in message.items() if key not in exclude & {"Data", "Signature", "Anchor"}
    }


def guest_tags(tags: Tags) -> list[dict[str, str]]:
    """Return tags as JSON, without those that would pass for host fields."""
    return [{"name": name, "value": value} for name, value in tags if name not in STRIPPED]


def pushed_for(entry: LogEntry, item: SignedMessage, messenger: str) -> str:
    """Return the item that began the chain of this entry; for an assigned message that is its assignment."""
    if entry.nonce > 0 and item.target_id != entry.process_id:
        return entry.assignment_id
    vouched = first(item.tags, "Pushed-For") if item.address == messenger else None
    return vouched or entry.message_id


def environment_of(process_id: str, process: SignedMessage, module: ModuleInfo) -> bytes:
    """Return the environment that goes with every message of a process: the same bytes for its whole life."""
    return orjson.dumps(
        {
            "Process": {"Id": process_id, "Owner": process.address, "Tags": _tags_json(process.tags)},
            "Module": {"Id": module.id, "Owner": module.owner, "Tags": _tags_json(module.tags)},
        }
    )


def _tags_json(tags: Tags) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in tags]


def dry_run_message(process_id: str, body: dict[str, Any], timestamp: int, block_height: int) -> bytes:
    """Return the message of a dry run (§3.3): its owner is whoever the body names, since nothing of it
    stays."""
    owner = _text(body, "Owner", "1234")
    tags = _tags(body.get("Tags", []))
    sender = next((tag["value"] for tag in tags if tag["name"] == "From-Process"), "")
    message = {
        "Id": _text(body, "Id", "1234"),
        "Owner": owner,
        "Target": process_id,
        "From": sender or owner,
        "Data": body.get("Data", "1234"),
        "Tags": [tag for tag in tags if tag["name"] not in STRIPPED],
        "Anchor": _text(body, "Anchor", "0"),
        "Timestamp": timestamp,
        "Block-Height": block_height,
        "Cron": False,
        "Read-Only": True,
    }
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError as error:  # deeper than orjson writes, though not than it reads
        raise MalformedInput("`Data` is nested too deeply", field="Data", hint="Send it as text.") from error


def _text(body: dict[str, Any], field: str, default: str) -> str:
    value = body.get(field)
    if value is None:
        return default
    if not isinstance(value, str):
        raise MalformedInput(f"`{field}` must be a string, not {type(value).__name__}", field=field)
    return value


def _tags(value: Any) -> list[dict[str, str]]:
    """The tags of a dry-run body; a value may be a number, as clients send them."""
    if not isinstance(value, list):
        raise MalformedInput("`Tags` is not a list", field="Tags", hint=TAGS_HINT)
    return [_tag(index, tag) for index, tag in enumerate(value)]


def _tag(index: int, tag: Any) -> dict[str, str]:
    name, value = (tag.get("name"), tag.get("value")) if isinstance(tag, dict) else (None, None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(name, str) or not isinstance(value, str):
        raise MalformedInput(f"`Tags[{index}]` is not a tag", field=f"Tags[{index}]", hint=TAGS_HINT)
    return {"name": name, "value": value}
