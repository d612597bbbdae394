"""A result as it is served: what a guest gave back, made safe, in the order of keys that
docs/wire-contract.md §3.1 has.

Right after evaluation; the bytes made here are what the store keeps, what a client gets, and what the push
reads its outbox from. Pure. A guest may return anything that is JSON: here the outbox (three lists, whose
length the instance has bounded) becomes lists of flat objects; what can't be understood becomes text, an
empty list, or goes.

Invariants: `Messages`, `Assignments` and `Spawns` are arrays of objects, each `Tags` an array of `{name,
value}` strings; `Error` is there only for an error, and then the outbox is empty. The same response always
gives the same bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from aoray.vm.interface import Outcome

OUTBOX = ("Messages", "Assignments", "Spawns")
UNREADABLE = "[nested too deeply]"


class ServedResult(NamedTuple):
    """The JSON of a result, whether it is an error, and whether its outbox holds anything to push."""

    result: bytes
    has_error: bool
    has_outbox: bool


def to_result(outcome: Outcome) -> ServedResult:
    """Return the result of an evaluation."""
    error, said = outcome.error, outcome.response
    if error is not None:
        nothing: dict[str, Any] = {name: [] for name in OUTBOX}
        failure = {**nothing, "Output": "", "GasUsed": outcome.fuel, "Error": error}
        return ServedResult(orjson.dumps(failure), has_error=True, has_outbox=False)
    outbox = {name: [_flat(entry) for entry in said[name] if isinstance(entry, dict)] for name in OUTBOX}
    result = {**outbox, "Output": _output(said.get("Output")), "GasUsed": outcome.fuel}
    return ServedResult(orjson.dumps(result), has_error=False, has_outbox=any(outbox.values()))


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: _field(key, value) for key, value in entry.items()}


def _field(key: str, value: Any) -> Any:
    if key == "Tags":
        return _tags(value)
    if key in ("Processes", "Exclude"):
        return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    return value if isinstance(value, bool) else _text(value)


def _tags(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list):
        return []
    return [
        {"name": tag["name"], "value": _text(tag.get("value"))}
        for tag in value
        if isinstance(tag, dict) and isinstance(tag.get("name"), str)
    ]


def _text(value: Any) -> str:
    """A value as the text that a Lua or JavaScript guest would have meant."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # deeper than orjson writes, though not than it reads
        return UNREADABLE


def _output(value: Any) -> Any:
    """Text, an object or a list stay; the rest becomes text."""
    if not isinstance(value, dict | list):
        return _text(value)
    try:
        orjson.dumps({"Output": value})
    except orjson.JSONEncodeError:
        return UNREADABLE
    return value
