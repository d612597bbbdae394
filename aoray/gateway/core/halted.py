"""Processes that can't go on: those that are stopped, since their results differ when they are evaluated
again, and those that wait for the machine.

A gateway looks into the store now and then which ones are stopped, so that requests about them are answered
at once (`Diverged`, 409) in place of waiting for what does not come. What waits for the machine is asked of
the process actors, by who wants to know it: `/status`, and whoever is answered 202.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aoray import limits
from aoray.cluster.calls import Call
from aoray.contracts.process_actor import ProcessActorCaller
from aoray.errors import AorayError, Diverged, InfrastructureError
from aoray.gateway.core.locations import ProcessLocations
from aoray.gateway.core.store_executor import StoreExecutor
from aoray.protocol.attestations import result_hash
from aoray.storage.records import Divergence

logger = logging.getLogger(__name__)

Shown = dict[str, dict[str, Any]]


class Divergences(Protocol):
    """The results store, as far as divergences are read from it."""

    def diverged(self) -> dict[str, Divergence]:
        """Return the processes whose second evaluation differed from what is stored, by process id."""


class Halted:
    """What a gateway knows about processes that are stopped or wait."""

    def __init__(
        self, results: Divergences, store_executor: StoreExecutor, call: Call, locations: ProcessLocations
    ) -> None:
        self._results = results
        self._store_executor = store_executor
        self._call = call
        self._locations = locations
        self.diverged: Mapping[str, Divergence] = {}

    def __len__(self) -> int:
        return len(self.diverged)

    async def look_forever(self) -> None:
        """Keep up with which processes are stopped, a moment late."""
        while True:
            try:
                await self.look()
            except InfrastructureError as error:
                logger.info("which processes are stopped is not known just now: %s", error)
            await asyncio.sleep(limits.HALTED_WATCH_SECONDS)

    async def look(self) -> None:
        """Read which processes are stopped now."""
        self.diverged = await self._store_executor(self._results.diverged)

    def check(self, process_id: str) -> None:
        """Refuse a process that is stopped. Raises `Diverged`."""
        found = self.diverged.get(process_id)
        if found is not None:
            raise Diverged(
                found.sentence,
                hint="An operator has to look at it: `aoray status`, docs/engines.md. Its log is unchanged.",
                process_id=process_id,
                nonce=found.nonce,
            )

    def shown(self) -> Shown:
        """Return the processes that are stopped, in the form that people read."""
        return {process_id: _as_json(found) for process_id, found in self.diverged.items()}

    async def waits(self, process_id: str) -> dict[str, Any] | None:
        """Return what a process waits for, if this machine keeps it from continuing."""
        try:
            async with asyncio.timeout(limits.STATS_SECONDS_MAX):
                actor = await self._locations.actor(process_id)
                found = await ProcessActorCaller(self._call, actor).standing([process_id])
        except (TimeoutError, AorayError):  # it is not known, then
            return None
        return found.get(process_id)

    async def waiting(self, actors: Sequence[str]) -> Shown:
        """Return which processes of these actors wait for the machine, as far as the actors answer."""

        async def asked(name: str) -> Shown:
            try:
                async with asyncio.timeout(limits.STATS_SECONDS_MAX):
                    return await ProcessActorCaller(self._call, name).standing()
            except (TimeoutError, AorayError):
                return {}

        found: Shown = {}
        for each in await asyncio.gather(*map(asked, actors)):
            found |= each
        return found


def _as_json(found: Divergence) -> dict[str, Any]:
    return {
        "nonce": found.nonce,
        "stored": result_hash(found.stored),
        "evaluated": result_hash(found.evaluated),
        "since": found.since_ms,
    }
