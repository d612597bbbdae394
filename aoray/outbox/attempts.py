"""How an outbox message comes to its end: which there are, and what an attempt makes of one. Pure.

`entries_of` gives everything of a result's outbox its place; the gateway's `deliverer` attempts one, or
the actor's `direct_push`, and `after_attempt` says what it is then. Towards our own shards and Arweave an
attempt that fails because something is away leaves it `pending` for as long as it takes. Towards another
network, or for a module or a message that Arweave does not show, it is `dead` after
`limits.PUSH_FOREIGN_ATTEMPTS_MAX`, or what the operator says, and only a hand pushes it again: that Arweave
does not show something today (gateways differ, and things are published late) decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from aoray import limits
from aoray.errors import ClientError
from aoray.outbox.entries import (
    AssignmentSpec,
    InvalidEntry,
    MessageSpec,
    Outbox,
    Sender,
    SpawnSpec,
    read_outbox,
)
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.base import Signer
from aoray.storage.records import Delivery, DeliveryKind, DeliveryState, ResultRow, Settlement

Spec = MessageSpec | SpawnSpec | AssignmentSpec | InvalidEntry
KINDS: Mapping[str, DeliveryKind] = {"Messages": "message", "Spawns": "spawn", "Assignments": "assignment"}


class OutboxEntry(NamedTuple):
    """One entry of an outbox; an `InvalidEntry` is one that can't be sent."""

    place: int
    kind: DeliveryKind
    spec: Spec


class Attempt(NamedTuple):
    """The outcome of one delivery attempt. `foreign`: it went, or should have, to a network that is not
    ours. `absent`: Arweave does not show what it needs."""

    state: DeliveryState
    error: str = ""
    foreign: bool = False
    absent: bool = False


DELIVERED = Attempt("delivered")


def entries_of(row: ResultRow, sender: Sender) -> list[OutboxEntry]:
    """Return all entries of the outbox of a result of `sender`."""
    return outbox_entries(read_outbox(orjson.loads(row.result), sender, row.nonce, row.pushed_for))


def outbox_entries(box: Outbox) -> list[OutboxEntry]:
    """Return all entries of an outbox by index: its `Messages`, then its `Spawns`, then its `Assignments`."""
    groups: tuple[tuple[str, Sequence[Spec]], ...] = (
        ("Messages", box.messages),
        ("Spawns", box.spawns),
        ("Assignments", box.assignments),
    )
    found: list[OutboxEntry] = []
    base = 0
    for name, sendable in groups:
        faults = [fault for fault in box.faults if fault.kind == name and fault.place >= 0]
        specs = sorted([*sendable, *faults], key=lambda spec: spec.place)
        found += [OutboxEntry(base + offset, KINDS[name], spec) for offset, spec in enumerate(specs)]
        base += len(specs)
    return found


def new_delivery(process_id: str, nonce: int, entry: OutboxEntry) -> Delivery:
    """Return a delivery without any attempt; its item is not signed yet."""
    spec = entry.spec
    item_id = target = ""
    if isinstance(spec, MessageSpec):
        target = spec.target
    elif isinstance(spec, AssignmentSpec):
        item_id, target = spec.message_id, spec.process_id
    return Delivery(process_id, nonce, entry.place, entry.kind, "pending", item_id, target, 0, "", 0, 0)


def sign_item(signer: Signer, spec: Spec) -> DataItem | None:
    """Sign the item of a message or a spawn; every call gives the same item. `ClientError` if an item
    can't be that."""
    if isinstance(spec, MessageSpec):
        return build(signer, target=spec.target, anchor=spec.anchor, tags=spec.tags, data=spec.data)
    return build(signer, tags=spec.tags, data=spec.data) if isinstance(spec, SpawnSpec) else None


def sign_if_possible(signer: Signer, spec: Spec) -> DataItem | None:
    """Sign an entry's item as `sign_item` does; None if it can't be an item, which the attempt to deliver
    it will say."""
    try:
        return sign_item(signer, spec)
    except ClientError:
        return None


def with_item_id(delivery: Delivery, item_id: str) -> Delivery:
    """Return the delivery with the id of its item; the target of a spawn is the process itself."""
    return delivery._replace(item_id=item_id, target=delivery.target or item_id)


def after_attempt(
    before: Delivery,
    attempt: Attempt,
    now_ms: int,
    foreign_attempts_max: int = limits.PUSH_FOREIGN_ATTEMPTS_MAX,
) -> Delivery:
    """Return the delivery as it is after an attempt."""
    attempts = before.attempts + 1
    given_up = (attempt.foreign or attempt.absent) and attempts >= foreign_attempts_max
    state: DeliveryState = "dead" if attempt.state == "pending" and given_up else attempt.state
    return before._replace(
        state=state,
        attempts=attempts,
        error=attempt.error[: limits.PUSH_ERROR_CHARACTERS_MAX],
        first_ms=before.first_ms or now_ms,
        last_ms=now_ms,
    )


def settlement(process_id: str, nonce: int, deliveries: Sequence[Delivery]) -> Settlement:
    """Return what to write after an attempt; `deliveries` are all deliveries of the result."""
    return Settlement(process_id, nonce, deliveries, all(each.state != "pending" for each in deliveries))
