"""What of a process actor's processes can't go on, and why: those that wait for this machine, with the fault
that they wait for, and those that are stopped since their results differ.

A fault of the machine (memory, disk, compiler, gateway, log) never becomes a result: the process waits, and
is tried again. Here people see which ones, by the actor's `standing`: in `/status`, in the answer 202 of who
waits for a result, and as counts in `/health` and `/metrics`. Pure, for one event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aoray import limits
from aoray.errors import AorayError


class Wait(NamedTuple):
    """A process that waits: since when, how often it was tried in vain, and the last fault."""

    since_s: float
    attempts: int
    reason: str


class Standing:
    """The waits of one actor, the one whose last attempt is longest ago first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.waits: dict[str, Wait] = {}

    def __len__(self) -> int:
        return len(self.waits)

    def failed(self, process_id: str, error: BaseException) -> None:
        """Note that a process was tried in vain once more."""
        before = self.waits.pop(process_id, None)
        since_s = before.since_s if before else self._clock()
        attempts = before.attempts + 1 if before else 1
        self.waits[process_id] = Wait(since_s, attempts, reason_of(error))
        while len(self.waits) > limits.PROCESSES_KNOWN_MAX:
            del self.waits[next(iter(self.waits))]

    def recovered(self, process_id: str) -> None:
        """Note that a process continues, or is another actor's."""
        self.waits.pop(process_id, None)

    def shown(self, process_ids: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the waits of these processes; without any named, the longest waits, as many as are shown."""
        if process_ids is None:
            chosen = sorted(self.waits.items(), key=lambda each: each[1].since_s)[: limits.WAITING_SHOWN_MAX]
        else:
            chosen = [(each, self.waits[each]) for each in process_ids if each in self.waits]
        return {process_id: self._as_json(wait) for process_id, wait in chosen}

    def _as_json(self, wait: Wait) -> dict[str, Any]:
        seconds = round(self._clock() - wait.since_s, 1)
        return {"reason": wait.reason, "seconds": seconds, "attempts": wait.attempts}


def reason_of(error: BaseException) -> str:
    """Return a fault in one line."""
    text = error.message if isinstance(error, AorayError) else f"{type(error).__name__}: {error}"
    return text[: limits.WAITING_REASON_CHARACTERS_MAX]
