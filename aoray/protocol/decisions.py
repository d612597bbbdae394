"""Decisions: items by which the operator, with the scheduler's key, states that a process is stopped or goes
on. Pure.

The operator of a computer holds the scheduler's key, and signs decisions with it (`aoray process stop`). They
are not messages, have no slot, and change nothing that `aoray verify` checks: scheduled messages stay, and
messages that wait keep their order. A decision has the form of a statement (`protocol.forms`), so no item
with words of a stranger can be taken for one.
"""

from __future__ import annotations

from typing import NamedTuple

from aoray.errors import ClientError, MalformedInput
from aoray.protocol.ans104.items import DataItem, build, parse, verify
from aoray.protocol.forms import AO, DECISION, departure
from aoray.protocol.ids import is_id
from aoray.protocol.signatures.base import Signer
from aoray.protocol.tags import Tag, first

WORD = "Operator-Decision"  # the tag with the decision: stop or resume
DIGITS_MAX = 18  # of a number in a tag
_HINT = "`aoray process stop` and `aoray process resume` make and sign decisions."


class Decided(NamedTuple):
    """The contents of a decision: the process, and whether it is stopped."""

    process_id: str
    stopped: bool
    timestamp: int  # milliseconds


def decision_item(signer: Signer, decided: Decided) -> DataItem:
    """Make and sign a decision."""
    tags = (
        *AO,
        Tag("Type", "Process-Decision"),
        Tag("Process", decided.process_id),
        Tag(WORD, "stop" if decided.stopped else "resume"),
        Tag("Timestamp", str(decided.timestamp)),
    )
    return build(signer, tags=tags, data=b"")


def decision_of(raw: bytes, operator: str) -> Decided:
    """Verify a signed decision of this operator (the scheduler's address), and return its contents.

    Raises `MalformedInput` if the item has another form, `BadSignature`, or `ClientError` if somebody else
    signed it.
    """
    item = parse(raw)
    verify(item)
    if item.address != operator:
        raise ClientError(
            f"{item.address} signed this decision, which only the operator's key {operator} may",
            hint=f"{_HINT} Run it where the computer's keys are: --data or --keys.",
        )
    if why := departure(item, DECISION):
        raise MalformedInput(f"the item is not a decision: it {why}", field="body", hint=_HINT)
    process_id, word, time = (first(item.tags, name, "") for name in ("Process", WORD, "Timestamp"))
    if not is_id(process_id) or word not in ("stop", "resume"):
        raise MalformedInput(
            "the decision does not stop or resume a process", field=f"tags.{WORD}", hint=_HINT
        )
    if not (time.isascii() and time.isdecimal() and len(time) <= DIGITS_MAX):
        raise MalformedInput(
            "the time of the decision is not a number of milliseconds", field="tags.Timestamp", hint=_HINT
        )
    return Decided(process_id, word == "stop", int(time))
