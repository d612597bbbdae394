"""Hand-overs: a unit's signed word that from some time on another key signs in its place. Pure.

A process names its scheduler once, in its spawn, and a scheduler its compute units; so a key could never be
changed, were it not for this statement, which the old key signs:

    Data-Protocol: ao, Variant: ao.TN.1, Type: Hand-Over,
    Unit-Kind: scheduler | compute, Successor: <address>, Timestamp: <milliseconds>

with neither target, anchor nor data. What the old key signs of slots with a later timestamp than this counts
no more, and what the new one signs counts for no slot up to it (of attestations: for them too, as they come
late). Timestamps of a process rise, so it never goes back. An address hands a unit over once: of several such
statements the one that Arweave had first counts, so whoever steals an old key can't take the place of its
successor. `Line` is who signs when.

On failure: `hand_over_of` gives None for what has not exactly this form.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from aoray.protocol.forms import AO, HAND_OVER, departure
from aoray.protocol.ids import is_id
from aoray.protocol.items import DataItem, build
from aoray.protocol.keys import Signer
from aoray.protocol.tags import Tag, first

TYPE = "Hand-Over"
UNITS = ("scheduler", "compute")
NEVER = 2**63 - 1
_DIGITS_MAX = 18

Unit = Literal["scheduler", "compute"]


class HandOver(NamedTuple):
    """What such a statement says."""

    unit: str
    address: str  # who hands over
    successor: str
    ms: int  # the last timestamp of its own


class Tenure(NamedTuple):
    """An address, and the last timestamp of what it signs."""

    address: str
    until_ms: int = NEVER


Line = tuple[Tenure, ...]
"""Who signs one after another, the first one first; the last one has no end."""


def hand_over(signer: Signer, unit: Unit, successor: str, ms: int) -> DataItem:
    """The statement. Ed25519 signs the same bytes each time."""
    own = Tag("Unit-Kind", unit), Tag("Successor", successor), Tag("Timestamp", str(ms))
    return build(signer, tags=(*AO, Tag("Type", TYPE), *own))


def hand_over_of(item: DataItem) -> HandOver | None:
    """What a (verified) item says, if it is a hand-over."""
    if departure(item, HAND_OVER):
        return None
    unit, successor, ms = (first(item.tags, name, "") for name in ("Unit-Kind", "Successor", "Timestamp"))
    is_number = ms.isascii() and ms.isdecimal() and len(ms) <= _DIGITS_MAX
    if unit not in UNITS or not is_id(successor) or not is_number or successor == item.address:
        return None
    return HandOver(unit, item.address, successor, int(ms))


def followed(line: Line, said: HandOver) -> Line:
    """The line with its last address handing over. One that was in it before, or a time before that of the
    hand-over before, makes no successor: then the line is as it was."""
    last, before = line[-1], line[-2].until_ms if len(line) > 1 else -1
    if said.address != last.address or said.ms < before or said.successor in addresses(line):
        return line
    return (*line[:-1], Tenure(last.address, said.ms), Tenure(said.successor))


def addresses(line: Line) -> frozenset[str]:
    """All who are in it."""
    return frozenset(tenure.address for tenure in line)


def at(line: Line, ms: int) -> str:
    """Who signs what has this timestamp."""
    return next(tenure.address for tenure in line if ms <= tenure.until_ms)


def rank(line: Line, address: str) -> int:
    """Its place in the line, from 0; -1 if it is not in it."""
    return next((place for place, tenure in enumerate(line) if tenure.address == address), -1)
