"""How the scheduler unit shows its log: items, assignments, processes and pages as JSON. Pure.

Source: docs/wire-contract.md §2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signed import ANS104, SignedMessage, parse
from aoray.protocol.tags import as_json, first


def owner(item: SignedMessage) -> dict[str, str]:
    """Return the owner of an item in the form of a schedule: address and public key, both base64url."""
    return {"address": item.address, "key": item.owner_key}


def message(item: SignedMessage) -> dict[str, Any]:
    """Return an item in the form of a schedule. Data that is not text is mangled, as readers expect:
    `/raw/{id}` has bytes."""
    return {
        "id": item.id,
        "owner": owner(item),
        "data": item.data.decode(errors="replace"),
        "tags": as_json(item.tags),
        "signature": b64url_encode(item.signature),
        "anchor": item.anchor.decode(errors="replace") or None,
        "target": item.target_id,
    }


def assignment(item: SignedMessage) -> dict[str, Any]:
    """Return an assignment in the form of a schedule."""
    return {
        "id": item.id,
        "owner": owner(item),
        "tags": as_json(item.tags),
        "signature": b64url_encode(item.signature),
        "anchor": None,
        "target": "",
    }


def node(entry: LogEntry) -> dict[str, Any]:
    """Return a slot in the form of a schedule: `message` is null where an item of another target was
    assigned, since it is stored elsewhere."""
    item = entry.message
    own = entry.process_id in (item.id, item.target_id)
    return {
        "message": message(item) if own else None,
        "assignment": assignment(parse(entry.assignment, ANS104)),
    }


def page(entries: Sequence[LogEntry], *, more: bool, by_nonce: bool) -> dict[str, Any]:
    """Return a page of slots, with whether others follow."""
    edges = [
        {"node": node(entry), "cursor": str(entry.nonce if by_nonce else entry.timestamp)}
        for entry in entries
    ]
    return {"page_info": {"has_next_page": more}, "edges": edges}


def process(entry: LogEntry) -> dict[str, Any]:
    """Return a process in the form of a schedule, from its first slot."""
    item = entry.message
    return {
        "process_id": entry.process_id,
        "block": first(parse(entry.assignment, ANS104).tags, "Block-Height", ""),
        "owner": owner(item),
        "tags": as_json(item.tags),
        "timestamp": entry.timestamp,
        "data": _text(item.data),
        "anchor": item.anchor.decode(errors="replace") or None,
        "signature": b64url_encode(item.signature),
        "target": item.target_id or None,
    }


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
