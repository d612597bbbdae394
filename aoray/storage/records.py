"""The rows of the stores, and the keys and positions in them, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from aoray.protocol.assignments import Head


class ProcessState(NamedTuple):
    """The state of a process in the scheduler: its head, and the actor on which it is placed."""

    head: Head | None = None
    own: bool = False
    term: int = 0
    actor: str = ""


class Slot(NamedTuple):
    """A slot of a process's log: nonce, timestamp (ms), and the id of the assignment."""

    assignment_id: str
    nonce: int
    timestamp: int


class PlacedProcess(NamedTuple):
    """A process with its actor, term and last nonce, as a page of `Log.placed` lists it."""

    process_id: str
    own: bool
    term: int
    actor: str
    nonce: int


Sort = Literal["ASC", "DESC"]


class ResultRow(NamedTuple):
    """The result of a message. `pushed` is true if its outbox was sent or is empty; `pushed_for` is '' for a
    tick of a cron, and only for that."""

    process_id: str
    nonce: int
    message_id: str
    assignment_id: str
    timestamp: int
    block_height: int
    result: bytes
    has_error: bool
    pushed_for: str
    pushed: bool


class Divergence(NamedTuple):
    """A slot that gave another result when it was evaluated again, with both results."""

    process_id: str
    nonce: int
    stored: bytes
    evaluated: bytes
    since_ms: int

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        where = f"process {self.process_id} is stopped: slot {self.nonce}"
        return f"{where} gave another result when it was evaluated again"


class Mark(NamedTuple):
    """A position in the tables of results, in the order in which they were written."""

    results: int = 0
    states: int = 0


DeliveryState = Literal["pending", "delivered", "uploaded", "skipped", "dead"]
DeliveryKind = Literal["message", "spawn", "assignment"]
STATES: tuple[DeliveryState, ...] = ("pending", "delivered", "uploaded", "skipped", "dead")


class Delivery(NamedTuple):
    """The state of one outbox message's delivery.

    States: `pending`; `delivered` to a process here; `uploaded` to Arweave, since the target is a wallet;
    `skipped`, since it can never be sent; `dead`, since another network did not take it. `first_ms` and
    `last_ms` are the times of the first and the last attempt, 0 before.
    """

    process_id: str
    nonce: int
    place: int
    kind: DeliveryKind
    state: DeliveryState
    item_id: str
    target: str
    attempts: int
    error: str
    first_ms: int
    last_ms: int


class Settlement(NamedTuple):
    """The outcome of an attempt to push a result's outbox; `done` if none of its messages is pending any
    more."""

    process_id: str
    nonce: int
    deliveries: Sequence[Delivery]
    done: bool


class CheckpointRow(NamedTuple):
    """A row of the index of checkpoints: the last message before the state, the state's hash, and its
    file."""

    process_id: str
    nonce: int
    term: int
    timestamp: int
    block_height: int
    state_hash: str
    file: str
    bytes: int
    parent: str = ""  # the file whose pages this one changes; '' if this file is complete
