"""An actor in the place of a process actor: each result echoes the data, and `to:<id>` is sent on."""

from __future__ import annotations

import os
from typing import Any

import orjson
import ray

from aoray.contracts.shard import Work
from aoray.protocol.ans104.items import parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.tags import first
from aoray.settings import Settings
from aoray.storage.records import ResultRow
from aoray.storage.results import Results


class AnsweringActor:
    """Answers gateways and shards as `ProcessActor` does, without WASM."""

    def __init__(self, settings: Settings) -> None:
        self._results = Results(settings.data / "results.sqlite")
        self._watched: dict[tuple[str, str], str] = {}

    async def ready(self) -> dict[str, Any]:
        return {"incarnation": os.getpid()}

    async def activate(self, terms: list[tuple[str, int]]) -> None:
        pass

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
