"""Which actor holds a process: what its shard said last, remembered by this gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aoray import limits
from aoray.cluster.calls import Call
from aoray.contracts.process_actor import ProcessActorCaller
from aoray.contracts.shard import Shards
from aoray.errors import AorayError, Unavailable
from aoray.util.batcher import patiently
from aoray.util.bounded_dict import BoundedDict

AnswerT = TypeVar("AnswerT")


class ProcessLocations:
    """The actors that hold processes: what was last heard, or what the shard says."""

    def __init__(self, shards: int, call: Call) -> None:
        self.shards = Shards(call, shards)
        self._call = call
        self._known: BoundedDict[str, str] = BoundedDict(limits.PROCESSES_KNOWN_MAX)
        self.get = self._known.get  # the actor that was last heard of

    def set(self, process_id: str, actor: str) -> None:
        """Note the actor that now holds a process."""
        self._known[process_id] = actor

    async def actor(self, process_id: str, *, refresh: bool = False) -> str:
        """Return the name of the actor that holds a process; with `refresh`, ask its shard even if one is
        known. Raises `UnknownProcess`, and `Unavailable` while the process is being placed."""
        known = self._known.get(process_id)
        if known is not None and not refresh:
            return known
        [found] = await self.shards.of(process_id).locate([process_id])
        if isinstance(found, AorayError):
            raise found
        self._known[process_id] = found
        return found

    async def at_actor(
        self, process_id: str, ask: Callable[[ProcessActorCaller], Awaitable[AnswerT]]
    ) -> AnswerT:
        """Ask the actor that holds a process, wherever it moves meanwhile. For calls that change nothing."""
        refresh = False

        async def attempt() -> AnswerT:
            nonlocal refresh
            actor = await self.actor(process_id, refresh=refresh)
            refresh = True
            return await ask(ProcessActorCaller(self._call, actor))

        try:
            async with asyncio.timeout(limits.RESULT_WAIT_MS_MAX / 1000):
                return await patiently(attempt, limits.RETRY_SECONDS_MAX)
        except TimeoutError as error:
            raise Unavailable(
                f"process {process_id} has not caught up with its log yet",
                process_id=process_id,
                hint="Try again.",
            ) from error
