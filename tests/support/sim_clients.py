"""The clients of a simulated computer: each transfers tokens along routes, and sends until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from sim_guest import MODULE
from sim_parts import AO, AUTHORITY, SCHEDULER, WALLET, History
from sim_world import World

from aoray.cluster.names import shard_of
from aoray.errors import AorayError, ClientError, InfrastructureError
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.tags import Tag, first
from aoray.settings import Settings
from aoray.storage.factory import open_readers


class Clients:
    """Those of one run, and what they know of it."""

    def __init__(self, world: World, settings: Settings, end_s: float) -> None:
        self.world = world
        self.settings = settings
        self.history = History()
        self.processes: list[str] = []
        self.ticking: list[str] = []
        self.ticking_from: dict[str, int] = {}  # the nonce after which all was calm
        self.calm_ms = 0  # and the time
        self.patience = 1.0  # how many clients send until they have an answer
        self._end_s = end_s

    async def run(self) -> None:
        rng = self.world.rng
        self.patience = rng.choice((0.2, 0.8, 1.0))
        for number in range(rng.randint(2, 5)):
            self.processes.append(await self.spawn(number))
        await asyncio.gather(*(self._client(number) for number in range(4)))

    async def spawn(self, number: int) -> str:
        own = (Tag("Actor", "own"),) if self.world.rng.random() < 0.2 else ()
        tags = (
            *AO,
            Tag("Type", "Process"),
            Tag("Module", MODULE),
            Tag("Scheduler", SCHEDULER.address),
            Tag("Authority", AUTHORITY.address),
            *own,
            *self._crons(),
        )
        item = build(WALLET, tags=tags, data=b"%d" % number)
        await self._send(item, item.id, patient=True)
        if first(tags, "Cron-Interval"):
            await self._tell(item.id, "monitor")
            self.ticking.append(item.id)
        return item.id

    def _crons(self) -> Iterator[Tag]:
        """A process pays another at each tick; some have two crons, most none."""
        rng = self.world.rng
        for _ in range(rng.choice((0, 0, 1, 2))):
            yield Tag("Cron-Interval", rng.choice(("1-second", "3-seconds", "7-seconds", "1-block")))
            if self.processes:
                yield Tag("Cron-Tag-Action", "Transfer")
                yield Tag("Cron-Tag-Quantity", "3")
                yield Tag("Cron-Tag-Route", rng.choice(self.processes))
        yield Tag("Cron-Missed", rng.choice(("one", "all", "none")))

    async def tick_on(self, seconds: float) -> None:
        """When all is calm, every cron goes on; then they are stopped."""
        if not self.ticking:
            return
        reader = open_readers(self.settings)
        heads = [(pid, reader.latest(pid)) for pid in self.ticking]
        self.ticking_from = {pid: head.nonce for pid, head in heads if head is not None}
        reader.close()
        self.calm_ms = self.world.now_ms()
        await asyncio.sleep(seconds)
        for pid in self.ticking:
            await self._tell(pid, "unmonitor")

    async def _tell(self, pid: str, method: str) -> None:
        """Start or stop the crons of a process; who has no answer asks again."""
        shard = f"shard-{shard_of(pid, self.settings.shards)}"
        while self.world.loop.time() < self._end_s:
            try:
                await self.world.call(shard, method, pid, f"{method} {pid}")
            except InfrastructureError:
                await asyncio.sleep(self.world.rng.uniform(0.1, 1))
            except ClientError:  # its answer was lost
                return
            else:
                return

    async def _client(self, number: int) -> None:
        rng = self.world.rng
        for count in range(rng.randint(3, 10)):
            await asyncio.sleep(rng.expovariate(1))
            route = [rng.choice(self.processes) for _ in range(rng.randint(1, 4))]
            target = rng.choice(self.processes)
            tags = (
                *AO,
                Tag("Type", "Message"),
                Tag("Action", "Transfer"),
                Tag("Quantity", str(rng.randint(1, 400))),
                Tag("Route", ",".join(route)),
            )
            item = build(WALLET, target=target, anchor=b"%032d" % (100 * number + count), tags=tags)
            await self._send(item, target, patient=rng.random() < self.patience)
            if rng.random() < 0.3:
                await self._send(item, target, patient=True)

    async def _send(self, item: DataItem, process_id: str, *, patient: bool) -> None:
        """Send until it is taken; a client without patience sends once and never knows."""
        self.history.sent[item.id] = process_id
        while self.world.loop.time() < self._end_s:
            gateway = f"gateway-{self.world.rng.randrange(self.settings.gateways)}"
            try:
                self.history.acknowledged.append(await self.world.call(gateway, "accept", item.raw))
                return
            except InfrastructureError:
                if not patient:
                    return
                await asyncio.sleep(self.world.rng.uniform(0.1, 1))
            except AorayError as error:
                self.history.refused.append(f"{item.id}: {error!r}")
                return
        self.history.refused.append(f"{item.id}: never taken")
