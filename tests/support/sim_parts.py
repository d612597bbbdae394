"""What a simulated computer has in the place of Arweave, of a gateway's HTTP and of checkpoints, and what its
clients saw."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_arweave import FakeArweave
from sim_disk import SimLog, SimResults
from sim_world import World

from aoray.contracts.shard import Receipt
from aoray.errors import Unavailable
from aoray.gateway.gateway import Gateway
from aoray.protocol.ans104.items import parse
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.tags import Tag
from aoray.scheduler.committer import Committer
from aoray.scheduler.shard import ShardActor

SCHEDULER, AUTHORITY, COMPUTE, WALLET = (Ed25519Signer(bytes([n]) * 32) for n in (1, 2, 3, 4))
AO = (Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"))


class NoCheckpoints:
    """States are always replayed from the log here; checkpoints are tested on real guests."""

    def __init__(self, data: Path) -> None:
        pass

    def of(self, process_id: str, nonce_max: int) -> list[Any]:
        return []

    def sweep(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Kinds:
    """The classes that are simulated; a test of the simulator puts wrong ones in."""

    log: type[SimLog] = SimLog
    results: type[SimResults] = SimResults
    committer: type[Committer] = Committer
    shard: type[ShardActor] = ShardActor


class SimArweave(FakeArweave):
    """Takes items, sometimes without saying so, sometimes not at all; whatever is asked for is a module."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def post_item(self, raw: bytes) -> str:
        await asyncio.sleep(self._world.delay())
        chance = self._world.rng.random()
        item = parse(raw)
        if chance >= self._world.faults.arweave / 2:
            self.items[item.id] = item
        if chance < self._world.faults.arweave:
            raise Unavailable("Arweave does not answer")
        return item.id

    async def tags(self, id: str) -> tuple[Tag, ...]:
        return (Tag("Type", "Module"),)

    async def info(self) -> dict[str, Any]:
        return {"height": await self.height()}

    async def height(self) -> int:
        return 1 + int(self._world.loop.time() / 5)


class SimGateway:
    """Production's gateway without HTTP."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._scan = asyncio.get_event_loop().create_task(gateway.pusher.scan_forever())

    async def push(self, announced: list[Any]) -> None:
        self.gateway.pusher.push(announced)

    async def deliver(self, results: list[Any]) -> None:
        """Nobody waits here."""

    async def accept(self, raw: bytes) -> Receipt:
        return await self.gateway.ingress.take(raw)


@dataclass
class History:
    """What clients saw."""

    sent: dict[str, str] = field(default_factory=dict)  # item id -> process id
    acknowledged: list[Receipt] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
