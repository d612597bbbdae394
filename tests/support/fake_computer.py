"""A computer without Ray: real applications, log and results; shards and actors as plain objects."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
from fake_arweave import MODULE, FakeArweave

from aoray.arweave.uploaders import EmbeddedUploader
from aoray.contracts.shard import Submission, Work
from aoray.errors import AorayError
from aoray.execution.guest_input import to_guest_message
from aoray.gateway.gateway import Gateway
from aoray.gateway.observability.status import FIGURES
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.assignments import LogEntry
from aoray.protocol.cron import Moment
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.scheduler.committer import Committer
from aoray.scheduler.cron import Ticker
from aoray.scheduler.flusher import Flusher
from aoray.scheduler.placement import Placement
from aoray.settings import Settings
from aoray.storage.factory import open_readers
from aoray.storage.key_files import load_key
from aoray.storage.log import SqliteLog
from aoray.storage.records import ResultRow
from aoray.storage.results import Results
from aoray.storage.sqlite_store import log_path

AO = (Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"))
NOWHERE = b64url_encode(b"n" * 32)  # the id of no process
EMPTY = {"Messages": [], "Assignments": [], "Spawns": [], "Output": "ok", "GasUsed": 0}


class Computer:
    """Shards commit for real; an "actor" evaluates with `evaluate` once it is `release`d, or at once."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.settings = Settings(data=data, actors_per_node=1, **settings)
        self.signer: Signer = load_key(self.settings, "scheduler")
        self.user = generate_ed25519()
        self.results = Results(data / "results.sqlite")
        self.arweave = FakeArweave()
        self.calls: Counter[str] = Counter()
        self.failures: dict[str, list[AorayError]] = {}  # by method: raised by its next calls
        self.held: list[LogEntry] | None = None  # entries that wait for `release`
        self.long: dict[str, dict[str, Any]] = {}  # what the actor says of long messages, by process
        self.watched: set[tuple[str, str]] = set()
        self.waits: dict[str, dict[str, Any]] = {}  # for the machine
        self.evaluate: Callable[[LogEntry], dict[str, Any]] = lambda entry: EMPTY
        self.now_ms = time.time_ns() // 1_000_000
        self._committer = Committer(
            lambda: SqliteLog(log_path(self.settings, 0)), Placement(1), self.signer, self.results.last_nonces
        )
        self._ticker = Ticker(self._committer, self.signer, self.now_ms)
        self.gateway = self.new_gateway()

    def new_gateway(self) -> Gateway:
        return Gateway(
            self.settings,
            0,
            call=self.call,
            reader=open_readers(self.settings),
            results=self.results,
            arweave=self.arweave,
            sleep=self.sleep,
        )

    async def sleep(self, _: float) -> None:
        await asyncio.sleep(0)

    async def _stages(self, _name: str = "") -> list[object]:
        return []

    async def call(self, actor: str, method: str, *arguments: Any) -> Any:
        self.calls[method] += 1
        self._called = actor
        if self.failures.get(method):
            raise self.failures[method].pop(0)
        return await getattr(self, f"_{method}")(*arguments)

    async def _ready(self) -> dict[str, Any]:
        return {"waiting": len(self.waits)}

    async def _standing(self, process_ids: list[str] | None = None) -> dict[str, dict[str, Any]]:
        here = [key for key in self.waits if self.gateway.locations.get(key) == self._called]
        return {key: self.waits[key] for key in here if process_ids is None or key in process_ids}

    async def _stats(self) -> dict[str, Any]:
        """Of the shard, whose flusher has not begun; and of the actor."""
        flusher = Flusher(None, EmbeddedUploader(None, self.signer))  # type: ignore[arg-type]
        arweave = flusher.stats(self._committer.log.uploads.backlog())
        arweave |= {"height": 42, "height_error": ""}
        counts = {"actor": "process-actor-0", **dict.fromkeys(FIGURES, 0)}
        lanes = {self.gateway.locations.get(process_id): {} for process_id in self.waits}
        return {"arweave": arweave, "cron": self._ticker.stats(), "lanes": lanes, **counts}

    async def _submit(self, batch: list[Submission]) -> list[Any]:
        self.now_ms += 1000
        committed = self._committer.commit(batch, now_ms=self.now_ms, block_height=7)
        for works in committed.work.values():
            self._assign(works)
        return committed.outcomes

    async def _locate(self, process_ids: list[str]) -> list[Any]:
        return self._committer.locate(process_ids)[0]

    async def _monitor(self, process_id: str, order: str = "order") -> None:
        self._ticker.monitor(process_id, Moment(self.now_ms, 7), order)

    async def _unmonitor(self, process_id: str, order: str) -> None:
        self._ticker.unmonitor(process_id, order)

    async def _monitored(self, process_id: str) -> dict[str, Any]:
        return self._ticker.describe(process_id)

    async def _decided(self, process_id: str) -> dict[str, Any]:
        return {"process": process_id, "stopped": False}

    def tick(self, later_ms: int) -> None:
        """What is due so much later is scheduled."""
        self.now_ms += later_ms
        for works in self._ticker.run_due(Moment(self.now_ms, 7)).committed.work.values():
            self._assign(works)

    async def _watch(self, keys: list[tuple[str, str]], gateway: str) -> None:
        assert gateway == "gateway-0"
        self.watched.update(keys)
        self._deliver()

    async def _dry_run(self, process_id: str, message: dict[str, Any], ticket: str) -> dict[str, Any]:
        return EMPTY | {"Output": message.get("Data")}

    async def _progress(self, process_id: str) -> dict[str, Any] | None:
        return self.long.get(process_id)

    async def _memory(self, process_id: str) -> tuple[bytes, int, int, int]:
        return b"memory", 3, 1700000000000, 7

    def _assign(self, works: Sequence[Work]) -> None:
        entries = [work.entry for work in works]
        if self.held is not None:
            self.held += entries
        else:
            self.finish(entries)

    def release(self) -> None:
        held, self.held = self.held or [], None
        self.finish(held)

    def finish(self, entries: Sequence[LogEntry]) -> None:
        rows = [self._row(entry) for entry in entries]
        self.results.commit({row.process_id: 1 for row in rows}, rows)
        self._deliver()
        self.gateway.pusher.push([(row.process_id, row.nonce) for row in rows if not row.pushed])

    def _row(self, entry: LogEntry) -> ResultRow:
        result = self.evaluate(entry)
        return ResultRow(
            entry.process_id,
            entry.nonce,
            entry.message_id,
            entry.assignment_id,
            entry.timestamp,
            7,
            orjson.dumps(result),
            "Error" in result,
            to_guest_message(entry, self.gateway.addresses.authority).pushed_for,
            not (result["Messages"] or result["Spawns"] or result["Assignments"]),
        )

    def _deliver(self) -> None:
        for key in list(self.watched):
            row = self.results.find(*key)
            if row is not None:
                self.watched.discard(key)
                self.gateway.pending_results.deliver([(*key, row.result)])

    def http(self, app: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ao", timeout=30)

    def process_item(self, *tags: Tag, target: str = "") -> DataItem:
        named = [*AO, Tag("Type", "Process"), Tag("Module", MODULE), *tags]
        if not any(tag.name == "Scheduler" for tag in tags):
            named.append(Tag("Scheduler", self.signer.address))
        return build(self.user, target=target, tags=named, data=b"boot")

    def message_item(self, process_id: str, *tags: Tag, data: bytes = b"hello") -> DataItem:
        return build(self.user, target=process_id, tags=[*tags, *AO, Tag("Type", "Message")], data=data)

    async def spawn(self, *tags: Tag) -> str:
        return (await self.gateway.ingress.take(self.process_item(*tags).raw)).process_id

    async def send(self, process_id: str, *tags: Tag, data: bytes = b"hello") -> str:
        raw = self.message_item(process_id, *tags, data=data).raw
        return (await self.gateway.ingress.take(raw)).message_id
