"""What the verifier's tests share: a log put on Arweave, perhaps with lies in it, and verified from there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ordering import SCHEDULER, USER, bundle
from signed_assignments import next_assignment

from aoray.arweave.client import ArweaveClient
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import LogFault
from aoray.modules.lua import LUA_MODULE_FORMAT, LUA_WASM
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.assignments import Head, LogEntry
from aoray.protocol.forms import AO
from aoray.protocol.modules import module_tags
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag, first
from aoray.verify.replay import replayed

STRANGER = generate_ed25519()
MODULE = build(USER, tags=module_tags(LUA_MODULE_FORMAT), data=LUA_WASM.read_bytes())
EVAL = (("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Eval"))
PAIRS = 8

Pairs = list[tuple[bytes, bytes]]  # of each slot the message and the assignment


class Auditor:
    """Puts a log on Arweave and verifies it."""

    def __init__(
        self, store: ArweaveStore, client: ArweaveClient, log: list[LogEntry], compiled: Path
    ) -> None:
        self.store, self.client, self.compiled = store, client, compiled
        self.process = log[0].process_id
        self.pairs: Pairs = [(entry.item, entry.assignment) for entry in log]
        self.ids = [entry.message_id for entry in log]
        self.module = MODULE

    def publish(self, size: int = PAIRS) -> None:
        self.store.put(self.module)
        for at in range(0, len(self.pairs), size):
            self.store.put(bundle(SCHEDULER, self.pairs[at : at + size]))

    async def verify(self, to: int | None = None, compute_units: Sequence[str] = ()) -> dict[str, Any]:
        async with replayed(
            self.client, self.process, to=to, compiled=self.compiled, compute_units=compute_units
        ) as run:
            return run.report()

    async def lie(self) -> LogFault:
        self.publish()
        with pytest.raises(LogFault) as caught:
            await self.verify()
        return caught.value

    def head(self, nonce: int) -> Head:
        assignment = parse(self.pairs[nonce][1])
        chain, timestamp = (first(assignment.tags, name, "") for name in ("Hash-Chain", "Timestamp"))
        return Head(nonce, assignment.id, chain, int(timestamp))

    def sign(self, nonce: int, message_id: str, signer: Signer = SCHEDULER, **times: int) -> bytes:
        """Another assignment for that nonce."""
        given = {"now_ms": 1_700_000_000_000, "block_height": 7} | times
        return next_assignment(signer, self.process, self.head(nonce - 1), message_id, **given)[1].raw


def location(signer: Signer, compute: Signer, data: bytes = b"", target: str = "") -> DataItem:
    """What a scheduler says of where it is and who computes for it."""
    where = (("Type", "Scheduler-Location"), ("Url", "http://127.0.0.1:4003"), ("Time-To-Live", "3600000"))
    tags = [*AO, *(Tag(*pair) for pair in where), Tag("Compute-Unit", compute.address)]
    return build(signer, target=target, tags=tags, data=data)


def tampered(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])
