"""Actors that can't begin while their store is away."""

from __future__ import annotations

import os
from typing import Any

from aoray.cluster import nodes
from aoray.errors import Unavailable
from aoray.settings import Settings


class FragileActor:
    """Stands for any actor of a computer: a file `away` in its data directory is a store that is away."""

    def __init__(self, settings: Settings, argument: Any) -> None:
        if (settings.data / "away").exists():
            raise Unavailable("the store is away")

    async def ready(self) -> dict[str, Any]:
        return nodes.actor_identity()

    async def die(self) -> None:
        os._exit(1)
