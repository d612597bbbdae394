"""What Arweave has of one process: its assignments, their messages, and what was attested of its results.

Before a log is judged (verify.py) and evaluated (replay.py), all its assignments and attestations are listed
by GraphQL, page by page, into tables on disk: Arweave keeps no order within a block, so only then is it known
which nonces there are. The items of a page of slots are fetched in whole bundles, in which a message and its
assignment lie side by side among those of other processes; one by one what is not there. Of all these only
the assignments are read here, for the messages' ids; a page goes on as raw items.

Invariants: memory holds a few bundles and a page, however long the log is. What comes from here is what a
gateway says, unless it says "verified"; attestations are verified before they are in the table.

On failure: `LogFault` for what is missing, double or unreadable; `Unavailable` when Arweave doesn't answer.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, NamedTuple

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.errors import BadSignature, ClientError, MalformedInput, NotFound
from aoray.judging import Judged, Page, Pair
from aoray.limits import BUNDLE_BYTES_MAX
from aoray.protocol.assignments import LogEntry, plain
from aoray.protocol.attestations import Statement, statements_of
from aoray.protocol.bundles import places
from aoray.protocol.engines import BEFORE_VERSIONS, engine_named
from aoray.protocol.ids import b64url_encode
from aoray.protocol.items import DataItem, id_of, parse
from aoray.protocol.tags import all_of
from aoray.verify import (
    Claim,
    Facts,
    Said,
    check_attested_engine,
    claim_of,
    fault,
    gap,
    lost,
    message_named,
    not_signed,
    page_of,
    twice,
)

ASSIGNMENTS = """query ($process: [String!]!, $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_ASC,
               tags: [{name: "Type", values: ["Assignment"]}, {name: "Process", values: $process}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id owner { address } tags { name value } bundledIn { id } } }
  }
}"""
ATTESTATIONS = """query ($process: [String!]!, $owners: [String!], $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_ASC, owners: $owners,
               tags: [{name: "Type", values: ["Attestation"]}, {name: "Process", values: $process}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id owner { address } } }
  }
}"""
LOCATIONS = """query ($owners: [String!], $first: Int!) {
  transactions(first: $first, sort: HEIGHT_DESC, owners: $owners,
               tags: [{name: "Type", values: ["Scheduler-Location"]}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id owner { address } } }
  }
}"""
TABLES = (
    "CREATE TABLE slot (nonce INTEGER PRIMARY KEY, assignment TEXT, bundle TEXT, message TEXT UNIQUE)",
    "CREATE TABLE said (nonce INTEGER, message TEXT, result TEXT, state TEXT, item TEXT, owner TEXT)",
    "CREATE INDEX said_of ON said (nonce)",
)

Progress = Callable[[str, int, int], None]  # what is being done, how far it is, of how much (0: unknown)


class Bundle(NamedTuple):
    """A bundle that is open: its items lie at these places, by the ids that its header gives them."""

    data: bytes
    places: dict[str, tuple[int, int]]


class Table:
    """What was listed, by nonce, on disk (SQLite's own temporary file)."""

    def __init__(self) -> None:
        self._sqlite = sqlite3.connect("", isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode = OFF")
        for statement in TABLES:
            self._sqlite.execute(statement)

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

    def name(self, judged: Sequence[Judged]) -> tuple[LogEntry, int] | None:
        """Note the messages of these slots; or the first that has a nonce already, and which."""
        rows = [(entry.message_id, entry.nonce) for entry, *_ in judged]
        try:
            self._sqlite.executemany("UPDATE slot SET message = ? WHERE nonce = ?", rows)
        except sqlite3.IntegrityError:  # those before the one at fault are noted: there is no transaction
            for entry, *_ in judged:
                query = self._sqlite.execute("SELECT nonce FROM slot WHERE message = ?", (entry.message_id,))
                (before,) = query.fetchone()
                if before != entry.nonce:
                    return entry, before
        return None

    def page(self, nonce: int, to: int) -> list[tuple[int, str, str]]:
        """From this nonce up to `to`: nonce, assignment and bundle of what there is."""
        sql = "SELECT nonce, assignment, bundle FROM slot WHERE nonce BETWEEN ? AND ? ORDER BY nonce LIMIT ?"
        return self._sqlite.execute(sql, (nonce, to, limits.VERIFY_PAGE_ENTRIES)).fetchall()

    def last(self) -> int:
        """The highest nonce; -1 if there is none."""
        (last,) = self._sqlite.execute("SELECT ifnull(max(nonce), -1) FROM slot").fetchone()
        return int(last)

    def say(self, item: DataItem, statements: Sequence[Statement]) -> None:
        """Keep what a verified attestation says."""
        rows = [(*statement, item.id, item.address) for statement in statements]
        self._sqlite.executemany("INSERT INTO said VALUES (?, ?, ?, ?, ?, ?)", rows)

    def said(self, nonce: int, to: int) -> dict[int, list[Said]]:
        """What is attested of these slots."""
        found: dict[int, list[Said]] = defaultdict(list)
        sql = "SELECT * FROM said WHERE nonce BETWEEN ? AND ? ORDER BY nonce"
        for *statement, item_id, owner in self._sqlite.execute(sql, (nonce, to)):
            found[statement[0]].append(Said(Statement(*statement), item_id, owner))
        return found

    def attested(self, to: int) -> tuple[int, int, int]:
        """Slots up to `to` that are attested, the last of them (-1: none), and attested slots beyond."""
        sql = """SELECT count(DISTINCT nonce) FILTER (WHERE nonce <= ?1),
                        ifnull(max(nonce) FILTER (WHERE nonce <= ?1), -1),
                        count(DISTINCT nonce) FILTER (WHERE nonce > ?1) FROM said"""
        slots, last, beyond = self._sqlite.execute(sql, (to,)).fetchone()
        return slots, last, beyond


class Source:
    """The log of one process as an Arweave has it."""

    def __init__(self, client: ArweaveClient, facts: Facts, table: Table, ignore_forged: bool) -> None:
        self._client = client
        self._ignore_forged = ignore_forged
        self._facts = facts
        self._table = table
        self._bundles: dict[str, Bundle] = {}
        self._spawned = self._before = b""
        self._engine = BEFORE_VERSIONS
        self._requests = asyncio.Semaphore(limits.VERIFY_REQUESTS_IN_FLIGHT_MAX)

    async def list_log(self, progress: Progress) -> None:
        """Every assignment there is, into the table."""
        count = 0
        async for nodes in self._pages(ASSIGNMENTS):
            for node in nodes:
                await self._add(node)
            count += len(nodes)
            progress("listing", count, 0)

    async def _pages(self, query: str, **more: Any) -> AsyncIterator[list[Any]]:
        after, seen = None, set[str | None]()
        while after not in seen:
            seen.add(after)
            nodes, after = await self._page(query, after=after, **more)
            yield nodes
            if after is None:
                return
        raise MalformedInput("The gateway's pages have no end: a cursor comes again.", field="cursor")

    async def _page(self, query: str, **more: Any) -> tuple[list[Any], str | None]:
        variables = {"process": [self._facts.process_id], "first": limits.VERIFY_LIST_ENTRIES, **more}
        return page_of(await self._client.graphql(query, variables))

    async def _add(self, node: dict[str, Any]) -> None:
        claim = claim_of(self._facts, node, ignore_forged=self._ignore_forged)
        other = self._table.add(claim) if claim else None
        if claim and other:
            for item_id in (other, claim.assignment_id):  # only what was really signed is a second one
                await self._item(claim.nonce, "assignment", item_id)
            raise twice(self._facts, claim.nonce, other, claim.assignment_id)

    # Attestations

    async def compute_units(self) -> set[str]:
        """The compute units that the process's scheduler names, in what it signed of where it is."""
        scheduler = self._facts.scheduler
        nodes, _ = await self._page(LOCATIONS, owners=[scheduler], first=limits.VERIFY_LOCATIONS_MAX)
        items = await self._verified(nodes)
        signed = [item for item in items if item.address == scheduler]
        return {address for item in signed for address in all_of(item.tags, "Compute-Unit")}

    async def list_said(self, compute_units: Collection[str], progress: Progress) -> list[str]:
        """What these compute units attest, into the table; and who else does, as far as one page shows."""
        nodes, _ = await self._page(ATTESTATIONS)
        others = {address for _, address in map(_named, nodes)} - set(compute_units)
        if not compute_units:
            return sorted(others)
        count = 0
        async for nodes in self._pages(ATTESTATIONS, owners=sorted(compute_units)):
            for item in await self._verified(nodes):
                if item.address in compute_units:
                    self._say(item)
            count += len(nodes)
            progress("attestations", count, 0)
        return sorted(others)

    def _say(self, item: DataItem) -> None:
        try:
            statements = statements_of(item, self._facts.process_id)
        except ClientError:  # it says nothing, as if it were not there
            return
        if statements:
            check_attested_engine(self._facts, item, statements[0].nonce, self._engine)
        self._table.say(item, statements)

    def said(self, nonce: int, to: int) -> dict[int, list[Said]]:
        """What is attested of these slots."""
        return self._table.said(nonce, to)

    async def _verified(self, nodes: Sequence[Any]) -> list[DataItem]:
        """The items that are on Arweave as they were signed; the others are none."""
        items = await asyncio.gather(*(self._readable(item_id) for item_id, _ in map(_named, nodes)))
        return [item for item in items if item is not None]

    async def _readable(self, item_id: str) -> DataItem | None:
        try:
            async with self._requests:
                return await self._client.item(item_id)
        except ClientError:
            return None

    # Slots

    async def assignment_of_spawn(self) -> bytes:
        """The assignment of nonce 0, of which nothing is believed yet: its page is judged like the others."""
        found, assignment_id, bundle_id = self._table.page(0, self._table.last())[0]
        if found != 0:
            raise gap(self._facts, 0, found)
        if bundle_id:
            await self._open(bundle_id)
        assignment = await self._item(0, "assignment", assignment_id)
        try:
            self._engine = engine_named(assignment.tags)
        except MalformedInput as error:
            why = f"assignment {assignment.id}: {error.message}"
            raise fault(self._facts.process_id, 0, assignment.id, why) from error
        return assignment.raw

    async def page(self, nonce: int, to: int) -> Page:
        """The items of the next slots, as many as make a page; pages are asked for in their order."""
        rows = self._table.page(nonce, to)
        for expected, (found, _, _) in enumerate(rows, start=nonce):
            if found != expected:
                if expected == nonce:
                    raise gap(self._facts, expected, found)
                rows = rows[: expected - nonce]  # what is before the gap is judged first
                break
        for bundle_id in dict.fromkeys(bundle for _, _, bundle in rows if bundle):
            await self._open(bundle_id)
        pairs = [self._pair_at_hand(nonce, item_id) for nonce, item_id, _ in rows]
        missing = [(at, *rows[at][:2]) for at, pair in enumerate(pairs) if pair is None]
        fetched = await asyncio.gather(*(self._pair(nonce, item_id) for _, nonce, item_id in missing))
        for (at, _, _), pair in zip(missing, fetched, strict=True):
            pairs[at] = pair
        return self._page_of(nonce, [pair for pair in pairs if pair is not None])

    def _page_of(self, nonce: int, pairs: list[Pair]) -> Page:
        self._spawned = self._spawned or pairs[0][0]
        page = Page(nonce, self._spawned, self._before, pairs)
        self._before = pairs[-1][0]
        return page

    async def _open(self, bundle_id: str) -> None:
        """Keep a bundle; one that can't be had or read is no fault, its items may be found alone."""
        if bundle_id in self._bundles:
            return
        try:
            data = await self._client.data(bundle_id)
            bundle = Bundle(data, places(data))
        except ClientError:
            bundle = Bundle(b"", {})
        while len(self._bundles) >= limits.VERIFY_BUNDLES_MAX:
            self._bundles.pop(next(iter(self._bundles)))
        self._bundles[bundle_id] = bundle

    def _pair_at_hand(self, nonce: int, assignment_id: str) -> Pair | None:
        """A slot whose items are both in bundles that are open, as nearly always."""
        raw = self._at_hand(assignment_id)
        if raw is not None and nonce > 0 and (said := plain(raw)) is not None:
            named = said.message_id
        elif (assignment := self._item_at_hand(assignment_id)) is not None:
            named = message_named(self._facts, nonce, assignment)
        else:
            return None
        message = self._facts.item.raw if nonce == 0 else self._at_hand(named)
        return (raw, message) if raw is not None and message is not None else None

    def _at_hand(self, item_id: str) -> bytes | None:
        """The item of that id in a bundle at hand, raw and unverified; what a header says of it may be false,
        and whoever bundled it again may not be the scheduler."""
        for data, found in self._bundles.values():
            if (place := found.get(item_id)) is not None and _has_id(raw := data[slice(*place)], item_id):
                return raw
        return None

    def _item_at_hand(self, item_id: str) -> DataItem | None:
        """The same, taken apart."""
        raw = self._at_hand(item_id)
        try:
            return None if raw is None else parse(raw, bytes_max=BUNDLE_BYTES_MAX)
        except ClientError:
            return None

    async def _pair(self, nonce: int, assignment_id: str) -> Pair:
        assignment = await self._item(nonce, "assignment", assignment_id)
        return assignment.raw, (await self._named(nonce, assignment)).raw

    async def _named(self, nonce: int, assignment: DataItem) -> DataItem:
        if nonce == 0:
            return self._facts.item
        message_id = message_named(self._facts, nonce, assignment)
        return await self._item(nonce, "message", message_id)

    async def _item(self, nonce: int, what: str, item_id: str) -> DataItem:
        """An item, from a bundle at hand (then unverified) or alone."""
        if (item := self._item_at_hand(item_id)) is not None:
            return item
        try:
            async with self._requests:
                return await self._client.item(item_id)
        except NotFound as error:
            raise lost(self._facts, nonce, what, item_id) from error
        except BadSignature as error:
            raise not_signed(self._facts.process_id, nonce, what, item_id, error) from error
        except ClientError as error:
            why = f"{what} {item_id} cannot be read: {error.message}"
            raise fault(self._facts.process_id, nonce, item_id, why) from error


def _has_id(raw: bytes, item_id: str) -> bool:
    try:
        return b64url_encode(id_of(raw)) == item_id
    except ClientError:  # it is no item
        return False


def _named(node: Any) -> tuple[str, str]:
    """The id and the owner's address of a GraphQL node."""
    try:
        return str(node["id"]), str(node["owner"]["address"])
    except (KeyError, TypeError) as error:
        raise MalformedInput("The gateway's answer lacks an id or an owner.", field="node") from error
