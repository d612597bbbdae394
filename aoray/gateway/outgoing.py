"""Arweave for gateways whose posts go another way than their reads: to a bundler, or to a node in blocks.

What a gateway posts (messages to wallets, outbox messages for other networks) is published by the shard: it
is durable at once, and gets to Arweave in the log's bundles. What is read comes from the configured gateway,
which shows something new only after a while; so modules that are kept here are known without it.

On failure: as `ArweaveClient` for reads; `InfrastructureError` of the shard for posts, which may be repeated.
"""

from __future__ import annotations

import asyncio

from aoray.actors.modules import kept_module
from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import Heights
from aoray.calls import Call
from aoray.errors import AorayError
from aoray.files import files_of
from aoray.protocol.ids import is_id
from aoray.protocol.items import parse
from aoray.protocol.tags import Tags
from aoray.scheduler.reader import shard_of
from aoray.settings import Settings


class Outgoing(ArweaveClient):
    """For one event loop."""

    def __init__(self, settings: Settings, call: Call) -> None:
        super().__init__(settings.arweave_url, heights=Heights())
        self._settings = settings
        self._modules = files_of(settings, "modules")
        self._call = call

    async def post_item(self, raw: bytes) -> str:
        """Have a shard publish it; the same one each time, so that it is there once."""
        item_id = parse(raw).id
        await self._call(f"shard-{shard_of(item_id, self._settings.shards)}", "publish", [raw])
        return item_id

    async def tags(self, id: str) -> Tags:
        """An item's tags."""
        try:
            return await super().tags(id)
        except AorayError:
            kept = await asyncio.to_thread(kept_module, self._modules, id) if is_id(id) else None
            if kept is None:
                raise
            return kept.tags
