"""What of a message and of a result is for people, and what is for AO's own use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

WIRING = {"Data-Protocol", "Variant", "Type", "Reference", "Action", "Module", "Scheduler", "Authority"}
"""Tags of what is sent that say nothing to a person, or are said elsewhere."""
PROMPT = {"prompt", "print", "test"}
"""What modules put beside their output for a shell."""


def output_of(found: Mapping[str, Any]) -> str:
    """Return the output of a result as text, in whichever shape its module gives it: `Output` is the text, or
    has it as `data` or as `data.output`. What is not text is shown as JSON."""
    said = found.get("Output")
    if isinstance(said, dict):
        said = said["data"] if "data" in said else without(said, PROMPT)
    if isinstance(said, dict):
        said = said["output"] if "output" in said else without(said, PROMPT)
    if said is None or isinstance(said, str):
        return said or ""
    return orjson.dumps(said, option=orjson.OPT_INDENT_2).decode()


def without(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any] | None:
    return {name: value for name, value in fields.items() if name not in names} or None
