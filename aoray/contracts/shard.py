"""What is said to a shard, and what a shard says; and the typed way to call one."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from aoray import limits
from aoray.cluster.calls import Call
from aoray.cluster.names import shard_actor, shard_of
from aoray.contracts.actor import ActorCaller
from aoray.errors import AorayError, ProcessStopped
from aoray.protocol.assignments import LogEntry
from aoray.protocol.signed import ANS104


class Submission(NamedTuple):
    """An item that a gateway or a process actor submits for scheduling: verified, with the process it is
    for.

    For an `assignment` the item is that of the assigned message, whose own target may be another process.
    """

    kind: Literal["process", "message", "assignment"]
    process_id: str
    message_id: str
    item: bytes
    exclude: tuple[str, ...] = ()
    gateway: str = ""  # whom the process actor tells the result unasked
    envelope: str = ANS104  # of the item


def fairness_key(submission: Submission) -> str:
    """Return the key under which a submission takes its turn in a queue: its process; all spawns share
    one key."""
    return "" if submission.kind == "process" else submission.process_id


class Receipt(NamedTuple):
    """The answer to a submission: the place that the message has in the log of its process, forever."""

    process_id: str
    message_id: str
    assignment_id: str
    nonce: int
    timestamp: int
    actor: str  # the process actor that holds the process
    is_new: bool  # ordered by this very submission, so its gateway is told the result


def stopped_error(process_id: str) -> ProcessStopped:
    """Return the error for a process that the operator stopped."""
    return ProcessStopped(
        f"the operator of this computer stopped process {process_id}",
        hint="What waits goes on when it is resumed.",
        process_id=process_id,
        retry_after_s=limits.STOPPED_RETRY_AFTER_S,
    )


class Work(NamedTuple):
    """An entry to be evaluated by the process actor that holds this term of the process."""

    term: int
    entry: LogEntry
    gateway: str = ""  # to be told the result


class ShardCaller(ActorCaller):
    """Calls of one shard."""

    def __init__(self, call: Call, index: int) -> None:
        super().__init__(call, shard_actor(index))

    async def submit(self, submissions: list[Submission]) -> list[Receipt | AorayError]:
        """Order submissions, those of one process as they come; each is answered once it is durable."""
        found: list[Receipt | AorayError] = await self._call(self.name, "submit", submissions)
        return found

    async def locate(self, process_ids: list[str]) -> list[str | AorayError]:
        """Return the actor that holds each process, placed if need be."""
        found: list[str | AorayError] = await self._call(self.name, "locate", process_ids)
        return found

    async def monitor(self, process_id: str, order: str) -> None:
        """Start the crons of a process; `order` is the id of the item by which its owner asks for it."""
        await self._call(self.name, "monitor", process_id, order)

    async def unmonitor(self, process_id: str, order: str) -> None:
        """Stop the crons of a process, by such an order."""
        await self._call(self.name, "unmonitor", process_id, order)

    async def monitored(self, process_id: str) -> dict[str, Any]:
        """Return the crons of a process, and whether they run."""
        found: dict[str, Any] = await self._call(self.name, "monitored", process_id)
        return found

    async def decide(self, raw: bytes) -> dict[str, Any]:
        """Keep the operator's signed decision about a process, and act on it."""
        found: dict[str, Any] = await self._call(self.name, "decide", raw)
        return found

    async def decided(self, process_id: str) -> dict[str, Any]:
        """Return the last decision about a process."""
        found: dict[str, Any] = await self._call(self.name, "decided", process_id)
        return found

    async def stopped(self) -> list[str]:
        """Return the processes that the operator stopped."""
        found: list[str] = await self._call(self.name, "stopped")
        return found

    async def publish(self, items: list[bytes]) -> None:
        """Store signed data items that are to go to Arweave; on return they are on disk."""
        await self._call(self.name, "publish", items)

    async def flush(self) -> None:
        """Bring all that is in the log by now to Arweave."""
        await self._call(self.name, "flush")


class Shards(list[ShardCaller]):
    """The shards of a computer, by their index."""

    def __init__(self, call: Call, count: int) -> None:
        super().__init__(ShardCaller(call, index) for index in range(count))

    def of(self, process_id: str) -> ShardCaller:
        """Return the shard that owns a process."""
        return self[shard_of(process_id, len(self))]
