"""The attester: signs statements about the results of a shard's processes, which the flusher brings to
Arweave.

Where in a message's journey: beside it, after the result. At each interval the attester asks which processes
have new results or checkpoints, signs for each process the slots after its cursors (`log.attested`), and
stores the attestations and the moved cursors in one transaction. With an interval of 2 seconds this is one
signature (0.1 ms) for each process that had messages, however many messages those were.

Invariants: every slot of the log that has a result is attested, in order, by items that do not overlap. So is
the state of every checkpoint, in the same item or a later one. After a start the
attester looks at all processes, since nothing recorded which of them were behind. Nothing is signed on the
event loop or in the log's thread.

On failure: the attester tries the same processes again at the next interval.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aoray import limits
from aoray.errors import InfrastructureError
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.attestations import attest
from aoray.protocol.signatures.base import Signer
from aoray.storage.attestation_cursors import Cursor
from aoray.storage.log import Log
from aoray.storage.records import Mark
from aoray.storage.results import Results
from aoray.util.bounded_dict import BoundedDict

logger = logging.getLogger(__name__)


class SignedAttestation(NamedTuple):
    """Signed attestations, the cursors of their processes after them, and the processes that may have more to
    attest."""

    items: list[DataItem]
    cursors: dict[str, Cursor]
    unfinished: list[str]


class Attester:
    """The attester of one shard. `on_log` runs a function on the log in the log's thread."""

    def __init__(
        self,
        on_log: Callable[[Callable[[Log], Any]], Awaitable[Any]],
        results: Results,
        signer: Signer,
    ) -> None:
        self.attested = 0  # slots, since the start
        self._on_log = on_log
        self._results = results
        self._signer = signer
        self._mark: Mark | None = None
        self._waiting: dict[str, None] = {}  # processes to look at, in order
        self._engines: BoundedDict[str, int] = BoundedDict(limits.PROCESSES_KNOWN_MAX)

    async def run(
        self, interval_seconds: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Attest all new results, wait for the interval (seconds), and repeat forever."""
        while True:
            try:
                await self.attest_all()
            except InfrastructureError as error:
                logger.warning("attestations wait: %r", error)
            await sleep(interval_seconds)

    async def attest_all(self) -> None:
        """Attest all results and checkpoints that exist by now."""
        await self._look()
        while batch := list(self._waiting)[: limits.ATTEST_PROCESSES_MAX]:
            unfinished = await self._attest(batch)
            for process_id in batch:
                del self._waiting[process_id]
            self._waiting |= dict.fromkeys(unfinished)

    async def _look(self) -> None:
        """Find the processes that may have something to attest."""
        if self._mark is not None:
            found, self._mark = await asyncio.to_thread(self._results.written_since, self._mark)
            self._waiting |= dict.fromkeys(sorted(found))
            return
        mark, after = await asyncio.to_thread(self._results.mark), ""
        while page := await self._on_log(_page_after(after)):
            self._waiting |= dict.fromkeys(page)
            after = page[-1]
        self._mark = mark

    async def _attest(self, process_ids: list[str]) -> list[str]:
        """Attest the results of these processes, except of those that diverged; return the processes that may
        have more."""
        diverged = await asyncio.to_thread(self._results.diverged)
        process_ids = [process_id for process_id in process_ids if process_id not in diverged]
        cursors = await self._on_log(lambda log: log.attested.cursors(process_ids))
        engines = await self._engines_of(cursors)
        signed = await asyncio.to_thread(self._sign, cursors, engines)
        if signed.items:
            await self._on_log(lambda log: log.attested.keep(signed.items, signed.cursors))
            self.attested += sum(signed.cursors[pid].nonce - cursors[pid].nonce for pid in signed.cursors)
        return signed.unfinished

    async def _engines_of(self, process_ids: Iterable[str]) -> Mapping[str, int]:
        """Return the engine version to which each of these processes is bound, from memory or from the
        log."""
        known = {process_id: self._engines.get(process_id) for process_id in process_ids}
        engines = {process_id: version for process_id, version in known.items() if version is not None}
        if unknown := [process_id for process_id in known if process_id not in engines]:
            found = await self._on_log(lambda log: log.attested.engines(unknown))
            for process_id, version in found.items():
                self._engines[process_id] = engines[process_id] = version
        return engines

    def _sign(self, cursors: Mapping[str, Cursor], engines: Mapping[str, int]) -> SignedAttestation:
        signed = SignedAttestation([], {}, [])
        count = limits.ATTESTATION_SLOTS_MAX // 2  # results, and as many states
        for process_id, (nonce, state_nonce) in cursors.items():
            results = self._results.statements(process_id, nonce, count)
            last = results[-1].nonce if results else nonce
            states = self._results.states(process_id, state_nonce, last, count)
            statements = {statement.nonce: statement for statement in (*results, *states)}
            if statements:
                said = list(statements.values())
                signed.items.append(attest(self._signer, process_id, said, engines[process_id]))
                last_state = states[-1].nonce if states else state_nonce
                signed.cursors[process_id] = Cursor(last, last_state)
            if count in (len(results), len(states)):
                signed.unfinished.append(process_id)
        return signed


def _page_after(process_id: str) -> Callable[[Log], list[str]]:
    return lambda log: [placed.process_id for placed in log.placed(process_id, limits.PAGE_ENTRIES_MAX)]
