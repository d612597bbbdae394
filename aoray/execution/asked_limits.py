"""The limits that a process asks for, by `Memory-Limit` and `Compute-Limit`, its own tags or its module's.

Gateways look here at a spawn, before it is ordered; process actors when they make an instance
(storage/modules.py). Pure, and without wasmtime, which gateways do without.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from aoray import limits
from aoray.errors import MalformedInput
from aoray.protocol.engines import engine_asked
from aoray.protocol.tags import Tags, ao_tag
from aoray.vm.engines import ENGINES, Engine

UNITS = {"": 1, "b": 1, "kb": limits.KIB, "mb": limits.MIB, "gb": limits.GIB}
SIZE = re.compile(r"(\d{1,15})-?(|b|kb|mb|gb)", re.IGNORECASE)


def check_limits(process: Tags, module: Tags, *, compute_max: int, memory_max: int) -> None:
    """Refuse a spawn whose limits, its own or its module's, are not numbers, or are more than these."""
    rules = ENGINES[engine_asked(process)]
    memory, compute = asked_for(process, module, rules)
    bounds = min(memory_max, rules.memory_bytes_max), min(compute_max, rules.fuel_stated_max)
    for asked, most in zip((memory, compute), bounds, strict=True):
        if asked.value <= 0:
            raise MalformedInput(
                f"Tag '{asked.name}': {asked.text[:60]!r} is not a size",
                field=f"tags.{asked.name}",
                hint=f"A number above 0, or one with a unit, as in 500-mb; at most {most}.",
            )
        if asked.value > most:
            raise MalformedInput(
                f"Tag '{asked.name}': {asked.text[:60]} is more than this computer allows",
                field=f"tags.{asked.name}",
                hint=f"Spawn with a tag {asked.name} of at most {most}: it wins over the module's.",
                most=most,
            )


class Asked(NamedTuple):
    """A limit as a process states it, or else its module, or else the engine; 0 if the text is not a size."""

    name: str
    text: str
    value: int


def asked_for(process: Tags, module: Tags, rules: Engine) -> tuple[Asked, Asked]:
    """Return the limits on memory and fuel that a process states, or else its module, or else its engine."""
    return (
        _asked(process, module, "Memory-Limit", rules.memory_bytes_default),
        _asked(process, module, "Compute-Limit", rules.fuel_default),
    )


def _asked(process: Tags, module: Tags, name: str, default: int) -> Asked:
    text = ao_tag(process, name)
    text = ao_tag(module, name) if text is None else text
    if text is None:
        return Asked(name, f"{default} (that of a process that states none)", default)
    match = SIZE.fullmatch(text.strip())
    return Asked(name, text, int(match[1]) * UNITS[match[2].lower()] if match else 0)
