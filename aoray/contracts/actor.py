"""What every actor answers, and how actors call each other: typed callers over `Call`.

A caller has a method for each call that others make of an actor, of the same name, with the same parameters
and the same answer as the actor's own (`tests/unit/contracts/test_callers.py` holds them together). It raises
what the actor raises, and `Unavailable` while the actor is away; whether the actor carried out a call that
failed so is not known.
"""

from __future__ import annotations

from typing import Any

from aoray.cluster.calls import Call
from aoray.util.metrics import Snapshot


class ActorCaller:
    """Calls of one actor, which is named by `cluster.names`."""

    def __init__(self, call: Call, name: str) -> None:
        self.name = name
        self._call = call

    async def ready(self) -> dict[str, Any]:
        """Return the OS process and node of the actor, once it accepts work. Raises what keeps it from
        that."""
        found: dict[str, Any] = await self._call(self.name, "ready")
        return found

    async def stats(self) -> dict[str, Any]:
        """Return the actor's counters, for people and metrics."""
        found: dict[str, Any] = await self._call(self.name, "stats")
        return found

    async def stages(self) -> list[Snapshot]:
        """Return the snapshots of the actor's stages."""
        found: list[Snapshot] = await self._call(self.name, "stages")
        return found
