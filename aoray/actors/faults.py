"""What a process actor does about faults of ours: waits that grow, a line in the log, an answer."""

from __future__ import annotations

import logging
from concurrent.futures import Future

from aoray import limits
from aoray.errors import AorayError, Unavailable

logger = logging.getLogger(__name__)

BACKOFF_FIRST_SECONDS = 0.1


def backoff(attempt: int) -> float:
    """How long to wait before an attempt; none before the first."""
    if attempt == 0:
        return 0.0
    return min(limits.ACTIVATION_BACKOFF_SECONDS_MAX, BACKOFF_FIRST_SECONDS * 2.0 ** min(attempt - 1, 10))


def log_fault(done: Future[object]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.error("a fault on the evaluating thread: %r", error, exc_info=error)


def not_here(process_id: str) -> AorayError:
    return Unavailable(
        f"process {process_id} is not on this actor", process=process_id, hint="It is being placed."
    )
