"""Which actor holds a process: what its shard said last, remembered by this gateway."""

from __future__ import annotations

from aoray import limits
from aoray.calls import Call
from aoray.errors import AorayError
from aoray.gateway.bounded import Bounded
from aoray.scheduler.reader import shard_of


class Places:
    """Which actor holds a process: what was last heard, or what its shard says."""

    def __init__(self, shards: int, call: Call) -> None:
        self._shards = shards
        self._call = call
        self._known: Bounded[str, str] = Bounded(limits.PROCESSES_KNOWN_MAX)

    def heard(self, process_id: str, actor: str) -> None:
        self._known[process_id] = actor

    async def actor(self, process_id: str, *, afresh: bool = False) -> str:
        known = self._known.get(process_id)
        if known is not None and not afresh:
            return known
        shard = f"shard-{shard_of(process_id, self._shards)}"
        [found] = await self._call(shard, "locate", [process_id])
        if isinstance(found, AorayError):
            raise found
        self._known[process_id] = found
        return str(found)
