"""An actor that stands for a process actor: it only writes down what it is told; a shard of such."""

from __future__ import annotations

import os
from typing import Any

from aoray.contracts.shard import Work
from aoray.scheduler.shard import ShardActor


class RecordingActor:
    """Answers the shard's calls as `ProcessActor` does."""

    def __init__(self, *_: Any) -> None:
        self._works: list[Work] = []
        self._active: dict[str, int] = {}

    async def assign(self, works: list[Work]) -> None:
        self._works += works

    async def activate(self, terms: list[tuple[str, int]]) -> None:
        self._active |= dict(terms)

    async def ready(self) -> dict[str, Any]:
        return {"incarnation": os.getpid()}

    async def told(self) -> tuple[list[Work], dict[str, int]]:
        return self._works, self._active


class RecordedShard(ShardActor):
    """A shard whose processes' own actors are recording ones."""

    process_actor_class = RecordingActor
