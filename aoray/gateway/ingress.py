"""The way in: bytes from a client become an ordered message, or an error that says why not.

A data item is parsed and its signature verified here, once; the shards and actors behind take it as true.
Then it goes to the shard that owns its process, in a batch with whatever else has queued, and is answered
when it is durable. The messenger's own items (pushes) take the same road from `submit` on.

On failure: bad input is a `ClientError` before anything is sent. A shard that is away is tried again with
the same batch (an id is scheduled once, so that is safe) for `limits.RETRY_SECONDS_MAX`, then the client
gets 503.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from aoray import limits
from aoray.batcher import Batcher, Sleep
from aoray.bounded import Bounded
from aoray.calls import Call
from aoray.errors import AorayError, MalformedInput, Overloaded, UnknownProcess
from aoray.gateway.admission import Admission
from aoray.gateway.halted import Halted
from aoray.gateway.knowledge import Knowledge
from aoray.gateway.places import Places
from aoray.gateway.waiting import Waiting
from aoray.metrics import Stage
from aoray.protocol.ids import is_id
from aoray.protocol.items import DataItem, addressee, parse, verify
from aoray.protocol.tags import ao_tag
from aoray.scheduler.reader import shard_of
from aoray.scheduler.rules import Receipt, Submission, turn_of


class Ingress:
    """Submits to the shards, and remembers the receipts."""

    def __init__(
        self,
        name: str,
        shards: int,
        call: Call,
        knowledge: Knowledge,
        places: Places,
        admission: Admission,
        waiting: Waiting,
        halted: Halted,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._name = name
        self.receipts: Bounded[tuple[str, str], Receipt] = Bounded(limits.RECEIPTS_MAX)
        self._waiting = waiting
        self._halted = halted
        self._places = places
        self.accepted_total = 0
        self.refused_total = 0
        self._knowledge = knowledge
        self._admission = admission
        self.stage = Stage("accepted", name, lambda: self.queued)
        self._batchers: list[Batcher[Submission, Receipt]] = [
            Batcher(
                self._submitter(call, f"shard-{index}"),
                size_of=_size,
                key_of=turn_of,
                sleep=sleep,
                done=self.stage.done,
            )
            for index in range(shards)
        ]

    @property
    def queued(self) -> int:
        return sum(map(len, self._batchers))

    @property
    def calls_total(self) -> int:
        return sum(batcher.calls_total for batcher in self._batchers)

    def put(self, submission: Submission) -> asyncio.Future[Receipt]:
        """Order one verified message; its receipt once it is durable. `Overloaded` at once, if it must wait
        too long."""
        try:
            return self._batchers[shard_of(submission.process_id, len(self._batchers))].put(submission)
        except Overloaded:
            self.refused_total += 1
            raise

    async def submit(self, submission: Submission) -> Receipt:
        """The same, for who waits here."""
        return await self.put(submission)

    async def accept(self, raw: bytes) -> Receipt:
        """Take a signed message or spawn from a client."""
        return await self.take(raw)

    def take(self, raw: bytes) -> asyncio.Future[Receipt]:
        """The same; what is wrong with the item itself is raised at once.

        Whether there is room is asked before all that costs: under overload most are refused.
        """
        if process_id := addressee(raw):
            self._check_room(process_id)
        item = parse(raw)
        verify(item)
        kind = ao_tag(item.tags, "Type")
        if kind == "Process":
            return asyncio.ensure_future(self._charged_spawn(item))
        if kind != "Message":
            raise MalformedInput(
                f"Tag 'Type': must be either 'Process' or 'Message', not {kind!r}", field="Type"
            )
        if not item.target:
            raise MalformedInput("a message needs a target: the process it is for", field="target")
        submission = Submission("message", process_id, item.id, item.raw, gateway=self._name)
        if self._admission.wallets.on:
            return asyncio.ensure_future(self._charged(item, submission))
        return self.put(submission)

    async def _charged(self, item: DataItem, submission: Submission) -> Receipt:
        await self._charge(item, submission.process_id)
        return await self.put(submission)

    async def _charged_spawn(self, item: DataItem) -> Receipt:
        await self._charge(item, item.id)
        return await self.spawn(item)

    def _check_room(self, process_id: str) -> None:
        """Refuse what would only wait."""
        self._halted.check(process_id)
        late = self._waiting.refuses(process_id)
        if late or self._batchers[shard_of(process_id, len(self._batchers))].is_late(process_id):
            self.refused_total += 1
            behind = "evaluation" if late else "the scheduler"
            raise Overloaded(
                f"{behind} is behind with what was sent before", hint="Try again.", retry_after_s=1
            )

    def _submitter(
        self, call: Call, shard: str
    ) -> Callable[[list[Submission]], Awaitable[Sequence[Receipt | AorayError]]]:
        async def submit(batch: list[Submission]) -> Sequence[Receipt | AorayError]:
            answers: list[Receipt | AorayError] = await call(shard, "submit", batch)
            for submission, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Receipt):
                    self._note(submission, answer)
                self.refused_total += isinstance(answer, Overloaded)
            return answers

        return submit

    def _note(self, submission: Submission, receipt: Receipt) -> None:
        key = receipt.process_id, receipt.message_id
        self.receipts[key] = receipt
        # One that was ordered before has been told of already, perhaps to another gateway.
        if submission.gateway and receipt.is_new:
            self._waiting.expect(key, receipt.actor)
        if receipt.actor:
            self._places.heard(receipt.process_id, receipt.actor)
        self.accepted_total += 1

    async def _charge(self, item: DataItem, process_id: str) -> None:
        """Charge the wallet, but not for what others may send in its name: what is known, or goes nowhere."""
        if not self._admission.wallets.on:
            return
        if process_id != item.id:
            await self._knowledge.process(process_id)
        if await self._knowledge.look(self._knowledge.reader.entry, process_id, item.id) is None:
            self._admission.wallet(item.address)

    async def spawn(self, item: DataItem) -> Receipt:
        """Make a process. One with a target is assigned to that process too (wire-contract §1.5)."""
        module = ao_tag(item.tags, "Module", "")
        if not is_id(module):
            raise MalformedInput("Tag 'Module': a process needs one, the id of a module", field="Module")
        self._admission.limits(item.tags, await self._knowledge.require_module(module))
        receipt = await self.submit(Submission("process", item.id, item.id, item.raw, gateway=self._name))
        if item.target:
            with contextlib.suppress(UnknownProcess):  # the spawn stands, whatever its target is
                await self.submit(Submission("assignment", item.target_id, item.id, item.raw))
        return receipt

    async def assign(self, process_id: str, message_id: str, exclude: tuple[str, ...] = ()) -> Receipt:
        """Put a message that exists (here or on Arweave) into another process's order."""
        for name, value in (("process-id", process_id), ("assign", message_id)):
            if not is_id(value):
                raise MalformedInput(f"{name} {value[:60]!r} is not an id", field=name)
        await self._knowledge.process(process_id)
        raw = await self._knowledge.raw_item(message_id)
        return await self.submit(Submission("assignment", process_id, message_id, raw, exclude, self._name))


def _size(submission: Submission) -> int:
    return len(submission.item)
