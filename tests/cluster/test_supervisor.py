"""The actors of a computer come back, also those that Ray gave up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from fake_actors import FragileActor
from polling import wait_until
from ray.exceptions import ActorDiedError, RayError

from aoray.runtime.supervisor import HEAD_ACTOR, Supervisor
from aoray.settings import ClusterInfo, Settings

pytestmark = pytest.mark.cluster

CLUSTER = ClusterInfo(head="", arweave_url="", offered=frozenset(), keys={})


class FragileCrew(Supervisor):
    """Of actors that need their store to begin."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        for arguments in self._arguments.values():
            arguments.update(dict.fromkeys(arguments, (FragileActor, 0)))
        self.names = {name for arguments in self._arguments.values() for name in arguments}

    def comes_back(self) -> bool:
        self.reconcile()
        return all(map(answers, self.names))

    def close(self) -> None:
        self.stop()


def answers(name: str) -> bool:
    try:
        return bool(ray.get(ray.get_actor(name).ready.remote(), timeout=10))
    except (RayError, ValueError):
        return False


def is_gone(actor: Any) -> bool:
    """For good: Ray doesn't restart it."""
    try:
        ray.get(actor.ready.remote(), timeout=10)
    except ActorDiedError:
        return True
    except RayError:
        return False
    return False


@contextmanager
def away(settings: Settings) -> Iterator[None]:
    place = settings.data / "away"
    place.touch()
    yield
    place.unlink()


@pytest.mark.parametrize("handed", [None, CLUSTER], ids=["one node", "cluster"])
def test_actors_that_died_while_the_store_was_away_come_back_with_it(
    ray_cluster: None, tmp_path: Path, handed: ClusterInfo | None
) -> None:
    address = "auto" if handed else ""
    settings = replace(Settings(data=tmp_path, actors=1), ray_address=address, cluster=handed)
    with closing(FragileCrew(settings)) as supervisor:
        supervisor.start()
        wait_until(lambda: all(map(answers, supervisor.names)))
        assert HEAD_ACTOR in supervisor.names and len(supervisor.names) == 3
        with away(settings):
            actors = [ray.get_actor(name) for name in supervisor.names]
            for actor in actors:
                actor.die.remote()
            wait_until(lambda: all(map(is_gone, actors)))
            supervisor.reconcile()  # in vain
            assert not any(map(answers, supervisor.names))
        wait_until(supervisor.comes_back)
