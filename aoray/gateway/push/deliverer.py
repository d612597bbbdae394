"""The deliverer carries one outbox message at a time: signs it, submits it, says what came of it.

A message whose target is not a process here is a wallet's, or another network's: it is uploaded to Arweave,
and the chain ends there. An item is signed deterministically, so the same message is the same item at every
attempt, and the scheduler takes an id once: that makes push exactly once.

On failure: what can never be accepted (too many tags, an assignment to what is not a process) is `skipped`,
with the reason; what is away, or what Arweave does not show, leaves the message `pending`, to be attempted
again by `pusher`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from aoray import limits
from aoray.contracts.shard import Submission
from aoray.errors import (
    ClientError,
    InfrastructureError,
    Overloaded,
    UnknownMessage,
    UnknownModule,
    UnknownProcess,
)
from aoray.gateway.core.ingress import Ingress
from aoray.gateway.core.lookups import Arweave, Lookups
from aoray.outbox.attempts import (
    DELIVERED,
    Attempt,
    OutboxEntry,
    Spec,
    after_attempt,
    entries_of,
    new_delivery,
    sign_if_possible,
    sign_item,
    with_item_id,
)
from aoray.outbox.entries import (
    EMPTY_DATA,
    AssignmentSpec,
    InvalidEntry,
    MessageSpec,
    Sender,
    SpawnSpec,
    sender_of,
    success_tags,
)
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signed import SignedMessage
from aoray.protocol.spawn_chain import RootWallets
from aoray.settings import Settings
from aoray.storage.records import Delivery, ResultRow
from aoray.util.clock import clock_ms

ReleaseSlot = Callable[[], AbstractContextManager[None]]


class AttemptResult(NamedTuple):
    """A delivery after an attempt, and whether Arweave does not show what the attempt needs."""

    delivery: Delivery
    absent: bool


class OutboxDeliverer:
    """Delivers the entries of outboxes, one attempt at a time: signs an item, then orders or uploads it."""

    def __init__(
        self,
        ingress: Ingress,
        lookups: Lookups,
        arweave: Arweave,
        signer: Signer,
        settings: Settings,
        *,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._ingress = ingress
        self._lookups = lookups
        self._arweave = arweave
        self._signer = signer
        self._arweave_is_embedded = not settings.gateway_url
        self._foreign_attempts_max = settings.push_foreign_attempts_max
        self._now_ms = now_ms
        self._uploads = 0
        self.wallets = RootWallets(signer.address, self._process)

    def entries(self, row: ResultRow) -> list[OutboxEntry]:
        """Return all entries of a result's outbox."""
        return entries_of(row, self.sender(row.process_id))

    def sender(self, process_id: str) -> Sender:
        """Return the sender of a process's messages. It may read the log, so not for the event loop."""
        return sender_of(self._lookups.read_process(process_id))

    async def _process(self, process_id: str) -> SignedMessage | None:
        try:
            return await self._lookups.process(process_id)
        except UnknownProcess:
            return None

    def new_delivery(self, row: ResultRow, entry: OutboxEntry) -> Delivery:
        """Return the delivery of an entry that nobody has attempted yet, with the id that its item will
        have."""
        delivery = new_delivery(row.process_id, row.nonce, entry)
        item = sign_if_possible(self._signer, entry.spec)
        return with_item_id(delivery, item.id) if item else delivery

    async def deliver(self, entry: OutboxEntry, before: Delivery, release_slot: ReleaseSlot) -> AttemptResult:
        """Make one attempt; `release_slot` is entered while it waits for Arweave."""
        try:
            item = sign_item(self._signer, entry.spec)
            before = with_item_id(before, item.id) if item else before
            attempt = await self._attempt(entry.spec, item, before.process_id, release_slot)
        except Overloaded as error:  # it was not even attempted
            return AttemptResult(before._replace(error=error.message), absent=False)
        except (UnknownMessage, UnknownModule) as error:  # it may be published yet: `dead` in the end
            attempt = Attempt("pending", error.message, absent=True)
        except ClientError as error:
            attempt = Attempt("skipped", error.message)
        except InfrastructureError as error:
            attempt = Attempt("pending", error.message)
        after = after_attempt(before, attempt, self._now_ms(), self._foreign_attempts_max)
        return AttemptResult(after, absent=attempt.absent)

    async def _attempt(
        self, spec: Spec, item: DataItem | None, process_id: str, release_slot: ReleaseSlot
    ) -> Attempt:
        if isinstance(spec, MessageSpec) and item:
            return await self._message(spec, item, release_slot)
        if isinstance(spec, SpawnSpec) and item:
            return await self._spawn(spec, item, await self._lookups.store_executor(self.sender, process_id))
        if isinstance(spec, AssignmentSpec):
            await self._ingress.assign(spec.process_id, spec.message_id, spec.exclude)
            return DELIVERED
        assert isinstance(spec, InvalidEntry)
        return Attempt("skipped", spec.reason)

    async def _message(self, spec: MessageSpec, item: DataItem, release_slot: ReleaseSlot) -> Attempt:
        attempt = DELIVERED
        try:
            await self._ingress.push(Submission("message", spec.target, item.id, item.raw))
        except UnknownProcess:
            attempt = await self._upload(item, release_slot)
        refused = ""
        for process_id in spec.assign_to:
            try:
                await self._ingress.push(Submission("assignment", process_id, item.id, item.raw))
            except ClientError as error:  # it is delivered all the same
                refused = f"not assigned to {process_id}: {error.message}"
        return attempt._replace(error=attempt.error or refused)

    async def _upload(self, item: DataItem, release_slot: ReleaseSlot) -> Attempt:
        foreign = not self._arweave_is_embedded
        if self._uploads >= limits.PUSH_UPLOADS_MAX:
            raise Overloaded("too many messages wait for Arweave")
        self._uploads += 1
        try:
            with release_slot():
                await self._arweave.post_item(item.raw)
        except InfrastructureError as error:
            return Attempt("pending", error.message, foreign)
        except ClientError as error:
            if not foreign:
                raise
            # A bundler's no (it wants to be paid, say) is not forever: in the end `dead`, not `skipped`.
            return Attempt("pending", error.message, foreign)
        finally:
            self._uploads -= 1
        return Attempt("uploaded", foreign=foreign)

    async def _spawn(self, spec: SpawnSpec, process: DataItem, sender: Sender) -> Attempt:
        await self._ingress.spawn(process)
        news = self._spawn_notice(spec, process, sender)
        await self._ingress.push(Submission("message", sender.process_id, news.id, news.raw))
        return DELIVERED

    def _spawn_notice(self, spec: SpawnSpec, process: DataItem, sender: Sender) -> DataItem:
        """The message that tells a parent of its new process."""
        tags = success_tags(spec, sender, process.id)
        return build(self._signer, target=sender.process_id, tags=tags, data=EMPTY_DATA)

    def follow_ups(self, row: ResultRow, entry: OutboxEntry) -> list[tuple[str, str]]:
        """Return what else a delivery leads to: processes, and the ids of what they get.

        The parent of a spawn hears of it; a message may be assigned to others than its target.
        """
        spec = entry.spec
        try:
            item = None if isinstance(spec, InvalidEntry) else sign_item(self._signer, spec)
            if isinstance(spec, SpawnSpec) and item:
                sender = self.sender(row.process_id)
                return [(sender.process_id, self._spawn_notice(spec, item, sender).id)]
        except ClientError:  # it can't be built (its delivery says why), so it leads nowhere
            return []
        assigned = spec.assign_to if isinstance(spec, MessageSpec) and item else ()
        return [(process_id, item.id) for process_id in assigned if item]
