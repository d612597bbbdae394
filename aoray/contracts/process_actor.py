"""What is said to a process actor, and what it says; and the typed way to call one."""

from __future__ import annotations

from typing import Any

from aoray.contracts.actor import ActorCaller
from aoray.contracts.shard import Work

MessageKey = tuple[str, str]  # process id, and the id of a message or a nonce
Standing = dict[str, dict[str, Any]]  # by process id: what it waits for


class ProcessActorCaller(ActorCaller):
    """Calls of the actor that holds a process."""

    async def assign(self, works: list[Work]) -> None:
        """Hand over entries to evaluate, of each process in the order of nonces."""
        await self._call(self.name, "assign", works)

    async def activate(self, terms: list[tuple[str, int]]) -> None:
        """Let the actor look after these processes, in these terms: their logs may hold what it was not
        told."""
        await self._call(self.name, "activate", terms)

    async def watch(self, keys: list[MessageKey], gateway: str) -> None:
        """Let the actor deliver results to this gateway, once they are there."""
        await self._call(self.name, "watch", keys, gateway)

    async def standing(self, process_ids: list[str] | None = None) -> Standing:
        """Return which of these processes (or of all) wait for their machine, for what, and how long."""
        found: Standing = await self._call(self.name, "standing", process_ids)
        return found

    async def dry_run(self, process_id: str, message: dict[str, Any], ticket: str = "") -> dict[str, Any]:
        """Return the result of a message on the present state of a process, of which nothing stays."""
        found: dict[str, Any] = await self._call(self.name, "dry_run", process_id, message, ticket)
        return found

    async def drop_dry_run(self, ticket: str) -> None:
        """Say that nobody waits for the dry run of this ticket any more."""
        await self._call(self.name, "drop_dry_run", ticket)

    async def progress(self, process_id: str) -> dict[str, Any] | None:
        """Return how far the message is that a process evaluates in slices; None if there is none."""
        found: dict[str, Any] | None = await self._call(self.name, "progress", process_id)
        return found

    async def memory(self, process_id: str) -> tuple[bytes, int, int, int]:
        """Return the memory of a process, with the nonce, timestamp (ms) and block height of its last
        message."""
        found: tuple[bytes, int, int, int] = await self._call(self.name, "memory", process_id)
        return found
