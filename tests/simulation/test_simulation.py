"""Nothing is lost, nothing happens twice (guarantees G1–G5), whatever goes wrong: 200 simulated computers.

`AORAY_SEED=7` runs that seed alone, `AORAY_SEEDS=2000` the first 2000; `make soak` goes on until it is
stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sim_checks import problems, report, run
from sim_clients import Clients
from sim_computer import Simulation
from sim_disk import SimLog
from sim_parts import AO, WALLET, Kinds

from aoray.contracts.shard import Submission
from aoray.errors import Unavailable
from aoray.protocol.ans104.items import build
from aoray.protocol.tags import Tag

SEED = os.environ.get("AORAY_SEED")
SEEDS = [int(SEED)] if SEED else range(int(os.environ.get("AORAY_SEEDS", "200")))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_happens_twice(seed: int) -> None:
    found = run(seed)
    assert not found, report(seed, found)


class DoubtfulOnce(SimLog):
    """Says of one write that it failed, though it did not."""

    doubtful = False

    def append(self, *batch: object) -> None:
        super().append(*batch)  # type: ignore[arg-type]
        if DoubtfulOnce.doubtful:
            DoubtfulOnce.doubtful = False
            raise Unavailable("the fsync failed")


class WithoutCrons(Clients):
    """Their processes come to rest by themselves."""

    def _crons(self) -> Iterator[Tag]:
        return iter(())


class OneMessage(Simulation):
    """A quiet computer, and one client who gives up at the first error."""

    clients_class = WithoutCrons

    async def _main(self) -> None:
        self.world.factories = self._factories()
        for name in list(self.world.factories):
            self.world.start(name)
        pid = await self.clients.spawn(0)
        assert await self._rest()
        DoubtfulOnce.doubtful = True
        item = build(WALLET, target=pid, tags=(*AO, Tag("Type", "Message")))
        shard = next(host.actor for host in self.world.all if host.name == "shard-0")
        [self.outcome] = await shard.submit([Submission("message", pid, item.id, item.raw)])
        self.clients.history.sent[item.id] = pid
        self.finished = await self._rest()


def test_what_was_written_though_its_commit_failed_is_gone_on_with_unasked() -> None:
    seed = next(seed for seed in range(100) if Simulation(seed).settings.shards == 1)
    simulation = OneMessage(seed, Kinds(log=DoubtfulOnce))
    simulation.run()
    assert isinstance(simulation.outcome, Unavailable)
    assert problems(simulation) == []
    simulation.close()
