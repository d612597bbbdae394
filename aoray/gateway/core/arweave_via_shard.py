"""Arweave for gateways whose posts go another way than their reads: to a bundler, or to a node in blocks.

What a gateway posts (messages to wallets, outbox messages for other networks) is published by the shard: it
is durable at once, and gets to Arweave in the log's bundles. What is read comes from the configured gateway,
which shows something new only after a while; so modules that are kept here are known without it.

On failure: as `ArweaveClient` for reads; `InfrastructureError` of the shard for posts, which may be repeated.
"""

from __future__ import annotations

import asyncio

from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import Heights
from aoray.cluster.calls import Call
from aoray.contracts.shard import Shards
from aoray.errors import AorayError
from aoray.protocol.ids import is_id
from aoray.protocol.signed import ANS104, parse
from aoray.protocol.tags import Tags
from aoray.settings import Settings
from aoray.storage.factory import open_files
from aoray.storage.modules import stored_module


class Outgoing(ArweaveClient):
    """The way to Arweave through the logs of the shards."""

    def __init__(self, settings: Settings, call: Call) -> None:
        super().__init__(settings.arweave_url, heights=Heights())
        self._modules = open_files(settings, "modules")
        self._shards = Shards(call, settings.shards)

    async def post_item(self, raw: bytes) -> str:
        """Let a shard publish an item; the same item always goes to the same shard, so it is there once."""
        item_id = parse(raw, ANS104).id
        await self._shards.of(item_id).publish([raw])
        return item_id

    async def tags(self, id: str) -> Tags:
        """Return the tags of an item."""
        try:
            return await super().tags(id)
        except AorayError:
            kept = await asyncio.to_thread(stored_module, self._modules, id) if is_id(id) else None
            if kept is None:
                raise
            return kept.tags
