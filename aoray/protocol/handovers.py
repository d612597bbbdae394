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

What Arweave had before it had the hand-over counts as it did then, whatever time the hand-over says: nobody
takes back what it signed by handing over and dating that back (`counts`).

On failure: `hand_over_of` gives None for what has not exactly this form.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.forms import AO, HAND_OVER, departure
from aoray.protocol.ids import is_id
from aoray.protocol.signatures.base import Signer
from aoray.protocol.tags import Tag, first

TYPE = "Hand-Over"
UNITS = ("scheduler", "compute")
NEVER = 2**63 - 1
_DIGITS_MAX = 18

Unit = Literal["scheduler", "compute"]


class HandOver(NamedTuple):
    """The contents of a hand-over."""

    unit: str
    address: str  # who hands over
    successor: str
    ms: int  # the last timestamp of its own


class Tenure(NamedTuple):
    """An address, the last timestamp at which its signature counts, and the block of Arweave that has its
    hand-over."""

    address: str
    until_ms: int = NEVER
    block: int = NEVER


Line = tuple[Tenure, ...]
"""Who signs one after another, the first one first; the last one has no end."""


def hand_over(signer: Signer, unit: Unit, successor: str, ms: int) -> DataItem:
    """Sign the statement of a hand-over. Ed25519 signs the same bytes each time."""
    own = Tag("Unit-Kind", unit), Tag("Successor", successor), Tag("Timestamp", str(ms))
    return build(signer, tags=(*AO, Tag("Type", TYPE), *own))


def hand_over_of(item: DataItem) -> HandOver | None:
    """Return the contents of a (verified) item, if it is a hand-over."""
    if departure(item, HAND_OVER):
        return None
    unit, successor, ms = (first(item.tags, name, "") for name in ("Unit-Kind", "Successor", "Timestamp"))
    is_number = ms.isascii() and ms.isdecimal() and len(ms) <= _DIGITS_MAX
    if unit not in UNITS or not is_id(successor) or not is_number or successor == item.address:
        return None
    return HandOver(unit, item.address, successor, int(ms))


def followed(line: Line, said: HandOver, block: int = NEVER) -> Line:
    """Return the line after its last address handed over, in the block of Arweave that has the hand-over.

    The line stays as it is if the successor was in it before, or if the hand-over is earlier than the last.
    """
    last, before = line[-1], line[-2].until_ms if len(line) > 1 else -1
    if said.address != last.address or said.ms < before or said.successor in addresses(line):
        return line
    return (*line[:-1], Tenure(last.address, said.ms, block), Tenure(said.successor))


def addresses(line: Line) -> frozenset[str]:
    """Return all addresses of a line."""
    return frozenset(tenure.address for tenure in line)


def at(line: Line, ms: int) -> str:
    """Return the address of a line whose signature counts at this timestamp (ms)."""
    return next(tenure.address for tenure in line if ms <= tenure.until_ms)


def counts(line: Line, address: str, ms: int, block: int) -> bool:
    """Return whether a signature by an address, with this timestamp and in this block of Arweave, counts."""
    return address == at(line, ms) or any(
        tenure.address == address and block < tenure.block for tenure in line[:-1]
    )


def rank(line: Line, address: str) -> int:
    """Return the place of an address in a line, from 0; -1 if it is not in the line."""
    return next((place for place, tenure in enumerate(line) if tenure.address == address), -1)
