"""Assignments: the items by which the scheduler states that a message has a certain nonce (slot) in a
process's log.

The process itself has nonce 0 of its log; each message after it has the next nonce. The hash chain of nonce 0
is SHA-256(process id), and that of each later slot is SHA-256(previous assignment's id, previous chain), so
an assignment fixes all slots before it. Timestamps of a process strictly increase, because clients page by
them.

`next_slot` makes the next slot and its assignment as raw bytes; the scheduler calls it for one process after
another, in one thread. `check_chain` is for whoever replays a log: it trusts nobody, and accepts an
assignment only in exactly the form that protocol/forms.py states. `plain` reads assignments of the most
common form without a full parse.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from aoray.errors import MalformedInput
from aoray.protocol import signed
from aoray.protocol.ans104.items import DataItem, build_tags, parse, verify
from aoray.protocol.engines import TAG as ENGINE
from aoray.protocol.engines import engine_named
from aoray.protocol.forms import ASSIGNMENT, SPAWN_ASSIGNMENT, Form, departure
from aoray.protocol.ids import b64url_encode, id_bytes
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signed import ANS104, SignedMessage
from aoray.protocol.tags import Tag, Tags, encode_tags, first
from aoray.vm.engines import BEFORE_VERSIONS, Engine, engine_numbered

EPOCH = "0"
VARIANT = "ao.TN.1"
BLOCK_HEIGHT_DIGITS = 12

_AO_TAGS = (Tag("Data-Protocol", "ao"), Tag("Type", "Assignment"), Tag("Variant", VARIANT))


class LogEntry(NamedTuple):
    """One slot of a process's log: the message and its assignment."""

    process_id: str
    nonce: int
    message_id: str
    assignment_id: str
    timestamp: int  # milliseconds
    item: bytes  # the message as it was signed (for an assigned message, its target is another process)
    assignment: bytes  # the raw data item that the scheduler signed
    envelope: str = ANS104  # the form in which the message is signed (aoray.protocol.signed)

    @property
    def message(self) -> SignedMessage:
        """The message of this slot, parsed."""
        return signed.parse(self.item, self.envelope)


class Head(NamedTuple):
    """The last slot of a process, which the next slot continues."""

    nonce: int
    assignment_id: str
    hash_chain: str
    timestamp: int  # milliseconds


def next_slot(
    signer: Signer,
    process_id: str,
    head: Head | None,
    message_id: str | None,
    *,
    now_ms: int,
    block_height: int,
    exclude: Sequence[str] = (),
    engine: int = BEFORE_VERSIONS,
) -> tuple[Head, bytes]:
    """Make the slot after `head`, and return its head and its raw assignment.

    Without `head` this is the slot of the process itself: nonce 0, no message id, and the number of the
    engine that the process is bound to (vm/engines.py). Raises `ValueError` if exactly one of `head` and
    `message_id` is None.
    """
    if (head is None) != (message_id is None):
        raise ValueError("a process's first assignment, and no other, is without message")
    nonce = 0 if head is None else head.nonce + 1
    timestamp = now_ms if head is None else max(now_ms, head.timestamp + 1)
    chain = next_hash_chain(process_id, head)
    texts = process_id, str(nonce), chain, f"{block_height:0{BLOCK_HEIGHT_DIGITS}}", str(timestamp)
    if message_id is None or exclude:
        tags = _tags(*texts, message_id, exclude, engine)
        encoded, count = encode_tags(tags), len(tags)
    else:
        encoded, count = _encoded(*texts, message_id), _SHAPE_TAGS
    assignment_id, raw = build_tags(signer, encoded, count)
    return Head(nonce, assignment_id, chain, timestamp), raw


def _tags(
    process_id: str,
    nonce: str,
    chain: str,
    block_height: str,
    timestamp: str,
    message_id: str | None,
    exclude: Sequence[str] = (),
    engine: int = BEFORE_VERSIONS,
) -> Tags:
    """Return the tags of an assignment in the order that the legacy network uses."""
    return (
        Tag("Process", process_id),
        Tag("Epoch", EPOCH),
        Tag("Nonce", nonce),
        Tag("Hash-Chain", chain),
        Tag("Block-Height", block_height),
        Tag("Timestamp", timestamp),
        *_AO_TAGS,
        *((Tag("Message", message_id),) if message_id is not None else ()),
        *(Tag("Exclude", name) for name in exclude),
        *((Tag(ENGINE, str(engine)),) if engine != BEFORE_VERSIONS else ()),
    )


# The Avro bytes of the usual tags, with a placeholder for each value and the length before it.
_MARKED = _tags("\0", "\0", "\0", "\0", "\0", "\0")
_SHAPE, _SHAPE_TAGS = encode_tags(_MARKED).replace(b"\2\0", b"%c%b"), len(_MARKED)


def _encoded(*values: str) -> bytes:
    """Return what `encode_tags` makes of `_tags` without excludes. Values must be under 64 bytes, so that
    each length takes one byte."""
    return _SHAPE % tuple(part for value in values for part in (2 * len(value), value.encode()))


def engine_of(assignment: bytes) -> Engine:
    """Return the engine to which the raw assignment of nonce 0 binds its process."""
    return engine_numbered(engine_named(parse(assignment).tags))


class Plain(NamedTuple):
    """The parts of an assignment in the form that `next_slot` gives to a message without excludes. Nothing in
    it is verified."""

    signature: bytes
    owner: bytes
    tag_bytes: bytes
    process_id: str
    nonce: str
    hash_chain: str
    block_height: int
    timestamp: int  # milliseconds
    message_id: str


_ID, _DIGITS, _TIME = (
    rb"\x56([\w-]{43})",
    rb"(.)([0-9]{1,18})",
    rb"(.)([1-9][0-9]{0,17})",
)  # a length before each
_VALUES = iter((_ID, _DIGITS, _ID, _DIGITS, _TIME, _ID))
_PLAIN = re.compile(
    rb"\x02\x00(.{64})(.{32})\x00\x00%b(.{8})(%b)"
    % (
        re.escape(_SHAPE_TAGS.to_bytes(8, "little")),
        re.sub(b"\2\0", lambda _: next(_VALUES), re.escape(encode_tags(_MARKED))),
    ),
    re.DOTALL,
)


def plain(raw: bytes) -> Plain | None:
    """Return the parts of a raw assignment if it is an Ed25519 item with exactly the usual tags, else
    None."""
    if (found := _PLAIN.fullmatch(raw)) is None:
        return None
    signature, owner, size, tag_bytes, process_id, *middle, message_id = found.groups()
    nonce_size, nonce, chain, height_size, height, time_size, time = middle
    sizes = nonce_size[0], height_size[0], time_size[0], int.from_bytes(size, "little")
    if sizes != (2 * len(nonce), 2 * len(height), 2 * len(time), len(tag_bytes)):
        return None
    texts = process_id.decode(), nonce.decode(), chain.decode()
    return Plain(signature, owner, tag_bytes, *texts, int(height), int(time), message_id.decode())


def next_hash_chain(process_id: str, head: Head | None) -> str:
    """Return the hash chain (base64url) of the slot after `head`; of nonce 0 if `head` is None."""
    if head is None:
        return b64url_encode(sha256(id_bytes(process_id)).digest())
    # Both texts were made here; the checks of `id_bytes` would cost more than the hash.
    before = urlsafe_b64decode(head.assignment_id + "="), urlsafe_b64decode(head.hash_chain + "=")
    return b64url_encode(sha256(b"".join(before)).digest())


def check_chain(
    process_id: str, entries: Iterable[LogEntry], *, scheduler: str, head: Head | None = None
) -> Head | None:
    """Check that these entries continue `head` and that `scheduler` (an address) signed them; return the head
    after them.

    Assignments and messages are verified, and the entry's own columns are compared with them. Raises
    `MalformedInput` that names the tag and the nonce of the first entry at fault, or `BadSignature` that
    names the item.
    """
    for entry in entries:
        items = parse(entry.assignment), entry.message
        head = check_slot(process_id, entry, *items, scheduler=scheduler, head=head)
    return head


def form_of(nonce: int) -> Form:
    """Return the form that the assignment of this nonce must have."""
    return ASSIGNMENT if nonce else SPAWN_ASSIGNMENT


def check_slot(
    process_id: str,
    entry: LogEntry,
    assignment: DataItem,
    message: SignedMessage,
    *,
    scheduler: str,
    head: Head | None,
) -> Head:
    """Check one entry whose items are parsed already. Raises the errors of `check_chain`."""
    verify(assignment)
    signed.verify(message)
    nonce = 0 if head is None else head.nonce + 1
    chain = next_hash_chain(process_id, head)
    named = None if nonce == 0 else message.id
    facts: tuple[tuple[str, object, object], ...] = (
        ("owner", assignment.address, scheduler),
        ("Process", first(assignment.tags, "Process"), process_id),
        ("Nonce", first(assignment.tags, "Nonce"), str(nonce)),
        ("Hash-Chain", first(assignment.tags, "Hash-Chain"), chain),
        ("Message", first(assignment.tags, "Message"), named),
        ("Timestamp", first(assignment.tags, "Timestamp"), str(entry.timestamp)),
        ("nonce", entry.nonce, nonce),
        ("process_id", entry.process_id, process_id),
        ("assignment_id", entry.assignment_id, assignment.id),
        ("message_id", entry.message_id, message.id),
        ("message_id of the process", message.id if nonce == 0 else process_id, process_id),
    )
    for name, found, right in facts:
        if found != right:
            raise MalformedInput(f"the log breaks at nonce {nonce}: {name}", field=name, nonce=nonce)
    if departs := departure(assignment, form_of(nonce)):
        why = f"the log breaks at nonce {nonce}: the assignment {departs}"
        raise MalformedInput(why, field="form", nonce=nonce)
    if head is not None and entry.timestamp <= head.timestamp:
        raise MalformedInput(
            f"the timestamp at nonce {nonce} is not later than the one before", field="Timestamp", nonce=nonce
        )
    return Head(nonce, assignment.id, chain, entry.timestamp)
