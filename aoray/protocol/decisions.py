"""The operator's decisions about a process: the scheduler's signed word that it is stopped, or goes on. Pure.

A node's operator holds the scheduler's key, and signs them with it (`aoray process stop`); they are not
messages, have no slot, and change nothing that `aoray verify` looks at: what was ordered stays, and what
waits keeps its order. The form is a statement's (`protocol.forms`), so no word of a stranger is taken for
one.
"""

from __future__ import annotations

from typing import NamedTuple

from aoray.errors import ClientError, MalformedInput
from aoray.protocol.ans104.items import DataItem, build, parse, verify
from aoray.protocol.forms import AO, DECISION, departure
from aoray.protocol.ids import is_id
from aoray.protocol.signatures.base import Signer
from aoray.protocol.tags import Tag, first

WORD = "Operator-Decision"  # the tag that says which
DIGITS_MAX = 18  # of a number in a tag
_HINT = "`aoray process stop` and `aoray process resume` make and sign decisions."


class Decided(NamedTuple):
    """The contents of a decision."""

    process_id: str
    stopped: bool
    timestamp: int  # milliseconds


def decision_item(signer: Signer, decided: Decided) -> DataItem:
    """Sign the statement of a decision."""
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

    MalformedInput if it has another form, BadSignature, ClientError if somebody else signed it.
    """
    item = parse(raw)
    verify(item)
    if item.address != operator:
        raise ClientError(
            f"{item.address} signed this, and only the operator's key {operator} decides",
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
