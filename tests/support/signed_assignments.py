"""Assignments as a scheduler makes them, for tests that look into them."""

from __future__ import annotations

from collections.abc import Sequence

from aoray.protocol.ans104.items import DataItem, parse
from aoray.protocol.assignments import Head, next_slot
from aoray.protocol.signatures.base import Signer


def next_assignment(
    signer: Signer,
    process_id: str,
    head: Head | None,
    message_id: str | None,
    *,
    now_ms: int,
    block_height: int,
    exclude: Sequence[str] = (),
) -> tuple[Head, DataItem]:
    """The slot after `head`, and its assignment taken apart."""
    head, raw = next_slot(
        signer,
        process_id,
        head,
        message_id,
        now_ms=now_ms,
        block_height=block_height,
        exclude=exclude,
    )
    return head, parse(raw)
