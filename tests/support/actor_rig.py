"""What the process actor's tests share: a guest that echoes, a log, a gateway that listens."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import wasmtime
from fake_arweave import FakeArweave
from ordering import SCHEDULER, assign, committer, message, spawn
from polling import until

from aoray.actors.dependencies import Dependencies
from aoray.actors.process_actor import ProcessActor
from aoray.contracts.shard import Receipt, Submission, Work
from aoray.errors import Unavailable
from aoray.execution.loader import Loader
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.scheduler.committer import Committer
from aoray.settings import Settings
from aoray.storage.factory import open_readers
from aoray.storage.modules import ModuleStore
from aoray.storage.results import Results
from aoray.storage.sqlite_store import log_path
from aoray.vm.registry import VirtualMachines

HEIGHT = 1_500_000
ECHO = Path(__file__).with_name("echo.wat")
PUBLISHER = generate_ed25519()
MODULE_TAGS = (Tag("Data-Protocol", "ao"), Tag("Type", "Module"), Tag("Module-Format", "wasm32-wasi"))


def module_item(wasm: bytes, *more: Tag) -> DataItem:
    return build(PUBLISHER, tags=(*MODULE_TAGS, *more), data=wasm)


GUEST = module_item(bytes(wasmtime.wat2wasm(ECHO.read_text())))


class Gateway:
    """Hears what a process actor tells the gateways."""

    def __init__(self) -> None:
        self.delivered: dict[tuple[str, str], asyncio.Future[dict[str, Any]]] = {}
        self.pushed: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.calls: list[tuple[str, str, int]] = []

    async def __call__(self, actor: str, method: str, batch: list[Any]) -> None:
        if method == "submit":  # no shard is here: outboxes are pushed by a gateway
            raise Unavailable(f"{actor} is not there")
        self.calls.append((actor, method, len(batch)))
        for process_id, *rest in batch:
            if method == "push":
                self.pushed.put_nowait((process_id, *rest))
            else:
                message_id, result = rest
                self.heard(process_id, message_id).set_result(orjson.loads(result))

    def heard(self, process_id: str, any_id: str) -> asyncio.Future[dict[str, Any]]:
        return self.delivered.setdefault((process_id, any_id), asyncio.get_running_loop().create_future())


class Sent:
    """What the scheduler says of a batch: ids, and the work for the actors."""

    def __init__(self, receipts: list[Receipt], work: list[Work]) -> None:
        self.receipts = receipts
        self.work = work
        self.process_id, self.message_id = receipts[-1].process_id, receipts[-1].message_id
        self.assignment_id = receipts[-1].assignment_id


class House:
    """A scheduler's log, a results store and any number of process actors over them."""

    def __init__(self, data: Path, compiled: Path, *modules: DataItem, **settings: Any) -> None:
        self.settings = Settings(data=data, **settings)
        self.arweave = FakeArweave(GUEST, *modules)
        self.gateway = Gateway()
        self.results = Results(data / "results.sqlite")
        self._compiled = compiled
        self._committer: Committer = committer(log_path(self.settings, 0), pool=1)
        self._clock = itertools.count(1_700_000_000_000)
        self._actors: list[ProcessActor] = []

    def commit(self, *submissions: Submission) -> Sent:
        done = self._committer.commit(list(submissions), now_ms=next(self._clock), block_height=HEIGHT)
        receipts = [outcome for outcome in done.outcomes if isinstance(outcome, Receipt)]
        assert len(receipts) == len(submissions), done.outcomes
        return Sent(receipts, [work for works in done.work.values() for work in works])

    def spawn(self, module_id: str = GUEST.id, *more: tuple[str, str], data: bytes = b"") -> Sent:
        return self.commit(
            spawn(
                *more,
                tags=(
                    ("Data-Protocol", "ao"),
                    ("Type", "Process"),
                    ("Module", module_id),
                    ("Scheduler", SCHEDULER.address),
                ),
            )
        )

    def send(self, process_id: str, *datas: str) -> Sent:
        return self.commit(*(message(process_id, data=data.encode()) for data in datas))

    def eval(self, process_id: str, source: str) -> Submission:
        """A message that Lua processes evaluate, if it is from their owner."""
        return message(process_id, ("Action", "Eval"), data=source.encode())

    def assign(self, process_id: str, assigned: Submission, *exclude: str) -> Sent:
        return self.commit(assign(process_id, assigned, *exclude))

    def actor(self, name: str = "process-actor-0", data: Path | None = None) -> ProcessActor:
        """With `data`, its results and checkpoints are there, and it knows nothing of others'."""
        settings = replace(self.settings, data=data or self.settings.data)
        modules = ModuleStore(settings.data / "modules", self.arweave.item)
        loader = Loader(modules, VirtualMachines(self._compiled))
        results = Results(settings.data / "results.sqlite")
        actor = ProcessActor(
            settings, name, Dependencies(open_readers(self.settings), results, loader, self.gateway)
        )
        self._actors.append(actor)
        return actor

    async def result(self, actor: ProcessActor, process_id: str, any_id: str) -> dict[str, Any]:
        """As a gateway waits for it."""
        await actor.watch([(process_id, any_id)], "gateway-0")
        return await self.gateway.heard(process_id, any_id)

    async def results_of(self, actor: ProcessActor, sent: Sent) -> list[dict[str, Any]]:
        return [await self.result(actor, receipt.process_id, receipt.message_id) for receipt in sent.receipts]

    def stored(self, process_id: str) -> list[bytes]:
        rows = (
            self.results.at(process_id, nonce) for nonce in range(self.results.last_nonce(process_id) + 1)
        )
        return [row.result for row in rows if row is not None]

    async def close(self) -> None:
        for actor in self._actors:
            await actor.close()
        self.results.close()
        self._committer.close()


def counts(results: Sequence[dict[str, Any]]) -> list[int]:
    return [int(result["Output"]["count"]) for result in results]


def nonces(results: Sequence[dict[str, Any]]) -> list[int]:
    return [result["Output"]["message"]["Nonce"] for result in results]


def state_of(actor: ProcessActor, process_id: str) -> str:
    evaluator = actor._evaluation.residents[process_id].evaluator
    return evaluator.state().hash


async def sleeps(actor: ProcessActor, process_id: str) -> None:
    """Wait until it has nothing to do, and let it hibernate."""
    await until(lambda: actor._planner.is_idle(process_id))
    actor._apply(actor._planner.hibernate(process_id))
    await until(lambda: process_id not in actor._evaluation.residents)
