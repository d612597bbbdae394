"""How an outbox message comes to its end: which there are, and what an attempt makes of one. Pure.

`parcels` gives everything of a result's outbox its place; the messenger's `courier` attempts one, or the
actor's `short_way`, and `attempted` says what it is then. Towards our own shards and Arweave an attempt that
fails because something is away leaves it `pending` for as long as it takes; towards another network it is
`dead` after `limits.PUSH_FOREIGN_ATTEMPTS_MAX`, or what the operator says, and only a hand pushes it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aoray import limits
from aoray.actors.deliveries import Delivery, Kind, Settlement, State
from aoray.actors.push import AssignmentSpec, Fault, MessageSpec, Outbox, SpawnSpec
from aoray.protocol.items import DataItem, build
from aoray.protocol.keys import Signer

Spec = MessageSpec | SpawnSpec | AssignmentSpec | Fault
KINDS: Mapping[str, Kind] = {"Messages": "message", "Spawns": "spawn", "Assignments": "assignment"}


class Parcel(NamedTuple):
    """One of an outbox; a `Fault` is one that can't be sent."""

    place: int
    kind: Kind
    spec: Spec


class Attempt(NamedTuple):
    """What an attempt came to. `foreign`: it went, or should have, to a network that is not ours."""

    state: State
    error: str = ""
    foreign: bool = False


def parcels(result: Mapping[str, Any], box: Outbox) -> list[Parcel]:
    """All of an outbox by place: its `Messages`, then its `Spawns`, then its `Assignments`."""
    groups: tuple[tuple[str, Sequence[Spec]], ...] = (
        ("Messages", box.messages),
        ("Spawns", box.spawns),
        ("Assignments", box.assignments),
    )
    found: list[Parcel] = []
    base = 0
    for name, sendable in groups:
        faults = [fault for fault in box.faults if fault.kind == name and fault.place >= 0]
        specs = sorted([*sendable, *faults], key=lambda spec: spec.place)
        found += [Parcel(base + offset, KINDS[name], spec) for offset, spec in enumerate(specs)]
        base += len(specs)
    return found


def untried(process_id: str, nonce: int, parcel: Parcel) -> Delivery:
    """A delivery before any attempt; its item is not signed yet."""
    spec = parcel.spec
    item_id = target = ""
    if isinstance(spec, MessageSpec):
        target = spec.target
    elif isinstance(spec, AssignmentSpec):
        item_id, target = spec.message_id, spec.process_id
    return Delivery(process_id, nonce, parcel.place, parcel.kind, "pending", item_id, target, 0, "", 0, 0)


def signed(signer: Signer, spec: Spec) -> DataItem | None:
    """The item of a message or a spawn; the same one however often it is asked for. `ClientError` if an item
    can't be that."""
    if isinstance(spec, MessageSpec):
        return build(signer, target=spec.target, anchor=spec.anchor, tags=spec.tags, data=spec.data)
    return build(signer, tags=spec.tags, data=spec.data) if isinstance(spec, SpawnSpec) else None


def named(delivery: Delivery, item_id: str) -> Delivery:
    """The delivery with the id of its item; what a spawn is for is the process itself."""
    return delivery._replace(item_id=item_id, target=delivery.target or item_id)


def attempted(
    before: Delivery,
    attempt: Attempt,
    now_ms: int,
    foreign_attempts_max: int = limits.PUSH_FOREIGN_ATTEMPTS_MAX,
) -> Delivery:
    """The delivery after an attempt."""
    attempts = before.attempts + 1
    given_up = attempt.foreign and attempts >= foreign_attempts_max
    state: State = "dead" if attempt.state == "pending" and given_up else attempt.state
    return before._replace(
        state=state,
        attempts=attempts,
        error=attempt.error[: limits.PUSH_ERROR_CHARACTERS_MAX],
        first_ms=before.first_ms or now_ms,
        last_ms=now_ms,
    )


def settlement(process_id: str, nonce: int, deliveries: Sequence[Delivery]) -> Settlement:
    """What is to be written; `deliveries` are all of the result's."""
    return Settlement(process_id, nonce, deliveries, all(each.state != "pending" for each in deliveries))
