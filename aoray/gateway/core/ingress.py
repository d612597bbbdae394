"""The way in: bytes from a client become an ordered message, or an error that says why not.

A data item is parsed and its signature verified here, once; the shards and actors behind take it as true.
Then it goes to the shard that owns its process, in a batch with whatever else has queued, and is answered
when it is durable. The messenger's own items (pushes) go the same way, in batches of their own (`push`).

On failure: bad input is a `ClientError` before anything is sent. A shard that is away is tried again with
the same batch (an id is scheduled once, so that is safe) for `limits.RETRY_SECONDS_MAX`, then the client
gets 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Sequence

from aoray.cluster.names import shard_of
from aoray.contracts.shard import Receipt, ShardCaller, Submission, fairness_key
from aoray.errors import AorayError, MalformedInput, Overloaded, UnknownProcess
from aoray.gateway.core.admission import Admission
from aoray.gateway.core.halted import Halted
from aoray.gateway.core.locations import ProcessLocations
from aoray.gateway.core.lookups import Lookups
from aoray.gateway.core.pending_results import PendingResults
from aoray.protocol.ans104.items import DataItem, addressee
from aoray.protocol.ids import ID_HINT, is_id
from aoray.protocol.signed import ANS104, parse, verify
from aoray.protocol.tags import ao_tag
from aoray.util.batcher import Batcher, Sleep
from aoray.util.metrics import StageMetrics

Submissions = Batcher[Submission, Receipt]


class Ingress:
    """The way of messages to the shards; `pending_results` remembers what was ordered."""

    def __init__(
        self,
        name: str,
        locations: ProcessLocations,
        lookups: Lookups,
        admission: Admission,
        pending_results: PendingResults,
        halted: Halted,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._name = name
        self._locations = locations
        self._pending_results = pending_results
        self._halted = halted
        self.accepted_total = 0
        self.refused_total = 0
        self._lookups = lookups
        self._admission = admission
        self.stage = StageMetrics("accepted", name, lambda: self.queued)
        make = functools.partial(Submissions, sleep=sleep, done=self.stage.done)
        submitters = [self._submitter(shard) for shard in locations.shards]
        # Apart, since a call is answered when all of it is ordered: no client waits for what processes send.
        self._batchers = [make(submit) for submit in submitters]
        self._pushed = [make(submit) for submit in submitters]

    @property
    def queued(self) -> int:
        """The number of messages that wait for a shard."""
        return sum(map(len, self._batchers + self._pushed))

    @property
    def calls_total(self) -> int:
        """The number of calls to shards so far."""
        return sum(batcher.calls_total for batcher in self._batchers + self._pushed)

    async def submit(self, submission: Submission) -> Receipt:
        """Order a client's message, and wait for its receipt."""
        queue = self._batchers[shard_of(submission.process_id, len(self._batchers))]
        return await self._put(queue, submission, fairness_key(submission))

    async def push(self, submission: Submission) -> Receipt:
        """Order a message that a process sends, when its turn among the others has come."""
        queue = self._pushed[shard_of(submission.process_id, len(self._pushed))]
        return await self._put(queue, submission, fairness_key(submission))

    def _put(self, queue: Submissions, submission: Submission, key: str) -> asyncio.Future[Receipt]:
        """The receipt of what is verified, once it is durable; it takes the turn of this key. `Overloaded` at
        once, if it must wait too long."""
        try:
            return queue.put(submission, key, len(submission.item))
        except Overloaded:
            self.refused_total += 1
            raise

    def take(self, raw: bytes) -> asyncio.Future[Receipt]:
        """Take a signed message or spawn from a client; what is wrong with the item itself is raised at
        once.

        Whether there is room is asked before all that costs: under overload most are refused.
        """
        process_id = addressee(raw)
        actor, now_s = self._locations.get(process_id) or "", time.monotonic()
        queue = self._queue_with_room(process_id, actor, now_s) if process_id else None
        item = parse(raw, ANS104)
        verify(item)
        kind = ao_tag(item.tags, "Type")
        is_new = self._pending_results.receipts.get((process_id, item.id)) is None
        if is_new and process_id and kind in ("Process", "Message"):
            self._pending_results.backpressure.took_in(process_id, actor, now_s)
        if kind == "Process":
            return asyncio.ensure_future(self._charged_spawn(item))
        if kind != "Message":
            raise MalformedInput(
                f"Tag 'Type': must be either 'Process' or 'Message', not {kind!r}",
                field="Type",
                hint="Put the tags Data-Protocol, Variant and Type on what you sign, as aoconnect does.",
            )
        if queue is None or not item.target:
            raise MalformedInput(
                "the message has no target", field="target", hint="Its target is the id of the process."
            )
        submission = Submission("message", process_id, item.id, item.raw, gateway=self._name)
        if self._admission.wallets.on:
            return asyncio.ensure_future(self._charged(item, queue, submission))
        return self._put(queue, submission, process_id)

    async def _charged(self, item: DataItem, queue: Submissions, submission: Submission) -> Receipt:
        await self._charge(item, submission.process_id)
        return await self._put(queue, submission, submission.process_id)

    async def _charged_spawn(self, item: DataItem) -> Receipt:
        await self._charge(item, item.id)
        return await self.spawn(item)

    def _queue_with_room(self, process_id: str, actor: str, now_s: float) -> Submissions:
        """The queue to the shard of a process; refuses what would only wait."""
        self._halted.check(process_id)
        queue = self._batchers[shard_of(process_id, len(self._batchers))]
        late = self._pending_results.backpressure.refuses(process_id, actor, now_s)
        if late or queue.is_late(process_id):
            self.refused_total += 1
            behind = "evaluation" if late else "the scheduler"
            raise Overloaded(
                f"{behind} is behind with what was sent before", hint="Try again.", retry_after_s=1
            )
        return queue

    def _submitter(
        self, shard: ShardCaller
    ) -> Callable[[list[Submission]], Awaitable[Sequence[Receipt | AorayError]]]:
        async def submit(batch: list[Submission]) -> Sequence[Receipt | AorayError]:
            answers = await shard.submit(batch)
            for submission, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Receipt):
                    self._pending_results.ordered(submission, answer)
                    self.accepted_total += 1
                self.refused_total += isinstance(answer, Overloaded)
            return answers

        return submit

    async def _charge(self, item: DataItem, process_id: str) -> None:
        """Charge the wallet, but not for what others may send in its name: what is known, or goes nowhere."""
        if not self._admission.wallets.on:
            return
        if process_id != item.id:
            await self._lookups.process(process_id)
        if await self._lookups.store_executor(self._lookups.reader.entry, process_id, item.id) is None:
            self._admission.wallet(item.address)

    async def spawn(self, item: DataItem) -> Receipt:
        """Order a spawn. One with a target is assigned to that process too (docs/wire-contract.md §1.5)."""
        module = ao_tag(item.tags, "Module", "")
        if not is_id(module):
            raise MalformedInput(
                "Tag 'Module': a process needs one, the id of a module",
                field="Module",
                hint="GET /health names the built-in module; `aoray module publish` publishes another.",
            )
        self._admission.limits(item.tags, await self._lookups.require_module(module))
        receipt = await self.submit(Submission("process", item.id, item.id, item.raw, gateway=self._name))
        if item.target:
            with contextlib.suppress(UnknownProcess):  # the spawn stands, whatever its target is
                await self.submit(Submission("assignment", item.target_id, item.id, item.raw))
        return receipt

    async def assign(
        self, process_id: str, message_id: str, exclude: tuple[str, ...] = (), who: str = ""
    ) -> Receipt:
        """Assign an existing message (here or on Arweave) to another process, as the address `who` asks."""
        for name, value in (("process-id", process_id), ("assign", message_id)):
            if not is_id(value):
                raise MalformedInput(f"{name} is {value[:60]!r}, not an id", field=name, hint=ID_HINT)
        await self._lookups.process(process_id)
        message = await self._lookups.signed_bytes(message_id, who)
        return await self.submit(
            Submission(
                "assignment", process_id, message_id, message.raw, exclude, self._name, message.envelope
            )
        )
