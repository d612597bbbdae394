"""Pages of a log judged, signatures and all, in OS processes of their own: half the work of `aoray verify`.

Between what fetches the slots (published.py) and what evaluates them (replay.py). Checking the two signatures
of a slot takes longer than evaluating it, and Python evaluates and checks in turns, never at once: so other
OS processes check. They get the raw items of a page, and give back what is left to do: the message as its
process gets it. A page needs nothing of the others but what the assignment before it says of its slot; that
is believed here, since it is judged with its own page, and a lie there is met first: whoever evaluates takes
the pages in order.

Invariants: a slot is judged by verify.py alone, the same whether here or there, at a glance or at a second
look (a glance only says that a slot is true; what is wrong is found by the second). A log that is soon
checked starts no OS process.

On failure: `LogFault` at the first lie of a page; `Unavailable` when an OS process dies.
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
from aoray.actors.messages import Given, Slot, given_at, given_of
from aoray.errors import ClientError, Unavailable
from aoray.protocol.assignments import Head, LogEntry, plain
from aoray.protocol.items import DataItem, parse
from aoray.protocol.tags import first
from aoray.protocol.ticks import Moment
from aoray.verify import Facts, check_slot, check_tick, fault, glance, moment_of

_PR_SET_PDEATHSIG = 1

Pair = tuple[bytes, bytes]  # a slot's assignment and its message, raw


class Page(NamedTuple):
    """Slots one after another, of which nothing is believed yet."""

    nonce: int  # of the first of them
    spawned: bytes  # the assignment of nonce 0
    before: bytes  # that of the slot before them, b"" if there is none
    pairs: Sequence[Pair]


class Judged(NamedTuple):
    """A slot that is true."""

    entry: LogEntry  # without its items: `given` is what is left of them, and they would travel
    given: Given
    head: Head
    is_assigned: bool  # its message was sent to another process


class Judges:
    """Those who judge, `width` pages at a time."""

    def __init__(self, facts: Facts, slots: int) -> None:
        self._facts = facts
        self._apart = slots >= limits.VERIFY_APART_SLOTS_MIN
        self.width = 1 + min(len(os.sched_getaffinity(0)), limits.VERIFY_JUDGES_MAX) if self._apart else 1
        self._executor: Executor
        if self._apart:
            spawn = get_context("spawn")
            self._executor = ProcessPoolExecutor(self.width - 1, spawn, _begin, (facts, os.getpid()))
            self._executor.submit(
                int
            )  # they begin now, not with the first page: it takes a third of a second
        else:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="judging")

    async def judge(self, page: Page) -> list[Judged]:
        """A page's slots; LogFault if one is not true."""
        loop = asyncio.get_running_loop()
        try:
            if self._apart:
                return await loop.run_in_executor(self._executor, _judge, page)
            return await loop.run_in_executor(self._executor, judge, self._facts, page)
        except BrokenProcessPool as error:
            raise Unavailable("An OS process that judges the log has died.", hint="Try again.") from error

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


_facts: Facts  # of the log that this OS process judges


def _begin(facts: Facts, parent: int) -> None:
    """An OS process that judges begins: Ctrl-C is for the one who started it, and it ends with that one."""
    global _facts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    _facts = facts


def _judge(page: Page) -> list[Judged]:
    return judge(_facts, page)


def judge(facts: Facts, page: Page) -> list[Judged]:
    """The slots of a page, each checked against the one before; LogFault if one is not true."""
    head, spawned = _head(page), _moment(page.spawned)
    judged = []
    for raws in page.pairs:
        slot = (head and _glanced(facts, head, raws)) or _looked_at(facts, head, spawned, raws)
        judged.append(slot)
        head = slot.head
    return judged


def _glanced(facts: Facts, before: Head, raws: Pair) -> Judged | None:
    """A slot that needs no second look."""
    if (said := plain(raws[0])) is None:
        return None
    message = _parsed(facts, before.nonce + 1, raws[1])
    if (head := glance(facts, before, said, message)) is None:
        return None
    texts = head.assignment_id, head.timestamp
    entry = LogEntry(facts.process_id, head.nonce, message.id, *texts, b"", b"")
    slot = Slot(0, head.nonce, head.timestamp, said.block_height, head.hash_chain, frozenset(), said.owner)
    return Judged(entry, given_at(entry, message, slot), head, message.target_id != facts.process_id)


def _looked_at(facts: Facts, before: Head | None, spawned: Moment, raws: Pair) -> Judged:
    nonce = 0 if before is None else before.nonce + 1
    assignment, message = (_parsed(facts, nonce, raw) for raw in raws)
    head, entry = check_slot(facts, before, assignment, message)
    check_tick(facts, spawned, entry, assignment, message)
    is_assigned = nonce > 0 and message.target_id != entry.process_id
    given = given_of(entry, message, assignment)
    return Judged(entry._replace(item=b"", assignment=b""), given, head, is_assigned)


def _parsed(facts: Facts, nonce: int, raw: bytes) -> DataItem:
    try:
        return parse(raw, bytes_max=limits.BUNDLE_BYTES_MAX)
    except ClientError as error:
        raise fault(facts.process_id, nonce, "", f"an item of it cannot be read: {error.message}") from error


def _head(page: Page) -> Head | None:
    """What the slot before says that it is; whether it is, the page before is asked."""
    if not page.before:
        return None
    item = parse(page.before, bytes_max=limits.BUNDLE_BYTES_MAX)
    return Head(page.nonce - 1, item.id, first(item.tags, "Hash-Chain", ""), _moment(page.before).ms)


def _moment(assignment: bytes) -> Moment:
    """When a slot says that it was ordered; numbers that are none were met before."""
    try:
        return moment_of(parse(assignment, bytes_max=limits.BUNDLE_BYTES_MAX))
    except ValueError:
        return Moment(0, 0)
