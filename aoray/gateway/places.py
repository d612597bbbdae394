"""Which actor holds a process: what its shard said last, remembered by this gateway."""

from __future__ import annotations

from typing import Any

from aoray import limits
from aoray.bounded import Bounded
from aoray.calls import Call
from aoray.errors import AorayError
from aoray.scheduler.reader import shard_of


class Places:
    """Which actor holds a process: what was last heard, or what its shard says."""

    def __init__(self, shards: int, call: Call) -> None:
        self._shards = shards
        self._call = call
        self._known: Bounded[str, str] = Bounded(limits.PROCESSES_KNOWN_MAX)

    def heard(self, process_id: str, actor: str) -> None:
        self._known[process_id] = actor

    def known(self, process_id: str) -> str:
        """What was last heard; "" if nothing was."""
        return self._known.get(process_id) or ""

    async def actor(self, process_id: str, *, afresh: bool = False) -> str:
        known = self._known.get(process_id)
        if known is not None and not afresh:
            return known
        [found] = await self.at_shard(process_id, "locate", [process_id])
        if isinstance(found, AorayError):
            raise found
        self._known[process_id] = found
        return str(found)

    async def at_shard(self, process_id: str, method: str, *arguments: Any) -> Any:
        """Call the shard that owns a process, once."""
        return await self._call(f"shard-{shard_of(process_id, self._shards)}", method, *arguments)
