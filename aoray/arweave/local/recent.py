"""What readers of the embedded Arweave see of the logs, so that they read what was acknowledged before they
asked: the messenger acknowledges from a shard's disk, and the shard posts its bundles later.

    an id      is looked up in the logs, if the store does not have it; nobody waits for a bundle
    a search   needs an item's place in the chain: the shards that hold something back post it first

All that comes while one round of posting is under way shares the next one, and a round that took long is
followed by a pause as long, so readers never have more than half of the flusher's time. Nothing is done, and
one look into each log is all that it costs, when the logs have nothing that is not posted.

On failure: a shard that does not answer within `limits.RECENT_SECONDS_MAX` is not waited for: the search then
shows what is in the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aoray import limits
from aoray.errors import AorayError

logger = logging.getLogger(__name__)

Find = Callable[[str], bytes | None]


class Recent:
    """The logs of all shards, for the reading side of the embedded Arweave. For one event loop."""

    def __init__(
        self,
        find: Find = lambda _: None,
        unposted: Callable[[], Awaitable[Sequence[int]]] | None = None,
        post: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """`find` gives a signed item from the logs; `unposted` the shards that hold something back; `post`
        makes one of them bring it here. Without them there are no logs."""
        self.find = find
        self._unposted = unposted
        self._post = post
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None
        self._rest_until = 0.0
        self.cut_total = 0  # rounds that did not end well or in time, for metrics

    async def settle(self) -> None:
        """Wait until all that was acknowledged before is in the store."""
        if self._unposted is None or not await self._unposted():
            return
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._round())
        await asyncio.shield(self._waiting)

    async def _round(self) -> None:
        """One round of posting, after the one under way. Who comes once it has begun waits for the next."""
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(self._rest_until - clock())
            self._waiting, began = None, clock()
            await self._post_all()
            self._rest_until = 2 * clock() - began

    async def _post_all(self) -> None:
        assert self._unposted and self._post
        try:
            async with asyncio.timeout(limits.RECENT_SECONDS_MAX):
                await asyncio.gather(*map(self._post, await self._unposted()))
        except (AorayError, TimeoutError) as error:
            self.cut_total += 1
            logger.warning("a search does not see what is not posted yet: %r", error)
