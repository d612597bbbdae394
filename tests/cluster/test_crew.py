"""The actors of a computer come back, also those that Ray gave up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from fragile import FragileActor
from ray.exceptions import ActorDiedError, RayError

from aoray.crew import HEAD_ACTOR, Crew
from aoray.settings import Handed, Settings

pytestmark = pytest.mark.cluster

CLUSTER = Handed(head="", arweave_url="", offered=frozenset(), keys={})


class FragileCrew(Crew):
    """Of actors that need their store to begin."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        for arguments in self._arguments.values():
            arguments.update(dict.fromkeys(arguments, (FragileActor, 0)))
        self.names = {name for arguments in self._arguments.values() for name in arguments}

    def comes_back(self) -> bool:
        self.look()
        return all(map(answers, self.names))

    def close(self) -> None:
        self.stop()


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline


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
    ray_cluster: None, tmp_path: Path, handed: Handed | None
) -> None:
    address = "auto" if handed else ""
    settings = replace(Settings(data=tmp_path, actors=1), ray_address=address, handed=handed)
    with closing(FragileCrew(settings)) as crew:
        crew.start()
        until(lambda: all(map(answers, crew.names)))
        assert HEAD_ACTOR in crew.names and len(crew.names) == 3
        with away(settings):
            actors = [ray.get_actor(name) for name in crew.names]
            for actor in actors:
                actor.die.remote()
            until(lambda: all(map(is_gone, actors)))
            crew.look()  # in vain
            assert not any(map(answers, crew.names))
        until(crew.comes_back)
