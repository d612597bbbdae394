"""When a checkpoint is worth its cost, and which idle processes are let go. Pure: clocks are the caller's.

A checkpoint is due when replaying what came since the last one would take CHECKPOINT_COSTS times as long as
the checkpoint itself: so checkpoints take a fiftieth of the evaluating thread at most, and a replay is
bounded by fifty checkpoints' time (or one message's, if that takes longer). What a checkpoint takes follows
from how much has changed. Whatever changed is kept when a process is let go.

A checkpoint of a large state holds only what changed since the one before, as long as the chain of them is no
longer to read than twice a whole one.

`Residency` knows since when each process has had nothing to do, and the bytes of memory that each takes. The
bounds on both are soft: a process that has work is never let go, so there can be more than the bound while
more have work; one that alone takes more than the bound goes when its work is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aoray import limits
from aoray.storage.checkpoints import Chain


@dataclass(slots=True)
class CheckpointCost:
    """What was evaluated since the last checkpoint, and what a checkpoint of this process costs."""

    seconds: float = 0.0  # of all messages since then; replayed ones too, they would be replayed again
    cost_seconds: float = limits.CHECKPOINT_SECONDS_GUESS

    def checkpointed(self, cost_seconds: float) -> None:
        """Start counting again after a checkpoint, and learn what it cost."""
        self.seconds = 0.0
        self.cost_seconds = (self.cost_seconds + cost_seconds) / 2

    @property
    def is_due(self) -> bool:
        """Whether a replay of what was evaluated since the last checkpoint costs more than a new one."""
        return self.seconds >= limits.CHECKPOINT_COSTS * self.cost_seconds


def chains(chain: Chain | None, whole_bytes: int, changed_bytes: int) -> bool:
    """Return whether a checkpoint should hold only what changed since the one before."""
    return (
        chain is not None
        and whole_bytes > limits.CHECKPOINT_WHOLE_BYTES
        and chain.files < limits.CHECKPOINT_CHAIN_FILES_MAX
        and chain.later_bytes + changed_bytes <= chain.whole_bytes
    )


class Residency:
    """The processes that are in memory, the longest unused first, and the bytes they take."""

    def __init__(self, *, processes_max: int, idle_seconds_max: float, bytes_max: int) -> None:
        self._processes_max, self._idle_seconds_max = processes_max, idle_seconds_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self.evicted_total = 0  # for their bytes alone
        self._used: dict[str, float] = {}
        self._bytes_of: dict[str, int] = {}

    def used(self, process_id: str, now: float) -> None:
        """Note that a process is in memory, and had something to do just now."""
        self._used.pop(process_id, None)
        self._used[process_id] = now

    def weighs(self, process_id: str, size: int) -> None:
        """Note the bytes that a process takes in memory."""
        self.bytes += size - self._bytes_of.get(process_id, 0)
        self._bytes_of[process_id] = size

    def gone(self, process_id: str) -> None:
        """Note that a process is no longer in memory."""
        self._used.pop(process_id, None)
        self.bytes -= self._bytes_of.pop(process_id, 0)

    def leaving(self, now: float, is_idle: Callable[[str], bool]) -> list[str]:
        """Return the idle processes that should leave memory now: all that are too many or take too much,
        or one of those unused for long (each takes a checkpoint, and messages wait meanwhile; ask again)."""
        leaving: list[str] = []
        surplus = max(len(self._used) - self._processes_max, 0)
        over = self.bytes - self.bytes_max
        for process_id, since in self._used.items():
            counted = len(leaving) >= max(surplus, 1) or (
                not surplus and now - since < self._idle_seconds_max
            )
            if counted and over <= 0:
                break
            if is_idle(process_id):
                leaving.append(process_id)
                over -= self._bytes_of.get(process_id, 0)
                self.evicted_total += counted
        return leaving
