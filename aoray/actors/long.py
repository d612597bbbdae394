"""The messages that take long: evaluated in slices, while the other processes of the actor go on.

A message that needs more than FUEL_AT_ONCE comes here, and its process waits for it (`Machine.long`). In
every turn of the evaluating loop one of them gets a slice of SLICE_SECONDS: every second time the one that
has spent least, so that what is soon done is soon done however many endless ones there are; else the one
whose last slice is longest ago, so that each of them goes on. Whatever order the slices come in, results and
fuel are the same.

At most LONG_MESSAGES_MAX of one actor are begun, and no more once they take as much memory as all processes
of the actor may. Others wait for a place.
For the evaluating thread, but for `progress` and the counts.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aoray import limits
from aoray.actors.machine import Turn
from aoray.actors.messages import Given
from aoray.wasm import Instance, Outcome, Sliced


@dataclass(slots=True)
class LongMessage:
    """One of them: the only entry of its turn."""

    turn: Turn
    given: Given
    instance: Instance
    env: bytes
    sliced: Sliced | None = None  # once it has begun
    seconds: float = 0.0  # of evaluation
    bytes: int = 0  # of memory that its process takes meanwhile

    @property
    def fuel(self) -> int:
        """What it has spent."""
        return self.sliced.fuel if self.sliced else 0


class LongMessages:
    """Those of one actor, by process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._messages: dict[str, LongMessage] = {}  # the one whose slice is longest ago stands first
        self.bytes_max: float = math.inf
        self._begun = 0
        self._least_spent = itertools.cycle((True, False))

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, process_id: str) -> bool:
        return process_id in self._messages

    @property
    def waiting(self) -> int:
        """Those that have not begun."""
        return len(self._messages) - self._begun

    def progress(self, process_id: str) -> dict[str, Any] | None:
        """How far the message of this process is, for people."""
        long = self._messages.get(process_id)
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
        """One more; a process has one at most."""
        self._messages[long.turn.process_id] = long

    def next(self) -> LongMessage | None:
        """The one whose slice is next."""
        full = self._begun >= limits.LONG_MESSAGES_MAX or (
            self._begun > 0 and sum(long.bytes for long in self._messages.values()) >= self.bytes_max
        )
        ready = [long for long in self._messages.values() if long.sliced or not full]
        if not ready:
            return None
        return min(ready, key=lambda long: long.fuel) if next(self._least_spent) else ready[0]

    def step(self, long: LongMessage, deadline: float) -> Outcome | None:
        """Go on with it until the deadline; the outcome, once it is there."""
        process_id, started = long.turn.process_id, self._clock()
        if long.sliced is None:
            long.sliced = long.instance.start(long.given.message, long.env)
            self._begun += 1
        answer = long.sliced.step()
        while answer is None and self._clock() < deadline:
            answer = long.sliced.step()
        long.seconds += self._clock() - started
        self._messages[process_id] = self._messages.pop(process_id)  # to the back
        if answer is None:
            long.bytes = long.instance.held() + long.instance.held_beside(long.sliced)
            return None
        del self._messages[process_id]
        self._begun -= 1
        return long.instance.finish(long.sliced, answer)

    def end(self, process_id: str) -> None:
        """Give up the message of a process, if it has one here."""
        long = self._messages.pop(process_id, None)
        if long is not None and long.sliced is not None:
            self._begun -= 1
            long.sliced.close()
