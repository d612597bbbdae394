"""A process's state made again from Arweave alone: what `aoray verify` and `aoray replay` do.

    async with replayed(ArweaveClient(url), process_id) as run:
        print(run.report(), run.dry_run({"Tags": []}))

First all assignments are listed by GraphQL, page by page, into a table on disk: Arweave keeps no order
within a block, so only then is it known which nonces there are. Then, in order of nonce, a page of slots is
fetched (whole bundles, in which a message and its assignment lie side by side; one by one what is not there),
judged by verify.py, and evaluated by the same code as a process actor's, while the next page is being
fetched. So memory holds the process, a few bundles and two pages, however long the log is. Compiled code is
not taken from anywhere else either, unless told: the module is compiled into a directory that goes away.

On failure: `LogFault` at the first lie; `Unavailable` when Arweave doesn't answer, which is none.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import orjson

from aoray import limits
from aoray.actors.evaluation import Evaluator, Prepared, Refusal
from aoray.actors.loading import Loader
from aoray.actors.messages import dry_run_message, given
from aoray.actors.modules import ModuleStore
from aoray.actors.served import served
from aoray.arweave.client import ArweaveClient
from aoray.errors import BadSignature, ClientError, MalformedInput, NotFound, UnsupportedModule
from aoray.protocol.assignments import Head, LogEntry
from aoray.protocol.bundles import unpack
from aoray.protocol.items import DataItem, parse, verify
from aoray.verify import (
    Claim,
    Facts,
    again,
    changed,
    check_slot,
    claim_of,
    facts_of,
    fault,
    gap,
    lost,
    message_named,
    page_of,
    twice,
)
from aoray.wasm import Engine, Instance

ASSIGNMENTS = """query ($process: String!, $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_ASC,
               tags: [{name: "Type", values: ["Assignment"]}, {name: "Process", values: [$process]}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id owner { address } tags { name value } bundledIn { id } } }
  }
}"""
TABLE = "CREATE TABLE slot (nonce INTEGER PRIMARY KEY, assignment TEXT, bundle TEXT, message TEXT UNIQUE)"

Progress = Callable[[str, int, int], None]  # what is being done, how far it is, of how much (0: unknown)
Compare = Callable[[LogEntry, bytes], Awaitable[None]]  # holds a recomputed result against another's word


class Pair(NamedTuple):
    """A slot's two items, not yet judged."""

    assignment: DataItem
    message: DataItem


class Table:
    """The assignments by nonce, on disk (SQLite's own temporary file)."""

    def __init__(self) -> None:
        self._sqlite = sqlite3.connect("", isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode = OFF")
        self._sqlite.execute(TABLE)

    def close(self) -> None:
        self._sqlite.close()

    def add(self, claim: Claim) -> str | None:
        """Keep a claim; or the assignment that has its nonce, if another has."""
        row = (claim.nonce, claim.assignment_id, claim.bundle)
        kept = self._sqlite.execute(
            "INSERT OR IGNORE INTO slot (nonce, assignment, bundle) VALUES (?, ?, ?)", row
        )
        return None if kept.rowcount else self._other(claim)

    def _other(self, claim: Claim) -> str | None:
        found = self._sqlite.execute("SELECT assignment FROM slot WHERE nonce = ?", (claim.nonce,))
        (there,) = found.fetchone()
        return str(there) if there != claim.assignment_id else None

    def name(self, nonce: int, message_id: str) -> int | None:
        """Note a slot's message; or the nonce that it has already."""
        try:
            self._sqlite.execute("UPDATE slot SET message = ? WHERE nonce = ?", (message_id, nonce))
        except sqlite3.IntegrityError:
            query = self._sqlite.execute("SELECT nonce FROM slot WHERE message = ?", (message_id,))
            return int(query.fetchone()[0])
        return None

    def page(self, nonce: int, to: int) -> list[tuple[int, str, str]]:
        """From this nonce up to `to`: nonce, assignment and bundle of what there is."""
        sql = "SELECT nonce, assignment, bundle FROM slot WHERE nonce BETWEEN ? AND ? ORDER BY nonce LIMIT ?"
        return self._sqlite.execute(sql, (nonce, to, limits.VERIFY_PAGE_ENTRIES)).fetchall()

    def last(self) -> int:
        """The highest nonce; -1 if there is none."""
        (last,) = self._sqlite.execute("SELECT ifnull(max(nonce), -1) FROM slot").fetchone()
        return int(last)


class Source:
    """The log of one process as an Arweave has it."""

    def __init__(self, client: ArweaveClient, facts: Facts, table: Table, ignore_forged: bool) -> None:
        self._client = client
        self._ignore_forged = ignore_forged
        self._facts = facts
        self._table = table
        self._bundles: dict[str, dict[str, bytes]] = {}
        self._requests = asyncio.Semaphore(limits.VERIFY_REQUESTS_IN_FLIGHT_MAX)

    async def list(self, progress: Progress) -> None:
        """Every assignment there is, into the table."""
        after, count, seen = None, 0, set[str | None]()
        while True:
            variables = {
                "process": self._facts.process_id,
                "first": limits.VERIFY_PAGE_ENTRIES,
                "after": after,
            }
            nodes, after = page_of(await self._client.graphql(ASSIGNMENTS, variables))
            for node in nodes:
                await self._add(node)
            count += len(nodes)
            progress("listing", count, 0)
            if after is None:
                return
            if after in seen:
                raise MalformedInput("The gateway's pages have no end: a cursor comes again.", field="cursor")
            seen.add(after)

    async def _add(self, node: dict[str, Any]) -> None:
        claim = claim_of(self._facts, node, ignore_forged=self._ignore_forged)
        other = self._table.add(claim) if claim else None
        if claim and other:
            for item_id in (other, claim.assignment_id):  # only what was really signed is a second one
                await self._item(claim.nonce, "assignment", item_id)
            raise twice(self._facts, claim.nonce, other, claim.assignment_id)

    async def pairs(self, nonce: int, to: int) -> Sequence[Pair]:
        """The items of the next slots, as many as make a page."""
        rows = self._table.page(nonce, to)
        for expected, (found, _, _) in enumerate(rows, start=nonce):
            if found != expected:
                if expected == nonce:
                    raise gap(self._facts, expected, found)
                rows = rows[: expected - nonce]  # what is before the gap is judged first
                break
        for bundle_id in dict.fromkeys(bundle for _, _, bundle in rows if bundle):
            await self._open(bundle_id)
        return await asyncio.gather(*(self._pair(nonce, item_id) for nonce, item_id, _ in rows))

    async def _open(self, bundle_id: str) -> None:
        """Keep a bundle's items; one that can't be had or read is no fault, its items may be found alone."""
        if bundle_id in self._bundles:
            return
        try:
            items = await asyncio.to_thread(unpack, await self._client.data(bundle_id))
        except ClientError:
            items = []
        while len(self._bundles) >= limits.VERIFY_BUNDLES_MAX:
            self._bundles.pop(next(iter(self._bundles)))
        self._bundles[bundle_id] = {item.id: item.raw for item in items}

    async def _pair(self, nonce: int, assignment_id: str) -> Pair:
        assignment = await self._item(nonce, "assignment", assignment_id)
        return Pair(assignment, await self._named(nonce, assignment))

    async def _named(self, nonce: int, assignment: DataItem) -> DataItem:
        if nonce == 0:
            return self._facts.item
        message_id = message_named(self._facts, nonce, assignment)
        return await self._item(nonce, "message", message_id)

    async def _item(self, nonce: int, what: str, item_id: str) -> DataItem:
        """An item, from a bundle at hand (then unverified) or alone."""
        raw = next((items[item_id] for items in self._bundles.values() if item_id in items), None)
        try:
            if raw is not None:
                return parse(raw, bytes_max=limits.UPLOAD_BYTES_MAX)
            async with self._requests:
                return await self._client.item(item_id)
        except NotFound as error:
            raise lost(self._facts, nonce, what, item_id) from error
        except BadSignature as error:
            raise changed(self._facts, nonce, what, item_id) from error
        except ClientError as error:
            why = f"{what} {item_id} cannot be read: {error.message}"
            raise fault(self._facts.process_id, nonce, item_id, why) from error


class Run:
    """A process as far as it was evaluated. `close` gives its memory back."""

    def __init__(self, facts: Facts, table: Table, prepared: Prepared) -> None:
        self.facts = facts
        self.head: Head | None = None
        self.seconds = 0.0
        self.last_result = b"{}"
        self._table = table
        self._env = prepared.env
        self._evaluator = evaluator_of(prepared)
        self._digest = sha256()
        self._height = self._assigned = self._errors = 0

    def close(self) -> None:
        self._evaluator.close()

    def judge(self, pairs: Sequence[Pair]) -> list[LogEntry]:
        """These slots as entries, each checked against the one before."""
        entries = []
        head = self.head
        for pair in pairs:
            head, entry = check_slot(self.facts, head, *pair)
            entries.append(entry)
            self._assigned += pair.message.target_id != entry.process_id and entry.nonce > 0
        self.head = head
        return entries

    def name(self, entries: Sequence[LogEntry]) -> None:
        """No message may have two nonces."""
        for entry in entries:
            before = self._table.name(entry.nonce, entry.message_id)
            if before is not None:
                raise again(self.facts, entry.nonce, entry.message_id, before)

    def evaluate(self, entries: Sequence[LogEntry]) -> list[bytes]:
        """The results of the next entries, as a computer serves them."""
        return [self._result(entry) for entry in entries]

    def _result(self, entry: LogEntry) -> bytes:
        message, self._height, _ = given(entry)
        result, has_error, _ = served(self._evaluator.evaluate(message, self._env))
        self._digest.update(sha256(result).digest())
        self._errors += has_error
        self.last_result = result
        return result

    def dry_run(self, body: dict[str, Any]) -> dict[str, Any]:
        """What a message would give now; leaves no trace."""
        timestamp = self.head.timestamp if self.head else 0
        message = dry_run_message(self.facts.process_id, body, timestamp, self._height)
        result: dict[str, Any] = orjson.loads(served(self._evaluator.dry_run(message, self._env)).result)
        return result

    def report(self) -> dict[str, Any]:
        """What was found, for people and programs."""
        assert self.head is not None  # there is a nonce 0, or a fault was raised
        messages = self.head.nonce + 1
        evaluator = self._evaluator
        return {
            "process": self.facts.process_id,
            "module": self.facts.module,
            "scheduler": self.facts.scheduler,
            "nonce": self.head.nonce,
            "messages": messages,
            "assigned": self._assigned,
            "errors": self._errors,
            "hash_chain": self.head.hash_chain,
            "results_sha256": self._digest.hexdigest(),
            "state_sha256": evaluator.state_hash() if isinstance(evaluator, Instance) else "",
            "seconds": round(self.seconds, 3),
            "messages_per_second": round(messages / self.seconds, 1) if self.seconds else 0.0,
            "last_result": orjson.loads(self.last_result),
        }


def evaluator_of(prepared: Prepared) -> Evaluator:
    """An instance; or what answers for a process that can't have one, which is no lie."""
    if isinstance(prepared.module, str):
        return Refusal(prepared.module)
    try:
        return Instance.boot(prepared.module, prepared.limits)
    except UnsupportedModule as error:
        return Refusal(error.message)


def nothing(_what: str, _done: int, _all: int) -> None:
    """Nobody looks."""


@asynccontextmanager
async def replayed(
    client: ArweaveClient,
    process_id: str,
    *,
    to: int | None = None,
    progress: Progress = nothing,
    compare: Compare | None = None,
    compiled: Path | None = None,
    ignore_forged: bool = False,
) -> AsyncIterator[Run]:
    """The process checked and evaluated up to nonce `to` (the last one on Arweave by default).

    `compiled` is a directory of compiled modules that is trusted. Anyone may upload what looks like an
    assignment: with `ignore_forged`, those that the scheduler did not make are passed over.
    """
    facts = facts_of(await _named_item(client, process_id, process_id, "process"))
    with TemporaryDirectory(prefix="aoray-verify-") as directory, closing(Table()) as table:
        module = await _named_item(client, process_id, facts.module, "module")
        prepared = await _prepared(facts, module, Path(directory), compiled)
        with closing(Run(facts, table, prepared)) as run:
            source = Source(client, facts, table, ignore_forged)
            await source.list(progress)
            await _rerun(run, source, _end(facts, table.last(), to), progress, compare)
            yield run


async def _named_item(client: ArweaveClient, process_id: str, item_id: str, what: str) -> DataItem:
    try:
        item = await client.item(item_id)
        await asyncio.to_thread(verify, item)
    except NotFound as error:
        raise fault(process_id, None, item_id, f"{what} {item_id} is not on Arweave") from error
    except BadSignature as error:
        why = f"wrong {what}: the signature of {item_id} does not verify"
        raise fault(process_id, None, item_id, why) from error
    except ClientError as error:
        raise fault(process_id, None, item_id, f"wrong {what}: {error.message}") from error
    return item


async def _prepared(facts: Facts, module: DataItem, directory: Path, compiled: Path | None) -> Prepared:
    async def fetch(_: str) -> DataItem:
        return module

    loader = Loader(ModuleStore(directory / "modules", fetch), Engine(compiled or directory / "compiled"))
    return await loader.prepared(facts.process_id, facts.item.raw)


def _end(facts: Facts, last: int, to: int | None) -> int:
    if last < 0:
        why = f"no assignment of process {facts.process_id} is on Arweave"
        raise fault(facts.process_id, 0, facts.process_id, why)
    if to is not None and to > last:
        raise MalformedInput(
            f"the log of {facts.process_id} on Arweave ends at nonce {last}, before {to}",
            field="to",
            hint="What was sent in the last seconds may not be there yet.",
        )
    return last if to is None else to


async def _rerun(run: Run, source: Source, to: int, progress: Progress, compare: Compare | None) -> None:
    """Judge and evaluate page by page, while the next page is on its way."""
    started = perf_counter()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="replaying") as thread:
        coming = asyncio.ensure_future(source.pairs(0, to))
        while run.head is None or run.head.nonce < to:
            pairs = await coming
            nonce = -1 if run.head is None else run.head.nonce
            coming = asyncio.ensure_future(_after(source, nonce + len(pairs) + 1, to))
            try:
                entries = await loop.run_in_executor(thread, run.judge, pairs)
                run.name(entries)
                results = await loop.run_in_executor(thread, run.evaluate, entries)
                if compare:
                    for entry, result in zip(entries, results, strict=True):
                        await compare(entry, result)
            except BaseException:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
                raise
            progress("evaluating", nonce + len(pairs) + 1, to + 1)
        await coming
    run.seconds = perf_counter() - started


async def _after(source: Source, nonce: int, to: int) -> Sequence[Pair]:
    return await source.pairs(nonce, to) if nonce <= to else []
