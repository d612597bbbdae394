"""Actors that stand for those of a computer: they write down what they are told, answer without WASM, or can
not begin."""

from __future__ import annotations

import os
from typing import Any

import orjson
import ray

from aoray.cluster import nodes
from aoray.contracts.shard import Work
from aoray.errors import Unavailable
from aoray.protocol.ans104.items import parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.tags import first
from aoray.scheduler.shard import ShardActor
from aoray.settings import Settings
from aoray.storage.records import ResultRow
from aoray.storage.results import Results


class RecordingActor:
    """Answers a shard's calls as `ProcessActor` does, and only writes them down."""

    def __init__(self, *_: Any) -> None:
        self.calls: list[tuple[str, list[Any]]] = []
        self.incarnation = os.getpid()

    async def ready(self) -> dict[str, Any]:
        return {"incarnation": self.incarnation}

    async def activate(self, terms: list[tuple[str, int]]) -> None:
        self.calls.append(("activate", terms))

    async def assign(self, works: list[Work]) -> None:
        self.calls.append(("assign", works))

    def told(self, method: str) -> list[Any]:
        """All that the calls of this method said."""
        return [each for called, batch in self.calls if called == method for each in batch]


class RecordedShard(ShardActor):
    """A shard whose processes' own actors are recording ones."""

    process_actor_class = RecordingActor


class AnsweringActor(RecordingActor):
    """Answers gateways too: each result echoes the data, and `to:<id>` is sent on."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._results = Results(settings.data / "results.sqlite")
        self._watched: dict[tuple[str, str], str] = {}

    async def assign(self, works: list[Work]) -> None:
        rows = [row_of(work.entry) for work in works]
        self._results.commit({}, rows)
        unpushed = [(row.process_id, row.nonce) for row in rows if not row.pushed]
        if unpushed:
            await ray.get_actor("gateway-0").push.remote(unpushed)
        await self._deliver([(row.process_id, row.message_id) for row in rows])

    async def watch(self, keys: list[tuple[str, str]], gateway: str) -> None:
        self._watched |= dict.fromkeys(keys, gateway)
        await self._deliver(keys)

    async def _deliver(self, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            row = self._results.get(*key)
            if row is not None and key in self._watched:
                await ray.get_actor(self._watched.pop(key)).deliver.remote([(*key, row.result)])


def row_of(entry: LogEntry) -> ResultRow:
    item = parse(entry.item)
    text = item.data.decode()
    tags = [{"name": "Action", "value": "Sent"}]
    messages = [{"Target": text[3:], "Data": "echo", "Tags": tags}] if text.startswith("to:") else []
    result = {"Messages": messages, "Assignments": [], "Spawns": [], "Output": text, "GasUsed": 0}
    return ResultRow(
        *(entry.process_id, entry.nonce, entry.message_id, entry.assignment_id, entry.timestamp, 0),
        result=orjson.dumps(result),
        has_error=False,
        pushed_for=first(item.tags, "Pushed-For", entry.message_id),
        pushed=not messages,
    )


class FragileActor:
    """Stands for any actor of a computer: a file `away` in its data directory is a store that is away."""

    def __init__(self, settings: Settings, argument: Any) -> None:
        if (settings.data / "away").exists():
            raise Unavailable("the store is away")

    async def ready(self) -> dict[str, Any]:
        return nodes.actor_identity()

    async def die(self) -> None:
        os._exit(1)
