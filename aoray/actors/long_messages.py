"""The messages that take long: evaluated in slices, while the other processes of the actor go on.

A message that needs more than FUEL_AT_ONCE comes here, and its process waits for it (`Machine.long`). In
every turn of the evaluating loop one of them gets a slice of SLICE_SECONDS: every second time the one that
has spent least, so that what is soon done is soon done however many endless ones there are; else the one
whose last slice is longest ago, so that each of them goes on. Whatever order the slices come in, results and
fuel are the same.

At most LONG_MESSAGES_MAX of one actor are begun, and no more once they take as much memory as all processes
of the actor may. Others wait for a place. Places are shared by owners (the wallets that processes belong
to, `protocol.spawn_chain`): nobody has more than LONG_MESSAGES_OWNER_MAX, nor begins another one while his
take their part of the memory. Who grows beyond that part after he began several is put back while another
owner waits for room: the one of his that has spent least is given up, and begins again later.

Wallets cost nothing, so places can't be kept for owners. While all of them are held, and an owner waits who
has none, the message that was evaluated longest is put back, once it had its time: at first
LONG_MESSAGE_SECONDS_FIRST, and each time twice as much, so that each message comes to its end with at most
twice the work. Who comes waits for a place while LONG_MESSAGES_MAX messages have their times, and for those
who wait before him.
For the evaluating thread, but for `progress` and the counts.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from aoray import limits
from aoray.actors.planner import EvaluationBatch
from aoray.execution.guest_input import GuestMessage
from aoray.vm.interface import Instance, Outcome, Sliced


@dataclass(slots=True)
class LongMessage:
    """A long message under way: the only entry of its batch."""

    turn: EvaluationBatch
    given: GuestMessage
    instance: Instance
    env: bytes
    sliced: Sliced | None = None  # once it has begun
    owner: str | None = None  # the wallet that its process belongs to; it does not begin before that is known
    seconds: float = 0.0  # of evaluation
    bytes: int = 0  # of memory that its process takes meanwhile
    time_s: float = field(default_factory=lambda: limits.LONG_MESSAGE_SECONDS_FIRST)
    """Seconds of evaluation after which another owner may have its place."""

    @property
    def fuel(self) -> int:
        """The fuel that the message has spent so far."""
        return self.sliced.fuel if self.sliced else 0


class LongMessages:
    """The long messages of one actor, by process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.messages: dict[str, LongMessage] = {}  # the one whose slice is longest ago stands first
        self.bytes_max: float = math.inf
        self._begun = 0
        self._least_spent = itertools.cycle((True, False))

    def __len__(self) -> int:
        return len(self.messages)

    def __contains__(self, process_id: str) -> bool:
        return process_id in self.messages

    @property
    def waiting(self) -> int:
        """The number of long messages that have not begun."""
        return len(self.messages) - self._begun

    def progress(self, process_id: str) -> dict[str, Any] | None:
        """Return how far the long message of this process is, for people."""
        long = self.messages.get(process_id)
        if long is None:
            return None
        state = "evaluating" if long.sliced else "waiting for other long messages"
        nonce, fuel_max = long.turn.entries[0].nonce, long.instance.limits.fuel
        return {
            "nonce": nonce,
            "state": state,
            "fuel": long.fuel,
            "fuel_max": fuel_max,
            "seconds": round(long.seconds, 1),
        }

    def add(self, long: LongMessage) -> None:
        """Add a long message; a process has one at most."""
        self.messages[long.turn.process_id] = long

    def owned(self, process_id: str, owner: str) -> None:
        """Note that the long message of this process, if there is one, is of this owner."""
        if process_id in self.messages:
            self.messages[process_id].owner = owner

    def next(self) -> LongMessage | None:
        """Return the long message whose slice is next."""
        begun = [long for long in self.messages.values() if long.sliced]
        waiting = [long for long in self.messages.values() if not long.sliced and long.owner is not None]
        may = {long.owner for long in waiting if self._has_place(long.owner, begun)}
        if not may and waiting and begun:
            self._make_room(begun, {long.owner for long in waiting})
        ready = [long for long in self.messages.values() if long.sliced or long.owner in may]
        if not ready:
            return None
        return min(ready, key=lambda long: long.fuel) if next(self._least_spent) else ready[0]

    def _has_place(self, owner: str | None, begun: Sequence[LongMessage]) -> bool:
        """Whether one more of this owner may begin beside those that have."""
        own = [long for long in begun if long.owner == owner]
        return (
            len(begun) < limits.LONG_MESSAGES_MAX
            and len(own) < limits.LONG_MESSAGES_OWNER_MAX
            and (not begun or _bytes(begun) < self.bytes_max)
            and (not own or _bytes(own) < self._bytes_owner_max)
        )

    @property
    def _bytes_owner_max(self) -> float:
        return self.bytes_max * limits.LONG_MESSAGES_OWNER_MAX / limits.LONG_MESSAGES_MAX

    def _excess(self, begun: Sequence[LongMessage], waiting: Collection[str | None]) -> LongMessage | None:
        """The one to be put back for others that wait for memory, if an owner takes more than his part of it
        with several."""
        if not begun or _bytes(begun) < self.bytes_max:
            return None
        for owner in {long.owner for long in begun}:
            own = [long for long in begun if long.owner == owner]
            if len(own) > 1 and _bytes(own) >= self._bytes_owner_max and set(waiting) - {owner}:
                return min(own, key=lambda long: long.fuel)
        return None

    def _make_room(self, begun: Sequence[LongMessage], waiting: Collection[str | None]) -> None:
        """Put one back if somebody who waits has the better claim to a place, or to memory."""
        if excess := self._excess(begun, waiting):
            self._put_back(excess)
        elif set(waiting) - {long.owner for long in begun}:
            had_theirs = [long for long in begun if long.seconds >= long.time_s]
            if had_theirs:
                longest = max(had_theirs, key=lambda long: long.seconds)
                longest.time_s *= 2
                self._put_back(longest)

    def _put_back(self, long: LongMessage) -> None:
        """Give up what it has done; it waits for a place again. (Its process is as before the message.)"""
        assert long.sliced is not None
        long.sliced.close()
        long.sliced, long.bytes, long.seconds = None, 0, 0.0
        self._begun -= 1
        self.messages[long.turn.process_id] = self.messages.pop(long.turn.process_id)

    def step(self, long: LongMessage, deadline: float) -> Outcome | None:
        """Continue a long message until the deadline. Returns the outcome, once it is there."""
        process_id, started = long.turn.process_id, self._clock()
        if long.sliced is None:
            long.sliced = long.instance.start(long.given.message, long.env)
            self._begun += 1
        outcome = long.sliced.step()
        while outcome is None and self._clock() < deadline:
            outcome = long.sliced.step()
        long.seconds += self._clock() - started
        self.messages[process_id] = self.messages.pop(process_id)  # to the back
        if outcome is None:
            long.bytes = long.instance.held() + long.sliced.held()
        else:
            self.end(process_id)
        return outcome

    def end(self, process_id: str) -> None:
        """Give up the long message of a process, if it has one here."""
        long = self.messages.pop(process_id, None)
        if long is not None and long.sliced is not None:
            self._begun -= 1
            long.sliced.close()


def _bytes(messages: Sequence[LongMessage]) -> int:
    return sum(long.bytes for long in messages)
