"""Bringing the log to Arweave: ordered entries, with their assignments, and what else is published, in
bundles, nothing missing after a crash.

Where in a message's journey: beside it. A message was acknowledged from the shard's own disk; the flusher
follows the log in the order of the shard (seq) and posts bundles, one after another.

Invariants: what a bundle holds is written in the log before the bundle is posted, and the bundle is made of
nothing but that and a deterministic signature. So a crash between post and note leads to the same bytes,
with the same id, once more; and only what Arweave has accepted is settled. On failure: waits longer each
time, while messages go on; `stats()` shows the backlog and the last error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aoray.errors import AorayError
from aoray.protocol.bundles import BUNDLE_TAGS, pack
from aoray.protocol.items import DataItem, build, parse
from aoray.protocol.keys import Signer
from aoray.scheduler.log import Log

logger = logging.getLogger(__name__)

BACKOFF_SECONDS_MAX = 30.0

T = TypeVar("T")
OnLog = Callable[[Callable[[Log], T]], Awaitable[T]]  # runs a function on the log, in the log's thread


def bundle(signer: Signer, rows: Sequence[Sequence[bytes]]) -> DataItem:
    """These raw items as one signed item. One that comes twice (a message that was assigned to several
    processes) is there once."""
    items = dict.fromkeys(raw for row in rows for raw in row)
    return build(signer, tags=BUNDLE_TAGS, data=pack([parse(raw) for raw in items]))


@dataclass(slots=True)
class Progress:
    """What `stats()` shows."""

    bundles: int = 0
    failures: int = 0
    last_error: str = ""


class Flusher:
    """Posts what the log holds. `on_log` runs a function on the log in the one thread that writes it."""

    def __init__(
        self,
        on_log: Callable[[Callable[[Log], Any]], Awaitable[Any]],
        post: Callable[[bytes], Awaitable[str]],
        signer: Signer,
    ) -> None:
        self._on_log = on_log
        self._post = post
        self._signer = signer
        self.progress = Progress()

    async def run(
        self, interval_seconds: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Post all there is, wait, and again, for ever."""
        while True:
            try:
                if await self.flush_once():
                    continue
                wait = interval_seconds
            except AorayError as error:
                wait = self._failed(error, interval_seconds)
            await sleep(wait)

    async def flush_once(self) -> bool:
        """Post one bundle, if there is anything to post."""
        upload = await self._on_log(lambda log: log.uploads.next())
        if upload is None:
            return False
        items = await self._on_log(lambda log: log.uploads.items(upload))
        item = await asyncio.to_thread(bundle, self._signer, items)
        await self._post(item.raw)
        await self._on_log(lambda log: log.uploads.save(upload._replace(settled=True)))
        self.progress = Progress(self.progress.bundles + 1)
        return True

    def _failed(self, error: AorayError, interval_seconds: float) -> float:
        failures = self.progress.failures + 1
        self.progress = Progress(self.progress.bundles, failures, repr(error))
        logger.warning("a bundle was not accepted (%d times): %r", failures, error)
        return min(BACKOFF_SECONDS_MAX, max(0.05, interval_seconds) * 2.0 ** min(failures, 10))
