"""Positions in a process's results, as aoconnect and aos pass and decode them. Pure.

Source: docs/wire-contract.md §3.2.

A cursor is base64 of JSON with the slot's timestamp and nonce, and the sort of the page it came from. That
sort wins over a query's, so that a cursor's text stays the same from page to page: aos prints once for each
text. A bare number is a timestamp.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import orjson

from aoray.errors import MalformedInput
from aoray.storage.records import Sort


class Position(NamedTuple):
    """A position in a process's results: a timestamp in ms, and the order of the page it came from."""

    timestamp: int
    sort: Sort | None


def cursor(timestamp: int, nonce: int, sort: Sort) -> str:
    """Return the cursor of a slot, as base64 of JSON."""
    fields = {"timestamp": timestamp, "ordinate": str(nonce), "cron": None, "sort": sort}
    return base64.b64encode(orjson.dumps(fields)).decode()


def parse_cursor(text: str, field: str) -> Position:
    """Return the position that a `from` or `to` names. Raises `MalformedInput`."""
    fields = _decoded(text)
    if fields is None:
        return Position(_timestamp(text, field), None)
    return Position(_timestamp(fields.get("timestamp"), field), sort_of(fields.get("sort") or "ASC"))


def sort_of(text: Any) -> Sort:
    """Return the order that a query asks for. Raises `MalformedInput` for anything but ASC and DESC."""
    if text not in ("ASC", "DESC"):
        raise MalformedInput(f"sort is {_shown(text)}", field="sort", hint="It is ASC or DESC.")
    return "ASC" if text == "ASC" else "DESC"


def _decoded(text: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(base64.b64decode(text.replace(" ", "+")))  # some clients do not encode "+"
    except (binascii.Error, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _timestamp(found: Any, field: str) -> int:
    text = str(found) if isinstance(found, str | int) else ""
    if not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise MalformedInput(
            f"{field} is {_shown(found)}, neither a cursor nor a timestamp",
            field=field,
            hint="Take the `cursor` of an edge of the page before, or milliseconds.",
        )
    return int(text)


def _shown(found: Any) -> str:
    """Only what is flat: JSON nests deeper than Python can print it."""
    return repr(str(found)[:60]) if isinstance(found, str | int) else f"a {type(found).__name__}"
