"""A whole computer in one thread: production's shards, process actors and gateways, on simulated everything
else.

`Simulation(seed).run()` gives what happened: clients send transfers while processes are killed, the power
goes, clocks jump and calls get lost; then all is calm until nothing is left to do, or too much time is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import orjson
from sim_clients import Clients
from sim_disk import Disk, SimLog, SimResults, opened
from sim_guest import SimLoader
from sim_parts import AUTHORITY, COMPUTE, SCHEDULER, Kinds, NoCheckpoints, SimArweave, SimGateway
from sim_world import HOST, Faults, Handle, SimThread, World

from aoray import limits
from aoray.actors import evaluation as evaluation_module
from aoray.actors import process_actor as actor_module
from aoray.actors.dependencies import Dependencies
from aoray.actors.process_actor import ProcessActor
from aoray.gateway.gateway import Gateway
from aoray.protocol.signatures.jwk import signer_to_jwk
from aoray.scheduler import shard as shard_module
from aoray.scheduler.dispatch import ActorDispatcher
from aoray.scheduler.shard import ShardActor
from aoray.settings import Settings
from aoray.storage.factory import open_readers
from aoray.storage.log_reader import ShardedReader
from aoray.storage.sqlite_store import log_path
from aoray.util import tasks as tasks_module

STORM_S = 20.0  # how long things go wrong
TICKING_S = 15.0  # twice the longest interval: ticks go on
CALM_S = 120.0  # how long the computer has to finish, afterwards


class Simulation:
    """One run. `AORAY_SEED` names it."""

    clients_class = Clients

    def __init__(self, seed: int, kinds: Kinds | None = None) -> None:
        self.seed = seed
        self.kinds = kinds or Kinds()
        self.world = World(seed)
        self.arweave = SimArweave(self.world)
        rng = self.world.rng
        shm = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(prefix="aoray-sim-", dir=shm if shm.is_dir() else None)
        self.disk = Disk(self.world, Path(self._folder.name))
        self.settings = Settings(
            data=self.disk.folder,
            shards=rng.randint(1, 3),
            gateways=rng.randint(1, 2),
            actors_per_node=rng.randint(1, 3),
            flush_interval_ms=rng.choice((50, 500)),
        )
        self.direct_push_max = rng.choice((0, 1, limits.DIRECT_PUSH_RESULTS_MAX))  # what is over it is pushed
        self.clients = self.clients_class(self.world, self.settings, STORM_S + CALM_S)
        self.finished = False

    # The parts

    def _factories(self) -> dict[str, Callable[[], Any]]:
        settings = self.settings
        made: dict[str, Callable[[], Any]] = {}
        for index in range(settings.shards):
            made[f"shard-{index}"] = functools.partial(self._shard, index)
        for index in range(settings.actors_per_node):
            made[f"process-actor-{index}"] = functools.partial(self._actor, f"process-actor-{index}")
        for index in range(settings.gateways):
            made[f"gateway-{index}"] = functools.partial(self._gateway, index)
        return made

    def _shard(self, index: int) -> ShardActor:
        shard = self.kinds.shard(self.settings, index)
        shard._connect = functools.partial(self._connect, shard)  # type: ignore[method-assign]
        return shard

    def _connect(self, shard: ShardActor, name: str) -> Handle:
        """As the shard's own does: pool actors are there, those of one process are its children."""
        if name not in shard._pool and name not in self.world.hosts:
            self.world.factories[name] = functools.partial(self._actor, name)
            self.world.start(name)
            host = HOST.get()
            assert host is not None
            host.children.append(name)
        return Handle(self.world, name)

    def _actor(self, name: str) -> ProcessActor:
        results = self.kinds.results(self.settings.data / "results.sqlite")
        parts = Dependencies(self._reader(), results, SimLoader(), self.world.call)  # type: ignore[arg-type]
        return ProcessActor(self.settings, name, parts)

    def _gateway(self, index: int) -> SimGateway:
        results = self.kinds.results(self.settings.data / "results.sqlite")
        return SimGateway(
            Gateway(
                self.settings,
                index,
                call=self.world.call,
                reader=self._reader(),
                results=results,
                arweave=self.arweave,
            )
        )

    def _reader(self) -> ShardedReader:
        reader = open_readers(self.settings)
        opened(reader)
        return reader

    @contextlib.contextmanager
    def _patched(self) -> Iterator[None]:
        """Production's modules with what they know of clock, disk, threads and their own end."""
        world = self.world
        self.kinds.log.disk = self.kinds.results.disk = self.disk
        os = SimpleNamespace(_exit=world.exit, cpu_count=lambda: 1, getpid=lambda: 1)
        keys = {"scheduler": SCHEDULER, "authority": AUTHORITY, "compute": COMPUTE}
        (self.settings.data / "keys").mkdir(mode=0o700)
        for name, signer in keys.items():
            path = self.settings.data / "keys" / f"{name}.json"
            path.write_bytes(orjson.dumps(signer_to_jwk(signer)))
            path.chmod(0o600)
        with (
            patch.multiple(
                shard_module,
                os=os,
                clock_ms=world.now_ms,
                open_log=lambda settings, index: self.kinds.log(log_path(settings, index)),
                open_results=self._results,
                Committer=self.kinds.committer,
                ArweaveClient=lambda url, **_: self.arweave,
                own_client=lambda settings, heights: self.arweave,
                SerialExecutor=SimThread,
                ActorDispatcher=functools.partial(ActorDispatcher, clock=world.loop.time),
            ),
            patch.multiple(
                actor_module,
                Evaluation=self._evaluation,
                open_results=self._results,
                open_checkpoints=lambda settings: NoCheckpoints(settings.data),
                sweep_later=lambda opened: asyncio.sleep(0),  # it is done in a thread, and nothing is there
                ThreadPoolExecutor=SimThread,
            ),
            patch.object(tasks_module, "os", os),
            patch.object(limits, "DIRECT_PUSH_RESULTS_MAX", self.direct_push_max),
        ):
            yield

    def _results(self, settings: Settings) -> SimResults:
        return self.kinds.results(settings.data / "results.sqlite")

    def _evaluation(self, results: Any, checkpoints: Any, messenger: str) -> evaluation_module.Evaluation:
        """Slices end at any message; who waits for the disk holds up nobody."""
        world = self.world
        steps = [0.0]

        def clock() -> float:
            steps[0] += world.rng.uniform(0, 0.008)
            return steps[0]

        made = evaluation_module.Evaluation(
            results, checkpoints, messenger, clock=clock, processor_clock=clock
        )
        made.closing = SimpleNamespace(is_set=lambda: False, wait=lambda seconds: None)  # type: ignore[assignment]
        return made

    # The run

    def run(self) -> None:
        """Run it to its end; `sim_checks` looks at what is left."""
        loop = self.world.loop
        with self._patched():
            self.world.on_power_cut = self._power_cut
            try:
                loop.run_until_complete(self._main())
            finally:
                for host in list(self.world.all):
                    self.world.kill(host, restart=False)
                left = asyncio.all_tasks(loop)
                for task in left:
                    task.cancel()
                if left:
                    loop.run_until_complete(asyncio.wait(left))
                loop.close()

    def close(self) -> None:
        shutil.rmtree(self.disk.folder, ignore_errors=True)
        self._folder.cleanup()

    async def _main(self) -> None:
        world = self.world
        world.factories = self._factories()
        for name in list(world.factories):
            world.start(name)
        storm = asyncio.create_task(self._storm())
        await self.clients.run()
        await storm
        await self.clients.tick_on(TICKING_S)
        self.finished = await self._rest()

    async def _rest(self) -> bool:
        """Until nothing is left to do. False if that takes too long."""
        end = self.world.loop.time() + CALM_S
        while self.world.loop.time() < end:
            await asyncio.sleep(2)
            if self._at_rest():
                return True
        return False

    def _at_rest(self) -> bool:
        reader = open_readers(self.settings)
        results = SimResults(self.settings.data / "results.sqlite")
        try:
            logs = [
                SimLog(self.settings.data / f"log-{index}.sqlite") for index in range(self.settings.shards)
            ]
            flushed = all((state := log.uploads.state()).flushed == state.last for log in logs)
            unpublished = (
                "SELECT 1 FROM uploads WHERE NOT settled"
                " UNION SELECT 1 FROM publications WHERE seq > (SELECT max(publications_to) FROM uploads)"
            )
            flushed = flushed and not any(log._rows(unpublished) for log in logs)
            heads = {pid: reader.latest(pid) for pid in reader.process_ids()}
            attested = {pid: at.nonce for log in logs for pid, at in log.attested.cursors(heads).items()}
            for log in logs:
                log.close()
            done = all(
                head and results.last_nonce(pid) == attested[pid] == head.nonce for pid, head in heads.items()
            )
            return flushed and done and not results.unpushed(1)
        finally:
            reader.close()
            results.close()

    def _power_cut(self) -> None:
        """Everything ends; the files are what a disk may hold then; later all begin again, perhaps with
        another number of actors."""
        world = self.world
        images = self.disk.images()
        world.off = True
        for host in list(world.all):
            world.kill(host, restart=False)
        self.disk.restore(images)
        world.loop.call_later(world.rng.uniform(0.1, 3), self._power_on)

    def _power_on(self) -> None:
        world = self.world
        object.__setattr__(self.settings, "actors_per_node", world.rng.randint(1, 3))
        world.off = False
        world.factories = self._factories()
        for name in list(world.factories):
            if name not in world.hosts:
                world.start(name)

    async def _storm(self) -> None:
        """What goes wrong, for a while."""
        world, rng = self.world, self.world.rng
        world.faults = Faults(
            drop=rng.choice((0, 0.02, 0.2)),
            duplicate=rng.choice((0, 0.1)),
            delay_s=rng.choice((0.001, 0.01, 0.1)),
            disk=rng.choice((0, 0.02, 0.1, 0.3)),
            power=rng.choice((0, 0.5)),
            arweave=rng.choice((0, 0.3)),
        )
        mean_s = rng.choice((0.5, 2.0, 8.0))
        while (wait := rng.expovariate(1 / mean_s)) + world.loop.time() < STORM_S:
            await asyncio.sleep(wait)
            self._strike()
        await asyncio.sleep(max(0.0, STORM_S - world.loop.time()))
        world.faults = Faults()
        world.note("calm")

    def _strike(self) -> None:
        world, rng = self.world, self.world.rng
        what = rng.choice(("kill", "kill", "kill", "zombie", "clock", "power"))
        if what == "clock":
            world.clock_offset_ms += rng.randint(-3_600_000, 3_600_000)
            world.note(f"clock {world.clock_offset_ms}")
        elif what == "power":
            if not world.off:
                world.power_cut()
        elif world.hosts:
            name = rng.choice(sorted(world.hosts))
            host = world.hosts[name]
            if what == "kill":
                world.kill(host)
            elif name in self._factories():
                world.start(name)
                world.loop.call_later(rng.uniform(0.1, 3), world.kill, host)
