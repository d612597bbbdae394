"""The rules that decide what to do next about an upload, from what the log and Arweave say about it. Pure.

    sign ──▶ post ──▶ wait … wait ──▶ settle
      ▲       ▲         │
      │       └─────────┤ Arweave no longer knows it: a fork or a gateway dropped it
      └─────────────────┘ and it can't be mined either: its anchor is too old, or no longer in the chain

Invariant: an upload is signed again (which gives it another id) only when the earlier one can't be mined any
more. So of all ids that were signed for one upload, one is confirmed. All other steps may be repeated.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from aoray import limits
from aoray.storage.uploads import Upload


class Step(Enum):
    """The next thing to do about an upload."""

    SIGN = auto()
    POST = auto()
    WAIT = auto()
    SETTLE = auto()


class UploadStatus(NamedTuple):
    """The state of an upload as Arweave reports it."""

    depth: int | None = None  # in blocks; 0: not in a block yet; None: Arweave does not know it
    mineable: bool = True


class Policy(NamedTuple):
    """The settings that decide how uploads are made and when they are settled."""

    carrier: str  # the uploader that signs; what another uploader signed is signed again
    confirmations_min: int  # blocks; 0: an accepted upload is settled
    repost_seconds: int


def next_step(upload: Upload, seen: UploadStatus, policy: Policy, now_ms: int) -> Step:
    """Return what to do now about an upload."""
    if upload.carrier != policy.carrier or (seen.depth is None and not seen.mineable):
        return Step.SIGN
    if not upload.posted_ms:
        return Step.POST
    if policy.confirmations_min == 0 or (seen.depth or 0) >= policy.confirmations_min:
        return Step.SETTLE
    if seen.depth is not None or now_ms < upload.posted_ms + _patience_ms(upload, policy):
        return Step.WAIT
    return Step.POST


def _patience_ms(upload: Upload, policy: Policy) -> int:
    """Return how long Arweave may not know an upload before it is posted again. The time doubles with each
    post, so that a gateway that never shows the upload is not flooded."""
    seconds = policy.repost_seconds << min(max(0, upload.posts - 1), 30)
    return 1000 * min(seconds, limits.REPOST_SECONDS_MAX)
