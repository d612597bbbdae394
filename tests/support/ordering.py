"""What the scheduler's tests share: signed items as submissions, and a check of a whole log."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from aoray.contracts.shard import Submission
from aoray.protocol.ans104.bundles import BUNDLE_TAGS
from aoray.protocol.ans104.items import DataItem, build, parse, verify
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag, first
from aoray.scheduler.committer import Committer
from aoray.scheduler.flusher import packed
from aoray.scheduler.placement import Placement
from aoray.settings import Settings
from aoray.storage.factory import open_log, open_readers
from aoray.storage.log import Log, SqliteLog
from aoray.storage.log_reader import LogReader, ShardedReader

USER = generate_ed25519()
SCHEDULER = generate_ed25519()
SOME_ID = b64url_encode(bytes(32))
numbers = itertools.count()

PROCESS_TAGS = (
    *(("Data-Protocol", "ao"), ("Type", "Process")),
    *(("Module", SOME_ID), ("Scheduler", SCHEDULER.address)),
)
MESSAGE_TAGS = (("Data-Protocol", "ao"), ("Type", "Message"))


def item(tags: Iterable[tuple[str, str]], target: str = "", data: bytes = b"") -> DataItem:
    return build(
        USER, target=target, tags=[Tag(*tag) for tag in tags], data=data or str(next(numbers)).encode()
    )


def process_tags(scheduler: str) -> Sequence[tuple[str, str]]:
    """Those of a process whose messages this address orders."""
    return (*PROCESS_TAGS[:-1], ("Scheduler", scheduler))


def spawn(*more: tuple[str, str], tags: Sequence[tuple[str, str]] = PROCESS_TAGS) -> Submission:
    made = item((*tags, *more))
    return Submission("process", made.id, made.id, made.raw)


def message(
    process_id: str, *more: tuple[str, str], tags: Sequence[tuple[str, str]] = MESSAGE_TAGS, data: bytes = b""
) -> Submission:
    made = item((*tags, *more), process_id, data)
    return Submission("message", process_id, made.id, made.raw)


def assign(process_id: str, assigned: Submission, *exclude: str) -> Submission:
    return Submission(
        "assignment", process_id, assigned.message_id, assigned.item, exclude, envelope=assigned.envelope
    )


def writer_of(place: Path | Settings) -> Log:
    """A log: of a file, or the first of a computer."""
    return SqliteLog(place) if isinstance(place, Path) else open_log(place, 0)


def reader_of(place: Path | Settings) -> LogReader | ShardedReader:
    """What reads it."""
    return LogReader(place) if isinstance(place, Path) else open_readers(place)


def committer(
    place: Path | Settings,
    *,
    pool: int = 2,
    signer: Signer = SCHEDULER,
    last_nonces: dict[str, int] | None = None,
) -> Committer:
    found = last_nonces if last_nonces is not None else {}
    return Committer(lambda: writer_of(place), Placement(pool), signer, lambda _: found)


def bundle(signer: Signer, rows: Sequence[Sequence[bytes]]) -> DataItem:
    """As the flusher posts these items to a bundler."""
    return build(signer, tags=BUNDLE_TAGS, data=packed(rows))


def check_process(entries: Sequence[LogEntry]) -> None:
    """G1 in the log: gapless from 0, each message once, time rises, signatures and chain are right."""
    assert [entry.nonce for entry in entries] == list(range(len(entries)))
    assert len({entry.message_id for entry in entries}) == len(entries)
    assert len({entry.assignment_id for entry in entries}) == len(entries)
    assert all(a.timestamp < b.timestamp for a, b in itertools.pairwise(entries))
    chain = b""
    for before, entry in itertools.zip_longest([None, *entries[:-1]], entries):
        chain = _next_chain(entry.process_id, before, chain)
        _check_assignment(entry, b64url_encode(chain))


def _next_chain(process_id: str, before: LogEntry | None, chain: bytes) -> bytes:
    """The hash chain by the words of the contract, written down a second time."""
    from hashlib import sha256

    if before is None:
        return sha256(b64url_decode(process_id)).digest()
    return sha256(b64url_decode(before.assignment_id) + chain).digest()


def _check_assignment(entry: LogEntry, chain: str) -> None:
    assignment = parse(entry.assignment)
    verify(assignment)
    assert assignment.id == entry.assignment_id
    assert first(assignment.tags, "Process") == entry.process_id
    assert first(assignment.tags, "Nonce") == str(entry.nonce)
    assert first(assignment.tags, "Timestamp") == str(entry.timestamp)
    assert first(assignment.tags, "Hash-Chain") == chain
    assert first(assignment.tags, "Message") == (None if entry.nonce == 0 else entry.message_id)
    assert entry.message.id == entry.message_id
