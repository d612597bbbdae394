"""Hand-overs: items by which a unit states that from some time on another key signs in its place. Pure.

A process names its scheduler once, in its spawn item, and a scheduler names its compute units. So a key could
never be changed without this statement, which the old key signs:

    Data-Protocol: ao, Variant: ao.TN.1, Type: Hand-Over,
    Unit-Kind: scheduler | compute, Successor: <address>, Timestamp: <milliseconds>

It has neither target, anchor nor data. Signatures of the old key do not count for slots with a later
timestamp. Those of the new key do not count for slots up to it (except attestations, which come late).
Timestamps of a process rise, so the order of keys never goes back. An address hands over once: of several
such statements the one that Arweave had first counts, so whoever steals an old key can't replace its
successor. A `Line` says who signs when.

What Arweave had before it had the hand-over still counts, whatever time the hand-over states: nobody can
revoke their signatures with a hand-over that is dated back (`counts`).

On failure: `hand_over_of` returns None for an item that does not have exactly this form.
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
    address: str  # the address that hands over
    successor: str
    ms: int  # the last timestamp at which its signature counts


class Tenure(NamedTuple):
    """An address, the last timestamp (ms) at which its signature counts, and the height of the block that has
    its hand-over."""

    address: str
    until_ms: int = NEVER
    block: int = NEVER


Line = tuple[Tenure, ...]
"""The addresses of a unit, in the order in which they sign; the last tenure has no end."""


def hand_over(signer: Signer, unit: Unit, successor: str, ms: int) -> DataItem:
    """Make and sign a hand-over. An Ed25519 key makes the same item each time."""
    own = Tag("Unit-Kind", unit), Tag("Successor", successor), Tag("Timestamp", str(ms))
    return build(signer, tags=(*AO, Tag("Type", TYPE), *own))


def hand_over_of(item: DataItem) -> HandOver | None:
    """Return the contents of a verified item; None if it is not a hand-over."""
    if departure(item, HAND_OVER):
        return None
    unit, successor, ms = (first(item.tags, name, "") for name in ("Unit-Kind", "Successor", "Timestamp"))
    is_number = ms.isascii() and ms.isdecimal() and len(ms) <= _DIGITS_MAX
    if unit not in UNITS or not is_id(successor) or not is_number or successor == item.address:
        return None
    return HandOver(unit, item.address, successor, int(ms))


def followed(line: Line, said: HandOver, block: int = NEVER) -> Line:
    """Return the line after this hand-over, which is in the block with this height. The line stays as it is
    if its last address did not sign the hand-over, if the successor was in it before, or if the time is
    earlier than that of the last hand-over."""
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
    """Return whether a signature by an address counts: at this timestamp (ms), or in a block before that of
    its hand-over."""
    return address == at(line, ms) or any(
        tenure.address == address and block < tenure.block for tenure in line[:-1]
    )


def rank(line: Line, address: str) -> int:
    """Return the index of an address in a line; -1 if it is not in the line."""
    return next((index for index, tenure in enumerate(line) if tenure.address == address), -1)
