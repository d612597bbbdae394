"""OS processes that check pages of a log, signatures included; this is half of the work of `aoray verify`.

They work between the fetching of slots (verify/source.py) and their evaluation (verify/replay.py). Checking
the two signatures of a slot takes longer than evaluating it, and one Python process can't do both at the same
time, so other OS processes check. They get the raw items of a page, and return what evaluation needs: the
message as its process gets it. The check of a page needs from others only what the assignment before it
states about its slot. That is believed here, because that assignment is checked with its own page, and since
pages are evaluated in order, a false statement there is met first.

Invariants: only verify/rules.py decides about a slot, with the same outcome in any process, by the fast or by
the full check (the fast check can only accept a slot; the full check finds what is wrong). A short log starts
no OS process.

On failure: `LogFault` at the first false statement of a page; `Unavailable` if an OS process dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import NamedTuple

from aoray import limits
from aoray.errors import ClientError, Unavailable
from aoray.execution.guest_input import AssignmentFields, GuestMessage, guest_message_at, guest_message_of
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.assignments import Head, LogEntry, plain
from aoray.protocol.cron import Moment
from aoray.protocol.signed import ANS104, parse
from aoray.protocol.tags import first
from aoray.verify.rules import ProcessFacts, check_slot, check_tick, fast_check, fault, moment_of

_PR_SET_PDEATHSIG = 1

RawSlot = tuple[bytes, bytes]  # a slot's assignment and its message, raw


class SlotPage(NamedTuple):
    """Consecutive slots, before any check."""

    nonce: int  # of the first slot
    spawned: bytes  # the assignment of nonce 0
    before: bytes  # the assignment of the slot before, b"" if there is none
    pairs: Sequence[RawSlot]


class CheckedSlot(NamedTuple):
    """A slot that was checked and is true."""

    entry: LogEntry  # without its items, which need not be sent back: `given` has what is needed of them
    given: GuestMessage
    head: Head
    is_assigned: bool  # whether its message was sent to another process


class VerifyPool:
    """A pool of OS processes that check pages of a log, `width` pages at a time."""

    def __init__(self, facts: ProcessFacts, slots: int) -> None:
        self._facts = facts
        self._apart = slots >= limits.VERIFY_APART_SLOTS_MIN
        self.width = 1 + min(len(os.sched_getaffinity(0)), limits.VERIFY_WORKERS_MAX) if self._apart else 1
        self._executor: Executor
        if self._apart:
            spawn = get_context("spawn")
            self._executor = ProcessPoolExecutor(self.width - 1, spawn, _begin, (facts, os.getpid()))
            self._executor.submit(int)  # starts the processes now, which takes a third of a second
        else:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="judging")

    async def check_page(self, page: SlotPage) -> list[CheckedSlot]:
        """Check the slots of a page in one of the OS processes. Raises `LogFault` if one is false,
        `Unavailable` if the process dies."""
        loop = asyncio.get_running_loop()
        try:
            if self._apart:
                return await loop.run_in_executor(self._executor, _check_page, page)
            return await loop.run_in_executor(self._executor, check_page, self._facts, page)
        except BrokenProcessPool as error:
            raise Unavailable("an OS process that checks the log has died", hint="Try again.") from error

    def close(self) -> None:
        """End the OS processes."""
        self._executor.shutdown(cancel_futures=True)


_facts: ProcessFacts  # of the log that this OS process checks


def _begin(facts: ProcessFacts, parent: int) -> None:
    """Set up an OS process that checks: it ignores Ctrl-C, which is for its parent, and ends with its
    parent."""
    global _facts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    _facts = facts


def _check_page(page: SlotPage) -> list[CheckedSlot]:
    return check_page(_facts, page)


def check_page(facts: ProcessFacts, page: SlotPage) -> list[CheckedSlot]:
    """Check the slots of a page, each against the one before. Raises `LogFault` if one is false."""
    head, spawned = _head(page), _moment(page.spawned)
    judged = []
    for raws in page.pairs:
        slot = (head and _checked_fast(facts, head, raws)) or _checked_fully(facts, head, spawned, raws)
        judged.append(slot)
        head = slot.head
    return judged


def _checked_fast(facts: ProcessFacts, before: Head, raws: RawSlot) -> CheckedSlot | None:
    """Return a slot if the fast check accepts it."""
    if (said := plain(raws[0])) is None:
        return None
    message = _parsed(facts, before.nonce + 1, raws[1])
    if (head := fast_check(facts, before, said, message)) is None:
        return None
    texts = head.assignment_id, head.timestamp
    entry = LogEntry(facts.process_id, head.nonce, message.id, *texts, b"", b"")
    slot = AssignmentFields(
        0, head.nonce, head.timestamp, said.block_height, head.hash_chain, frozenset(), said.owner
    )
    return CheckedSlot(
        entry, guest_message_at(entry, message, slot), head, message.target_id != facts.process_id
    )


def _checked_fully(facts: ProcessFacts, before: Head | None, spawned: Moment, raws: RawSlot) -> CheckedSlot:
    nonce = 0 if before is None else before.nonce + 1
    assignment, message = (_parsed(facts, nonce, raw) for raw in raws)
    head, entry = check_slot(facts, before, assignment, message)
    check_tick(facts, spawned, entry, assignment, message)
    is_assigned = nonce > 0 and message.target_id != entry.process_id
    given = guest_message_of(entry, message, assignment)
    return CheckedSlot(entry._replace(item=b"", assignment=b""), given, head, is_assigned)


def _parsed(facts: ProcessFacts, nonce: int, raw: bytes) -> DataItem:
    try:
        return parse(raw, ANS104, bytes_max=limits.BUNDLE_BYTES_MAX)
    except ClientError as error:
        raise fault(facts.process_id, nonce, "", f"an item of it cannot be read: {error.message}") from error


def _head(page: SlotPage) -> Head | None:
    """Return what the assignment before a page states about its slot; the check of its own page shows whether
    this is true."""
    if not page.before:
        return None
    item = parse(page.before, ANS104, bytes_max=limits.BUNDLE_BYTES_MAX)
    return Head(page.nonce - 1, item.id, first(item.tags, "Hash-Chain", ""), _moment(page.before).ms)


def _moment(assignment: bytes) -> Moment:
    """Return the moment that an assignment states. Malformed numbers are found elsewhere."""
    try:
        return moment_of(parse(assignment, ANS104, bytes_max=limits.BUNDLE_BYTES_MAX))
    except ValueError:
        return Moment(0, 0)
