"""What is to be done next about an upload: pure, from what the log holds of it and what Arweave says of it.

    sign ──▶ post ──▶ wait … wait ──▶ settle
      ▲       ▲         │
      │       └─────────┤ Arweave does not know it any more: a fork or a gateway dropped it
      └─────────────────┘ and it can't be mined either: its anchor is too old, or not in the chain any more

Invariant: an upload is signed again (which gives it another id) only when what was signed before can't be
mined in the chain: so of all that is signed for one upload, one is confirmed. All else may be repeated.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from aoray import limits
from aoray.storage.uploads import Upload


class Step(Enum):
    """The next thing to do."""

    SIGN = auto()
    POST = auto()
    WAIT = auto()
    SETTLE = auto()


class UploadStatus(NamedTuple):
    """The state of an upload as Arweave reports it."""

    depth: int | None = None  # in blocks; 0: in none yet; None: it isn't there
    mineable: bool = True


class Policy(NamedTuple):
    """The rules by which uploads are made and count as settled."""

    carrier: str  # what makes them: what another has signed is not ours to post
    confirmations_min: int  # 0: what is accepted is settled
    repost_seconds: int


def next_step(upload: Upload, seen: UploadStatus, policy: Policy, now_ms: int) -> Step:
    """Return the one thing to do now."""
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
    """How long it may be missing: longer each time, so that a gateway that never shows it is not flooded."""
    seconds = policy.repost_seconds << min(max(0, upload.posts - 1), 30)
    return 1000 * min(seconds, limits.REPOST_SECONDS_MAX)
