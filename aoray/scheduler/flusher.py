"""The flusher: brings the log's entries with their assignments, and other published items, to Arweave in
bundles.

Where in a message's journey: beside it. A message was acknowledged once it was on the shard's own disk. The
flusher follows the log in the order of the shard (seq), posts one bundle after another, and watches each
bundle until it is deep enough in the chain. `upload_rules` decides what is to be done, and the flusher does
it: `run` signs and posts; `watch` asks Arweave for the state of bundles, settles them, and returns to `run`
what Arweave has lost.

Invariants: the contents of a bundle are recorded in the log before it is signed, and its id before it is
posted. So after a crash the same bundle is posted under the same id, nothing is missing and nothing is on
Arweave twice.

On failure: the flusher waits longer after each failure. Messages continue meanwhile, in a log that only the
disk bounds; `progress` has the last error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aoray import limits
from aoray.arweave.uploaders import SignedUpload, Uploader
from aoray.cluster.names import shard_actor
from aoray.errors import AorayError, InfrastructureError
from aoray.protocol.ans104.bundles import pack_raw
from aoray.scheduler.upload_rules import Policy, Step, UploadStatus, next_step
from aoray.storage.log import Log
from aoray.storage.uploads import Upload, UploadBacklog
from aoray.util.backoff import Backoff
from aoray.util.clock import clock_ms
from aoray.util.metrics import StageMetrics

logger = logging.getLogger(__name__)

WAIT_HINT = "Messages continue; what waits is posted once Arweave answers."
REFUSED_HINT = "Arweave refuses the bundle: check the wallet's funds and the URL. Messages continue."

OnLog = Callable[[Callable[[Log], Any]], Awaitable[Any]]  # runs a function on the log, in the log's thread
Sleep = Callable[[float], Awaitable[None]]


def packed(rows: Sequence[Sequence[bytes]]) -> bytes:
    """Return raw items as the bytes of one bundle. An item that occurs more than once (a message assigned to
    several processes) is in it once."""
    return pack_raw(list(dict.fromkeys(raw for row in rows for raw in row)))


def signed_upload(upload: Upload) -> SignedUpload:
    """Return what was signed for an upload: its id, its parts, and the height of its anchor."""
    return SignedUpload(upload.id, upload.parts, upload.anchor_height)


@dataclass(slots=True)
class FlushProgress:
    """The counters and the last error that `stats()` reports."""

    bundles: int = 0  # accepted
    settled: int = 0
    reposts: int = 0
    failures: int = 0  # in a row
    last_error: str = ""
    hint: str = ""


class Flusher:
    """The loops that bring the contents of the log to Arweave. It belongs to one event loop."""

    def __init__(
        self,
        on_log: OnLog,
        uploader: Uploader,
        *,
        confirmations_min: int = 10,
        repost_seconds: int = 600,
        now_ms: Callable[[], int] = clock_ms,
        name: str = shard_actor(0),
    ) -> None:
        self._waiting = 0  # entries in the log after the last bundle
        self.stage = StageMetrics("flushed", name, lambda: self._waiting)
        self._on_log = on_log
        self._uploader = uploader
        confirmations = confirmations_min if uploader.confirming else 0
        self._policy = Policy(uploader.carrier, confirmations, repost_seconds)
        self._now_ms = now_ms
        self._watched = 0  # the number of the last upload that `watch` checked
        self._turn = asyncio.Lock()  # one upload at a time
        self.progress = FlushProgress()

    async def run(self, interval_seconds: float, sleep: Sleep = asyncio.sleep) -> None:
        """Post what waits, sleep for the interval (seconds), and repeat forever. What arrives meanwhile
        shares the next bundle, since each bundle costs."""
        while True:
            wait = interval_seconds
            try:
                await self.flush()
            except AorayError as error:
                wait = self._failed(error, interval_seconds)
            await sleep(wait)

    async def flush(self) -> None:
        """Post everything that is in the log by now. Readers of the embedded Arweave call this before they
        read."""
        async with self._turn:
            await self._flush_all()

    async def _flush_all(self) -> None:
        end = await self._on_log(lambda log: log.uploads.end())
        while await self._on_log(lambda log: log.uploads.waits(end)):
            await self.flush_once()

    async def watch(self, interval_seconds: float, sleep: Sleep = asyncio.sleep) -> None:
        """Follow posted uploads until they are confirmed, forever. Returns at once if acceptance is
        enough."""
        while self._policy.confirmations_min:
            await sleep(
                max(interval_seconds, min(self._policy.repost_seconds / 10, limits.WATCH_SECONDS_MAX))
            )
            try:
                await self.watch_once()
            except AorayError as error:
                logger.warning("Arweave does not tell what it has: %r", error)

    async def flush_once(self) -> bool:
        """Sign and post one upload; return whether there was one."""
        upload = await self._on_log(lambda log: log.uploads.next())
        if upload is None:
            return False
        rows = await self._on_log(lambda log: log.uploads.items(upload))
        data = await asyncio.to_thread(packed, rows)
        seen = (await self._sights([upload])).get(upload.number, UploadStatus())
        if next_step(upload, seen, self._policy, self._now_ms()) is Step.SIGN:
            upload, seen = await self._signed(upload, data), UploadStatus()
        await self._uploader.post(signed_upload(upload), data, known=seen.depth is not None)
        settled = self._policy.confirmations_min == 0
        await self._save(
            upload._replace(posted_ms=max(1, self._now_ms()), posts=upload.posts + 1, settled=settled)
        )
        await self._count(upload)
        progress = self.progress
        self.progress = FlushProgress(progress.bundles + 1, progress.settled + settled, progress.reposts)
        return True

    async def _count(self, upload: Upload) -> None:
        """Update the metrics. An upload that is posted again is not counted again."""
        if not upload.posts:
            timestamps = await self._on_log(lambda log: log.uploads.timestamps(upload))
            self.stage.done(max(0, self._now_ms() - timestamp) for timestamp in timestamps)
        end = await self._on_log(lambda log: log.uploads.end())
        self._waiting = end[0] - upload.entries_to

    async def _signed(self, upload: Upload, data: bytes) -> Upload:
        """Sign the upload, and save its id before it is posted."""
        item_id, parts, anchor_height = await self._uploader.sign(data)
        upload = upload._replace(
            carrier=self._policy.carrier, id=item_id, parts=parts, anchor_height=anchor_height
        )
        await self._save(upload)
        return upload

    async def watch_once(self) -> None:
        """Check the next page of posted uploads: settle those that are deep enough, repost those that Arweave
        lost."""
        page = await self._on_log(lambda log: log.uploads.posted(self._watched))
        self._watched = page[-1].number if len(page) == limits.UPLOADS_WATCHED_AT_ONCE else 0
        sights = await self._sights(page)
        for upload in page:
            step = next_step(upload, sights.get(upload.number, UploadStatus()), self._policy, self._now_ms())
            if step is Step.SETTLE:
                await self._save(upload._replace(settled=True, parts=b""))
                self.progress.settled += 1
            elif step is not Step.WAIT:
                logger.warning("Arweave has lost bundle %s: it is posted again", upload.id)
                await self._save(upload._replace(posted_ms=0))
                self.progress.reposts += 1

    async def _sights(self, uploads: Sequence[Upload]) -> dict[int, UploadStatus]:
        """Return, by upload number, what Arweave reports of those uploads that this uploader signed."""
        ours = [upload for upload in uploads if upload.carrier == self._policy.carrier]
        if not ours or not self._policy.confirmations_min:
            return {}
        depths = await self._uploader.depths([upload.id for upload in ours])
        sights = {upload.number: UploadStatus(depths.get(upload.id)) for upload in ours}
        for upload in ours:
            if upload.id not in depths:
                mineable = await self._uploader.mineable(signed_upload(upload))
                sights[upload.number] = UploadStatus(None, mineable)
        return sights

    def stats(self, backlog: UploadBacklog) -> dict[str, Any]:
        """Return what waits and what fails, for people and metrics."""
        waiting = backlog._asdict()
        oldest_ms = waiting.pop("oldest_ms")
        age = max(0, self._now_ms() - oldest_ms) / 1000 if oldest_ms else 0.0
        return {
            "way": self._policy.carrier.partition(":")[0],
            **waiting,
            "oldest_seconds": age,
            **asdict(self.progress),
        }

    async def _save(self, upload: Upload) -> None:
        await self._on_log(lambda log: log.uploads.save(upload))

    def _failed(self, error: AorayError, interval_seconds: float) -> float:
        self.progress.failures += 1
        self.progress.last_error = f"{type(error).__name__}: {error.message}"
        self.progress.hint = WAIT_HINT if isinstance(error, InfrastructureError) else REFUSED_HINT
        logger.warning("a bundle was not accepted (%d times): %r", self.progress.failures, error)
        backoff = Backoff(2 * max(0.05, interval_seconds), limits.FLUSH_BACKOFF_SECONDS_MAX)
        return backoff.after(self.progress.failures)
