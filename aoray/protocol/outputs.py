"""The parts of a message and of a result that are meant for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

WIRING = {"Data-Protocol", "Variant", "Type", "Reference", "Action", "Module", "Scheduler", "Authority"}
"""Tags of messages that tell a person nothing, or that are shown elsewhere."""
PROMPT = {"prompt", "print", "test"}
"""Fields beside the output that modules set for a shell."""


def output_of(found: Mapping[str, Any]) -> str:
    """Return the output of a result as text. Modules give `Output` as the text, or with the text in `data` or
    `data.output`; anything that is not text is shown as JSON."""
    said = found.get("Output")
    if isinstance(said, dict):
        said = said["data"] if "data" in said else without(said, PROMPT)
    if isinstance(said, dict):
        said = said["output"] if "output" in said else without(said, PROMPT)
    if said is None or isinstance(said, str):
        return said or ""
    return orjson.dumps(said, option=orjson.OPT_INDENT_2).decode()


def without(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any] | None:
    """Return the fields without these names; None if no field is left."""
    return {name: value for name, value in fields.items() if name not in names} or None
