"""The courier carries one outbox message at a time: signs it, submits it, says what came of it.

A message whose target is no process here is a wallet's, or another network's: it is uploaded to Arweave, and
the chain ends there. An item is signed deterministically, so the same message is the same item at every
attempt, and the scheduler takes an id once: that makes push exactly once.

On failure: what can never be accepted (a module that is not there, too many tags) is `skipped`, with the
reason; what is away leaves the message `pending`, to be attempted again by `pusher`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import orjson

from aoray import limits
from aoray.actors.deliveries import Delivery
from aoray.actors.delivery import Attempt, Parcel, Spec, attempted, named, parcels, signed, untried
from aoray.actors.push import (
    EMPTY_DATA,
    AssignmentSpec,
    Fault,
    MessageSpec,
    Sender,
    SpawnSpec,
    outbox,
    sender_of,
    success_tags,
)
from aoray.actors.results import ResultRow
from aoray.errors import (
    ClientError,
    InfrastructureError,
    Overloaded,
    UnknownMessage,
    UnknownModule,
    UnknownProcess,
)
from aoray.gateway.ingress import Ingress
from aoray.gateway.knowledge import Arweave, Knowledge
from aoray.protocol.items import DataItem, build
from aoray.protocol.keys import Signer
from aoray.protocol.spawn_chain import RootWallets
from aoray.scheduler.rules import Submission
from aoray.settings import Settings

DELIVERED = Attempt("delivered")
Aside = Callable[[], AbstractContextManager[None]]


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Courier:
    def __init__(
        self,
        ingress: Ingress,
        knowledge: Knowledge,
        arweave: Arweave,
        signer: Signer,
        settings: Settings,
        *,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._ingress = ingress
        self._knowledge = knowledge
        self._arweave = arweave
        self._signer = signer
        self._arweave_is_ours = not settings.gateway_url
        self._foreign_attempts_max = settings.push_foreign_attempts_max
        self._now_ms = now_ms
        self._uploads = 0
        self.wallets = RootWallets(signer.address, self._process)

    def parcels(self, row: ResultRow) -> list[Parcel]:
        """All of a result's outbox."""
        result = orjson.loads(row.result)
        return parcels(result, outbox(result, self.sender(row.process_id), row.nonce, row.pushed_for))

    def sender(self, process_id: str) -> Sender:
        """It may read the log: not for the event loop."""
        return sender_of(self._knowledge.read_process(process_id))

    async def _process(self, process_id: str) -> DataItem | None:
        try:
            return await self._knowledge.process(process_id)
        except UnknownProcess:
            return None

    def untried(self, row: ResultRow, parcel: Parcel) -> Delivery:
        """The delivery of something that nobody has attempted yet, with the id that its item will have."""
        delivery = untried(row.process_id, row.nonce, parcel)
        try:
            item = signed(self._signer, parcel.spec)
        except ClientError:  # it can't be built; the attempt will say why
            item = None
        return named(delivery, item.id) if item else delivery

    async def deliver(self, parcel: Parcel, before: Delivery, aside: Aside) -> Delivery:
        """One attempt; `aside` is entered while it waits for Arweave."""
        try:
            item = signed(self._signer, parcel.spec)
            before = named(before, item.id) if item else before
            attempt = await self._attempt(parcel.spec, item, before.process_id, aside)
        except Overloaded as error:  # it was not even attempted
            return before._replace(error=error.message)
        except (UnknownMessage, UnknownModule) as error:
            # A gateway that is not ours may only be late to show it: `dead` in the end, where it is seen.
            foreign = not self._arweave_is_ours
            attempt = Attempt("pending" if foreign else "skipped", error.message, foreign)
        except ClientError as error:
            attempt = Attempt("skipped", error.message)
        except InfrastructureError as error:
            attempt = Attempt("pending", error.message)
        return attempted(before, attempt, self._now_ms(), self._foreign_attempts_max)

    async def _attempt(self, spec: Spec, item: DataItem | None, process_id: str, aside: Aside) -> Attempt:
        if isinstance(spec, MessageSpec) and item:
            return await self._message(spec, item, aside)
        if isinstance(spec, SpawnSpec) and item:
            return await self._spawn(spec, item, await self._knowledge.look(self.sender, process_id))
        if isinstance(spec, AssignmentSpec):
            await self._ingress.assign(spec.process_id, spec.message_id, spec.exclude)
            return DELIVERED
        assert isinstance(spec, Fault)
        return Attempt("skipped", spec.reason)

    async def _message(self, spec: MessageSpec, item: DataItem, aside: Aside) -> Attempt:
        attempt = DELIVERED
        try:
            await self._ingress.submit(Submission("message", spec.target, item.id, item.raw))
        except UnknownProcess:
            attempt = await self._upload(item, aside)
        refused = ""
        for process_id in spec.assign_to:
            try:
                await self._ingress.submit(Submission("assignment", process_id, item.id, item.raw))
            except ClientError as error:  # it is delivered all the same
                refused = f"not assigned to {process_id}: {error.message}"
        return attempt._replace(error=attempt.error or refused)

    async def _upload(self, item: DataItem, aside: Aside) -> Attempt:
        foreign = not self._arweave_is_ours
        if self._uploads >= limits.PUSH_UPLOADS_MAX:
            raise Overloaded("too many messages wait for Arweave")
        self._uploads += 1
        try:
            with aside():
                await self._arweave.post_item(item.raw)
        except InfrastructureError as error:
            return Attempt("pending", error.message, foreign)
        except ClientError as error:
            if not foreign:
                raise
            # A bundler's no (it wants to be paid, say) is not for ever: in the end `dead`, not `skipped`.
            return Attempt("pending", error.message, foreign)
        finally:
            self._uploads -= 1
        return Attempt("uploaded", foreign=foreign)

    async def _spawn(self, spec: SpawnSpec, process: DataItem, sender: Sender) -> Attempt:
        await self._ingress.spawn(process)
        news = self._news(spec, process, sender)
        await self._ingress.submit(Submission("message", sender.process_id, news.id, news.raw))
        return DELIVERED

    def _news(self, spec: SpawnSpec, process: DataItem, sender: Sender) -> DataItem:
        """The message that tells a parent of its new process."""
        tags = success_tags(spec, sender, process.id)
        return build(self._signer, target=sender.process_id, tags=tags, data=EMPTY_DATA)

    def follow_ups(self, row: ResultRow, parcel: Parcel) -> list[tuple[str, str]]:
        """What else a delivery leads to: processes, and the ids of what they get.

        The parent of a spawn hears of it; a message may be assigned to others than its target.
        """
        spec = parcel.spec
        try:
            item = None if isinstance(spec, Fault) else signed(self._signer, spec)
            if isinstance(spec, SpawnSpec) and item:
                sender = self.sender(row.process_id)
                return [(sender.process_id, self._news(spec, item, sender).id)]
        except ClientError:  # it can't be built (its delivery says why), so it leads nowhere
            return []
        assigned = spec.assign_to if isinstance(spec, MessageSpec) and item else ()
        return [(process_id, item.id) for process_id in assigned if item]
