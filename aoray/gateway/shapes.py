"""How the scheduler unit shows its log: items, assignments, processes and pages as JSON (wire-contract
§2.2). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import b64url_encode
from aoray.protocol.items import DataItem, parse
from aoray.protocol.tags import as_json, first


def owner(item: DataItem) -> dict[str, str]:
    return {"address": item.address, "key": item.owner_key}


def message(item: DataItem) -> dict[str, Any]:
    """An item as scheduled. Data that is not text is mangled, as readers expect: `/raw/{id}` has bytes."""
    return {
        "id": item.id,
        "owner": owner(item),
        "data": item.data.decode(errors="replace"),
        "tags": as_json(item.tags),
        "signature": b64url_encode(item.signature),
        "anchor": item.anchor.decode(errors="replace") or None,
        "target": item.target_id,
    }


def assignment(item: DataItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "owner": owner(item),
        "tags": as_json(item.tags),
        "signature": b64url_encode(item.signature),
        "anchor": None,
        "target": "",
    }


def node(entry: LogEntry) -> dict[str, Any]:
    """A slot: `message` is null where an item of another target was assigned, since it lives elsewhere."""
    item = parse(entry.item)
    own = entry.process_id in (item.id, item.target_id)
    return {"message": message(item) if own else None, "assignment": assignment(parse(entry.assignment))}


def page(entries: Sequence[LogEntry], *, more: bool, by_nonce: bool) -> dict[str, Any]:
    """A page of slots, and whether others follow."""
    edges = [
        {"node": node(entry), "cursor": str(entry.nonce if by_nonce else entry.timestamp)}
        for entry in entries
    ]
    return {"page_info": {"has_next_page": more}, "edges": edges}


def process(entry: LogEntry) -> dict[str, Any]:
    """A process, from its first slot."""
    item = parse(entry.item)
    return {
        "process_id": entry.process_id,
        "block": first(parse(entry.assignment).tags, "Block-Height", ""),
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
