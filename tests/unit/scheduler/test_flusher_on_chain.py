"""The flusher and a chain with blocks: whatever is lost, wherever it crashes, each entry is mined once."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from flusher_rig import fill, on_log_of
from ordering import committer, message, spawn

from aoray import limits
from aoray.arweave.uploaders import SignedUpload
from aoray.errors import Unavailable
from aoray.protocol.ans104.bundles import unpack
from aoray.scheduler.flusher import Flusher

ANCHOR_BLOCKS = 5
CONFIRMATIONS = 3
FORK_BLOCKS_MAX = CONFIRMATIONS - 1  # so a fork takes away nothing that is settled


class Crash(Exception):
    """The process ends here."""


class Chain:
    """A node: transactions wait, are mined, dropped, or forked away; every answer may be lost."""

    carrier = "transaction:test"
    confirming = True

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.calm = False
        self.height = self.highest = 0
        self.signed = 0
        self.pending: dict[str, tuple[int, bytes]] = {}  # id -> (height of its anchor, bundle)
        self.hidden: dict[str, tuple[int, bytes]] = {}  # the same, forgotten here, but not everywhere
        self.mined: dict[str, tuple[int, bytes]] = {}  # id -> (height, bundle)
        self.anchors: dict[str, int] = {}

    def fault(self) -> None:
        if not self.calm and self.rng.random() < 0.25:
            raise self.rng.choice((Crash(), Unavailable("no answer")))

    def grow(self) -> None:
        self.height += 1
        self.highest = max(self.highest, self.height)
        waiting = self.hidden | self.pending
        for each in [each for each in waiting if self.calm or self.rng.random() < 0.4]:
            anchor, bundle = waiting[each]
            self.pending.pop(each, None)
            self.hidden.pop(each, None)
            if self.height <= anchor + ANCHOR_BLOCKS:
                self.mined[each] = (self.height, bundle)

    def trouble(self) -> None:
        """The node forgets what waits; a fork takes away blocks, what they held may be mined again."""
        if self.rng.random() < 0.3:
            self.hidden |= self.pending
            self.pending.clear()
        if self.rng.random() < 0.3:
            self.height = self.rng.randint(max(0, self.highest - FORK_BLOCKS_MAX), self.height)
            for each in [each for each, (height, _) in self.mined.items() if height > self.height]:
                bundle = self.mined.pop(each)[1]
                if self.rng.random() < 0.5:
                    self.hidden[each] = (self.anchors[each], bundle)

    async def sign(self, bundle: bytes) -> SignedUpload:
        self.fault()
        self.signed += 1  # a wallet's signature is another each time
        return SignedUpload(f"tx-{self.signed}", b"parts", self.height)

    async def post(self, signed: SignedUpload, bundle: bytes, *, known: bool) -> None:
        self.fault()
        if signed.id not in self.mined:
            self.anchors[signed.id] = signed.anchor_height
            self.pending[signed.id] = (signed.anchor_height, bundle)
        self.fault()

    async def depths(self, ids: Sequence[str]) -> Mapping[str, int]:
        self.fault()
        found = {each: self.height - height + 1 for each, (height, _) in self.mined.items()}
        return {each: found.get(each, 0) for each in ids if each in found or each in self.pending}

    async def mineable(self, signed: SignedUpload) -> bool:
        return self.height <= signed.anchor_height + ANCHOR_BLOCKS + FORK_BLOCKS_MAX


async def attempt(flusher: Flusher) -> bool:
    """One round of its loops; False if the process ended."""
    for work in (flusher.flush_once, flusher.watch_once):
        try:
            while await work():  # type: ignore[func-returns-value]
                pass
        except Unavailable:
            continue
        except Crash:
            return False
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory, where there is such a place: a real disk has nothing to add here but time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.mark.parametrize("seed", range(12))
async def test_each_entry_is_mined_once(seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FLUSH_BUNDLE_ENTRIES_MAX", 3)
    rng = random.Random(seed)
    chain, process, now = Chain(rng), spawn(), [0]

    def started() -> tuple[Any, Flusher]:
        writer = committer(folder / "log")
        return writer, Flusher(
            on_log_of(writer),
            chain,
            confirmations_min=CONFIRMATIONS,
            repost_seconds=60,
            now_ms=lambda: now[0],
        )

    writer, flusher = started()
    expected = fill(writer, process)
    for step in range(90):
        chain.calm = step >= 30
        now[0] += 120_000
        if not chain.calm:
            expected += fill(writer, *(message(process.process_id) for _ in range(rng.randint(0, 3))))
            chain.trouble()
        if not await attempt(flusher):
            writer.close()
            writer, flusher = started()
        chain.grow()
    state = writer.log.uploads.state()
    assert state.flushed == state.last == len(expected) // 2
    assert writer.log.uploads.backlog() == (0, 0, 0, 0, 0)
    found = Counter(item.id for _, bundle in chain.mined.values() for item in unpack(bundle))
    assert found == Counter(expected)
    writer.close()
