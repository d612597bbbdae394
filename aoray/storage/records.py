"""What the stores keep, as plain values: a row each, and what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from aoray.protocol.assignments import Head


class ProcessState(NamedTuple):
    """What the scheduler knows about a process: its head, and where it is placed."""

    head: Head | None = None
    own: bool = False
    term: int = 0
    actor: str = ""


class Slot(NamedTuple):
    """The place of a message in a process's log."""

    assignment_id: str
    nonce: int
    timestamp: int


class PlacedProcess(NamedTuple):
    """A process with its actor, term and last nonce, in the form of a page of `placed`."""

    process_id: str
    own: bool
    term: int
    actor: str
    nonce: int


Sort = Literal["ASC", "DESC"]


class ResultRow(NamedTuple):
    """A message's result. `pushed` is true if its outbox is sent, or was empty; `pushed_for` is '' of a
    tick of a cron, and of nothing else."""

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
    """A slot whose result, evaluated again, is not the stored one."""

    process_id: str
    nonce: int
    stored: bytes
    evaluated: bytes
    since_ms: int


class Mark(NamedTuple):
    """A position in the tables of results, in the order in which they were written."""

    results: int = 0
    states: int = 0


DeliveryState = Literal["pending", "delivered", "uploaded", "skipped", "dead"]
DeliveryKind = Literal["message", "spawn", "assignment"]
STATES: tuple[DeliveryState, ...] = ("pending", "delivered", "uploaded", "skipped", "dead")


class Delivery(NamedTuple):
    """The state of one outbox message's delivery. `uploaded`: to a wallet, so to Arweave; `skipped`:
    can't be sent, ever; `dead`: given up towards another network. Times are of the first and the last
    attempt, 0 before."""

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
    """The outcome of an attempt at a result's outbox; `done` if nothing of it is pending."""

    process_id: str
    nonce: int
    deliveries: Sequence[Delivery]
    done: bool


class CheckpointRow(NamedTuple):
    """A row of the index: the last message in a state, the state's hash, and its file."""

    process_id: str
    nonce: int
    term: int
    timestamp: int
    block_height: int
    state_hash: str
    file: str
    bytes: int
    parent: str = ""  # the file that this one's only changes; empty if it holds them all
