"""Access of the embedded Arweave to the logs, so that readers find everything that was acknowledged before
they asked. The scheduler acknowledges a message from a shard's disk, and the shard posts its bundles later.

    an id      is looked up in the logs if the store does not have it; nobody waits for a bundle
    a search   needs an item's place in the chain: shards that have not posted everything post it first

All searches that arrive during one round of posting share the next round, and a round is followed by a pause
of the same length, so readers never take more than half of the flusher's time. If the logs have nothing that
is not posted, the cost is one query of each log.

On failure: a shard that does not answer within `limits.RECENT_SECONDS_MAX` is not waited for; the search then
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
    """The logs of all shards, as the readers of the embedded Arweave need them. It belongs to one event
    loop."""

    def __init__(
        self,
        find: Find = lambda _: None,
        unposted: Callable[[], Awaitable[Sequence[int]]] | None = None,
        post: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """`find` returns a signed item from the logs; `unposted` the shards that have not posted everything;
        `post` makes one shard post it. By default there are no logs."""
        self.find = find
        self._unposted = unposted
        self._post = post
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None
        self._rest_until = 0.0
        self.cut_total = 0  # rounds that failed or took too long, for metrics

    async def settle(self) -> None:
        """Wait until everything that was acknowledged before is in the store."""
        if self._unposted is None or not await self._unposted():
            return
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._round())
        await asyncio.shield(self._waiting)

    async def _round(self) -> None:
        """Run one round of posting, after the present one. Callers that arrive after its start wait for the
        next round."""
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
