"""Rebuilds the state of a process from Arweave alone, for `aoray verify` and `aoray replay`.

    async with replayed(ArweaveClient(url), process_id) as run:
        print(run.report(), run.dry_run({"Tags": []}))

First everything on Arweave is listed (verify/source.py). Then, in the order of nonces, a page of slots is
fetched, checked (verify/workers.py), and evaluated by the same code as in a process actor, and the results
are compared with the attestations. While one page is evaluated, the next pages are checked, and the one after
these is fetched. So memory holds the process, a few bundles and a few pages, however long the log is.
Compiled code is not taken from elsewhere either, unless the caller allows it: the module is compiled into a
temporary directory.

A scheduler and a compute unit may have handed over to other keys (verify/succession.py), which then count.

The attestations that count are those of the compute units that the caller names, or else that the process's
scheduler names in the `Compute-Unit` tags of its signed Scheduler-Location. Others who attest are only named
in the report, since anybody may sign anything.

On failure: `LogFault` at the first false statement. `Unavailable` if Arweave does not answer, and
`UnknownFormat` if the virtual machine of the process's module is not installed here, say nothing about the
log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, TypeVar

import orjson

from aoray.arweave.client import ArweaveClient
from aoray.errors import AorayError, BadSignature, ClientError, LogFault, MalformedInput, NotFound
from aoray.execution.guest_input import GuestMessage, dry_run_message
from aoray.execution.guest_output import to_result
from aoray.execution.loader import Loader, SpawnedProcess
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.assignments import Head, LogEntry
from aoray.protocol.attestations import Statement, result_hash
from aoray.protocol.handovers import Tenure
from aoray.protocol.signed import verify
from aoray.protocol.transactions import is_raw
from aoray.storage.modules import ModuleStore
from aoray.verify.listing import ClaimTable
from aoray.verify.rules import (
    AttestedSlot,
    ProcessFacts,
    check_attested,
    facts_of,
    fault,
    fault_duplicate_message,
    not_signed,
)
from aoray.verify.source import Progress, Source
from aoray.verify.succession import ends_of, line_of
from aoray.verify.workers import CheckedSlot, SlotPage, VerifyPool
from aoray.vm.registry import PreparedProgram, VirtualMachines, evaluator_of

Compare = Callable[[LogEntry, bytes], Awaitable[None]]  # compares a recomputed result with another source
T = TypeVar("T")


class Run:
    """A process that was verified and evaluated up to some nonce. `close` releases its memory."""

    def __init__(self, facts: ProcessFacts, table: ClaimTable, prepared: PreparedProgram) -> None:
        self.facts = facts
        self.head: Head | None = None
        self.seconds = 0.0
        self.last_result = b"{}"
        self._table = table
        self._env = prepared.env
        self._evaluator = evaluator_of(prepared)
        self._digest = sha256()
        self._height = self._assigned = self._errors = self._states = 0
        self.compute_units: Sequence[str] = ()
        self.ends: Mapping[str, Tenure] = {}  # of compute units: the time until which they count
        self.other_attesters: Sequence[str] = ()
        self.other_assignments = 0

    def close(self) -> None:
        """Release the process's memory."""
        self._evaluator.close()

    def take(self, judged: Sequence[CheckedSlot]) -> None:
        """Accept the next slots. Raises `LogFault` if a message has two nonces."""
        if (doubled := self._table.name(judged)) is not None:
            entry, before = doubled
            raise fault_duplicate_message(self.facts, entry.nonce, entry.message_id, before)
        self.head = judged[-1].head
        self._assigned += sum(each.is_assigned for each in judged)

    def believed(
        self, judged: Sequence[CheckedSlot], said: Mapping[int, list[AttestedSlot]]
    ) -> dict[int, list[AttestedSlot]]:
        """Return the attestations of these slots, by nonce, without those of compute units for times after
        their hand-over, which are dropped."""
        found: dict[int, list[AttestedSlot]] = {}
        for entry, *_ in judged:
            for each in said.get(entry.nonce, ()):
                if entry.timestamp <= each.until_ms:
                    found.setdefault(entry.nonce, []).append(each)
                else:
                    self._table.drop_attestations(entry.nonce, each.item)
        return found

    def evaluate(
        self, judged: Sequence[CheckedSlot], said: Mapping[int, Sequence[AttestedSlot]]
    ) -> list[bytes]:
        """Evaluate the next slots, compare each with its attestations, and return the results as a computer
        serves them. Raises `LogFault`."""
        results = []
        for entry, given, *_ in judged:
            results.append(self._result(given))
            if entry.nonce in said:
                self._compare(entry, results[-1], said[entry.nonce])
        return results

    def _compare(self, entry: LogEntry, result: bytes, said: Sequence[AttestedSlot]) -> None:
        state = ""
        if any(each.statement.state_hash for each in said):
            state = self._state_hash()
            self._states += 1
        found = Statement(entry.nonce, entry.message_id, result_hash(result), state)
        for each in said:
            check_attested(self.facts, each, found)

    def _state_hash(self) -> str:
        evaluator = self._evaluator
        return evaluator.state().hash if evaluator.supports_checkpoints else ""

    def _result(self, given: GuestMessage) -> bytes:
        self._height = given.block_height
        result, has_error, _ = to_result(self._evaluator.evaluate(given.message, self._env))
        self._digest.update(sha256(result).digest())
        self._errors += has_error
        self.last_result = result
        return result

    def dry_run(self, body: dict[str, Any]) -> dict[str, Any]:
        """Evaluate a message on the present state, and leave the state as it is."""
        timestamp = self.head.timestamp if self.head else 0
        message = dry_run_message(self.facts.process_id, body, timestamp, self._height)
        result: dict[str, Any] = orjson.loads(to_result(self._evaluator.dry_run(message, self._env)).result)
        return result

    def report(self) -> dict[str, Any]:
        """Return the findings, for people and programs."""
        assert self.head is not None  # there is a nonce 0, or a fault was raised
        messages = self.head.nonce + 1
        attested, last, beyond = self._table.attested(self.head.nonce)
        return {
            "process": self.facts.process_id,
            "module": self.facts.module,
            "scheduler": self.facts.scheduler,
            "successors": [tenure.address for tenure in self.facts.line[1:]],
            "nonce": self.head.nonce,
            "messages": messages,
            "assigned": self._assigned,
            "errors": self._errors,
            "hash_chain": self.head.hash_chain,
            "results_sha256": self._digest.hexdigest(),
            "state_sha256": self._state_hash(),
            "compute_units": list(self.compute_units),
            "other_attesters": list(self.other_attesters),
            "other_assignments": self.other_assignments,
            "attested": attested,
            "attested_states": self._states,
            "not_attested_at_the_end": self.head.nonce - last,
            "not_attested_before": last + 1 - attested,
            "attested_beyond": beyond,
            "seconds": round(self.seconds, 3),
            "messages_per_second": round(messages / self.seconds, 1) if self.seconds else 0.0,
            "last_result": orjson.loads(self.last_result),
        }


def no_progress(_what: str, _done: int, _all: int) -> None:
    """Ignore a report of progress."""


@asynccontextmanager
async def replayed(
    client: ArweaveClient,
    process_id: str,
    *,
    to: int | None = None,
    progress: Progress = no_progress,
    compare: Compare | None = None,
    compiled: Path | None = None,
    compute_units: Collection[str] = (),
) -> AsyncIterator[Run]:
    """Verify and evaluate a process up to a nonce, from Arweave alone.

    A context manager that gives the `Run`, and returns its memory at the end.

    Args:
        client: The Arweave to read from.
        process_id: The process.
        to: The last nonce; by default the last on Arweave.
        progress: Called with the stage, and how much of it is done.
        compare: Called with each slot and its result as a computer would serve it.
        compiled: A directory of compiled modules that is trusted; none by default.
        compute_units: Addresses whose attestations must be true; by default those that the scheduler names.

    Raises:
        LogFault: The log is false; `details` name the nonce and the item.
        NotFound: The process is not on this Arweave.
        Unavailable: Arweave does not answer.
    """
    facts = facts_of(await _named_item(client, process_id, process_id, "process"))
    facts = facts._replace(line=await line_of(client, "scheduler", facts.scheduler))
    with TemporaryDirectory(prefix="aoray-verify-") as directory, closing(ClaimTable()) as table:
        module = await _named_item(client, process_id, facts.module, "module")
        source = Source(client, facts, table)
        await source.list_log(progress)
        end = _end(facts, table.last(), to)
        spawned = SpawnedProcess(facts.item.raw, await source.assignment_of_spawn())
        prepared = await _prepared(facts, module, spawned, Path(directory), compiled)
        with closing(Run(facts, table, prepared)) as run:
            run.other_assignments = await source.others()
            with closing(VerifyPool(facts, end + 1)) as judges:  # starts while attestations are listed
                run.ends = await ends_of(client, compute_units or await source.compute_units())
                run.compute_units = sorted(run.ends)
                run.other_attesters = await source.list_attestations(run.ends, progress)
                await _rerun(run, source, judges, end, progress, compare)
            yield run


async def _named_item(client: ArweaveClient, process_id: str, item_id: str, what: str) -> DataItem:
    try:
        item = await client.signed(item_id)  # a module may be a layer-1 transaction
        if what == "process" or not is_raw(item.raw):
            await asyncio.to_thread(verify, item)
    except NotFound as error:
        if item_id == process_id:  # not a fault: there is no log to check
            raise NotFound(
                f"process {process_id} is not on Arweave at {client.url}",
                hint="Check the URL of Arweave. A process spawned seconds ago may not be there yet.",
            ) from error
        raise fault(process_id, None, item_id, f"{what} {item_id} is not on Arweave") from error
    except BadSignature as error:
        raise not_signed(process_id, None, f"wrong {what}:", item_id, error) from error
    except ClientError as error:
        raise fault(process_id, None, item_id, f"wrong {what}: {error.message}") from error
    return item


async def _prepared(
    facts: ProcessFacts, module: DataItem, spawned: SpawnedProcess, directory: Path, compiled: Path | None
) -> PreparedProgram:
    async def fetch(_: str) -> DataItem:
        return module

    machines = VirtualMachines(compiled or directory / "compiled")
    loader = Loader(ModuleStore(directory / "modules", fetch), machines)
    return await loader.prepared(facts.process_id, spawned)


def _end(facts: ProcessFacts, last: int, to: int | None) -> int:
    if last < 0:
        why = f"no assignment of process {facts.process_id} is on Arweave"
        raise fault(facts.process_id, 0, facts.process_id, why)
    if to is not None and to > last:
        raise MalformedInput(
            f"the log of {facts.process_id} on Arweave ends at nonce {last}, before {to}",
            field="to",
            hint="Messages sent seconds ago may not be there yet.",
        )
    return last if to is None else to


async def _rerun(
    run: Run, source: Source, judges: VerifyPool, to: int, progress: Progress, compare: Compare | None
) -> None:
    """Evaluate page by page, compare each with its attestations, and fetch and check others meanwhile."""
    started = perf_counter()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="replaying") as thread:
        async with aclosing(_ahead(_judged(judges, source, to))) as pages:
            async for judged in pages:
                run.take(judged)
                first, last = judged[0].entry.nonce, judged[-1].entry.nonce
                said = run.believed(judged, source.attestations(first, last))
                results = await loop.run_in_executor(thread, run.evaluate, judged, said)
                if compare:
                    for each, result in zip(judged, results, strict=True):
                        await compare(each.entry, result)
                progress("evaluating", last + 1, to + 1)
    run.seconds = perf_counter() - started


async def _judged(judges: VerifyPool, source: Source, to: int) -> AsyncGenerator[list[CheckedSlot], None]:
    """Yield the pages of the log in order, each checked. Several are checked at once; a fault is raised when
    its page is due."""
    judging: deque[asyncio.Future[list[CheckedSlot]]] = deque()
    missing: AorayError | None = None
    async with aclosing(_ahead(_fetched(source, to))) as pages:
        try:
            while missing is None:
                try:
                    page = await anext(pages, None)
                except AorayError as error:
                    missing = error
                else:
                    if page is None:
                        break
                    judging.append(asyncio.ensure_future(_judged_surely(judges, source, page)))
                while judging and (missing or len(judging) >= judges.width):
                    yield await judging.popleft()
            while judging:
                yield await judging.popleft()
        finally:
            for each in judging:
                each.cancel()
            await asyncio.gather(*judging, return_exceptions=True)
    if missing:
        raise missing


async def _judged_surely(judges: VerifyPool, source: Source, page: SlotPage) -> list[CheckedSlot]:
    """Check the slots of a page. Before anybody is accused, items are fetched one by one, since a stranger's
    bundle may have another item under the same id."""
    try:
        return await judges.check_page(page)
    except LogFault:
        alone = await source.alone(page)
        if alone == page:
            raise
    return await judges.check_page(alone)


async def _fetched(source: Source, to: int) -> AsyncGenerator[SlotPage, None]:
    nonce = 0
    while nonce <= to:
        page = await source.page(nonce, to)
        nonce += len(page.pairs)
        yield page


async def _ahead(pages: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the pages, and prepare the next page while one is in use. An error is raised when its page is
    due."""
    async with aclosing(pages):
        coming = asyncio.ensure_future(anext(pages, None))
        try:
            while (page := await coming) is not None:
                coming = asyncio.ensure_future(anext(pages, None))
                yield page
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
