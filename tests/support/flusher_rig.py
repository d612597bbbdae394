"""What tests of the flusher share: a log with entries, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aoray.contracts.shard import Submission
from aoray.scheduler.committer import Committer
from aoray.scheduler.flusher import OnLog
from aoray.storage.log import Log


def on_log_of(writer: Committer) -> OnLog:
    async def on_log(function: Callable[[Log], Any]) -> Any:
        return function(writer.log)

    return on_log


def fill(writer: Committer, *batch: Submission) -> list[str]:
    """Commit, and give the ids that have to be on Arweave, in order."""
    work = writer.commit(batch, now_ms=1, block_height=0).work
    return [
        each for works in work.values() for w in works for each in (w.entry.message_id, w.entry.assignment_id)
    ]
