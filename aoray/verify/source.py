"""The source of a verification: what Arweave has about one process, namely assignments, their messages, and
attestations.

Before a log is checked (verify/rules.py) and evaluated (verify/replay.py), all its assignments and
attestations are listed by GraphQL, page by page, into tables on disk: Arweave keeps no order within a block,
so only the complete list shows which nonces there are. The items of a page of slots are fetched in complete
bundles, in which a message and its assignment lie side by side among those of other processes; items that are
not in these bundles are fetched one by one. Only the assignments are read here, for the ids of their
messages; a page is passed on as raw items.

Anybody may put anything on Arweave, including changed copies of the scheduler's items in bundles, and some
gateways list what is in a bundle without verifying it. Therefore items that the scheduler did not sign are
passed over and counted. Where a nonce has several claims, and for the last nonce, the items are fetched and
verified before they count. A fault found in a bundle is checked again with items fetched one by one, before
anybody is accused (`alone`).

Invariants: memory holds a few bundles and a page, however long the log is. Results of this module are what a
gateway says, unless a docstring says "verified"; attestations are verified before they are in the table.

On failure: `LogFault` for what is missing, duplicate or unreadable; `Unavailable` if Arweave does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.errors import BadSignature, ClientError, LogFault, MalformedInput, NotFound, TooLarge
from aoray.limits import BUNDLE_BYTES_MAX
from aoray.protocol.ans104.bundles import offsets
from aoray.protocol.ans104.items import DataItem, id_of
from aoray.protocol.assignments import plain
from aoray.protocol.attestations import statements_of
from aoray.protocol.engines import engine_named
from aoray.protocol.handovers import NEVER, Tenure, addresses
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signed import ANS104, parse
from aoray.verify.listing import ClaimTable
from aoray.verify.rules import (
    AttestedSlot,
    ProcessFacts,
    block_of,
    check_attested_engine,
    claim_of,
    compute_unit_of,
    fault,
    fault_duplicate_nonce,
    fault_gap,
    fault_missing,
    is_claimed,
    message_named,
    named_by,
    not_signed,
    page_of,
)
from aoray.verify.workers import RawSlot, SlotPage
from aoray.vm.engines import BEFORE_VERSIONS

ASSIGNMENTS = """query ($process: [String!]!, $owners: [String!], $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_ASC, owners: $owners,
               tags: [{name: "Type", values: ["Assignment"]}, {name: "Process", values: $process}]) {
    pageInfo { hasNextPage }
    edges { cursor node {
      id recipient owner { address } tags { name value } block { height } bundledIn { id } } }
  }
}"""
LOOKING_LIKE = """query ($process: [String!]!, $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_DESC,
               tags: [{name: "Type", values: ["Assignment"]}, {name: "Process", values: $process}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id owner { address } } }
  }
}"""
ATTESTATIONS = """query ($process: [String!]!, $owners: [String!], $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_ASC, owners: $owners,
               tags: [{name: "Type", values: ["Attestation"]}, {name: "Process", values: $process}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id owner { address } block { height } } }
  }
}"""
LOCATIONS = """query ($owners: [String!], $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_DESC, owners: $owners,
               tags: [{name: "Type", values: ["Scheduler-Location"]}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id recipient owner { address } tags { name value } } }
  }
}"""
Progress = Callable[[str, int, int], None]  # (stage, how much is done, of how much; 0: unknown)


class Bundle(NamedTuple):
    """A bundle in memory, and where its items are, by the ids in its header."""

    data: bytes
    places: dict[str, tuple[int, int]]


class Source:
    """The log of one process, as an Arweave has it."""

    def __init__(self, client: ArweaveClient, facts: ProcessFacts, table: ClaimTable) -> None:
        self._client = client
        self._facts = facts
        self._table = table
        self._passed_over = 0  # items listed as the scheduler's assignments that are none
        self._bundles: dict[str, Bundle] = {}
        self._spawned = self._before = b""
        self._engine = BEFORE_VERSIONS
        self._requests = asyncio.Semaphore(limits.VERIFY_REQUESTS_IN_FLIGHT_MAX)

    async def list_log(self, progress: Progress) -> None:
        """List every assignment that the scheduler signed, into the table. Raises `LogFault`."""
        count = 0
        schedulers = sorted(addresses(self._facts.line))
        async for nodes in self._pages(ASSIGNMENTS, owners=schedulers):
            for node in nodes:
                if claim := claim_of(self._facts, node):
                    self._table.add(claim)
                elif _named(node)[1] in schedulers:  # `others` counts theirs
                    self._passed_over += 1
            count += len(nodes)
            progress("listing", count, 0)
        await self._supersede()
        await self._settle()

    async def _pages(self, query: str, **more: Any) -> AsyncIterator[list[Any]]:
        after, seen = None, set[str | None]()
        while after not in seen:
            seen.add(after)
            nodes, after = await self._page(query, after=after, **more)
            yield nodes
            if after is None:
                return
        raise MalformedInput("the gateway's pages have no end: a cursor comes again", field="cursor")

    async def _page(self, query: str, **more: Any) -> tuple[list[Any], str | None]:
        variables = {"process": [self._facts.process_id], "first": limits.VERIFY_LIST_ENTRIES, **more}
        return page_of(await self._client.graphql(query, variables))

    # Claims

    async def _supersede(self) -> None:
        """Drop claims of earlier keys from the first nonce on that a successor signed.

        Whoever stole an old key could sign assignments that look like slots of its time. Claims that were on
        Arweave before the hand-over stay, since a scheduler that hands over can't revoke them.
        """
        line = self._facts.line
        for rank in range(1, len(line)):
            while found := self._table.first_of(rank):
                await self._signed(found[0])
                if self._table.first_of(rank) == found:
                    for before in range(rank):
                        late = self._table.supersede(found[0], before, line[before].block)
                        self._passed_over += late
                    break

    async def _settle(self) -> None:
        """Drop claims that the scheduler did not sign where they decide which slots there are: where a nonce
        has several claims, and at the end of the log. Anywhere else a false claim only leaves a slot without
        an assignment, which is a fault anyway."""
        for nonce in self._table.contested():
            one, *others = [*await self._signed(nonce), ""]
            if any(others):
                raise fault_duplicate_nonce(self._facts, nonce, one, others[0])
        while (last := self._table.last()) >= 0 and not await self._signed(last):
            pass

    async def _signed(self, nonce: int) -> list[str]:
        """Return the claims of a nonce that the scheduler signed, or if there is none, those that can't be
        fetched; drop the others."""
        signed, missing = list[str](), list[str]()
        for item_id, block in self._table.claims(nonce).items():
            try:
                if is_claimed(self._facts, nonce, await self._client.item(item_id), block):
                    signed.append(item_id)
            except NotFound:
                missing.append(item_id)
            except ClientError:  # not a valid item
                pass
        kept = signed or missing
        for item_id in self._table.claims(nonce):
            if item_id not in kept:
                self._table.drop(nonce, item_id)
                self._passed_over += 1
        return kept

    async def others(self) -> int:
        """Return how many items only resemble assignments of this process, as far as the newest
        VERIFY_OTHERS_MAX show."""
        count, seen = self._passed_over, 0
        async for nodes in self._pages(LOOKING_LIKE):
            count += sum(owner not in addresses(self._facts.line) for _, owner in map(_named, nodes))
            seen += len(nodes)
            if seen >= limits.VERIFY_OTHERS_MAX:
                break
        return count

    # Attestations

    async def compute_units(self) -> set[str]:
        """Return the compute units that the process's scheduler names in its location records.

        Each is fetched once, however often it is named; items that only resemble a location record are passed
        over. Raises `TooLarge`.
        """
        found = set[str]()
        async for nodes in self._pages(LOCATIONS, owners=sorted(addresses(self._facts.line))):
            for node in nodes:
                if (unit := compute_unit_of(node)) is None or unit in found:
                    continue
                item = await self._readable(_named(node)[0])
                if item is not None and named_by(self._facts, item) == unit:
                    found.add(unit)
            if len(found) > limits.VERIFY_UNITS_MAX:
                raise TooLarge(
                    f"the scheduler names over {limits.VERIFY_UNITS_MAX} compute units",
                    hint="Name the compute units whose attestations must be true: --compute ADDRESS.",
                )
        return found

    async def list_attestations(self, compute_units: Mapping[str, Tenure], progress: Progress) -> list[str]:
        """List the attestations of these compute units into the table. Return who else attests, as far as one
        page shows."""
        nodes, _ = await self._page(ATTESTATIONS)
        others = {address for _, address in map(_named, nodes)} - set(compute_units)
        if not compute_units:
            return sorted(others)
        count = 0
        async for nodes in self._pages(ATTESTATIONS, owners=sorted(compute_units)):
            for item, block in await self._verified(nodes):
                if tenure := compute_units.get(item.address):
                    self._say(item, NEVER if block < tenure.block else tenure.until_ms)
            count += len(nodes)
            progress("attestations", count, 0)
        return sorted(others)

    def _say(self, item: DataItem, until_ms: int) -> None:
        try:
            statements = statements_of(item, self._facts.process_id)
        except ClientError:  # not an attestation
            return
        if statements:
            check_attested_engine(self._facts, item, statements[0].nonce, self._engine)
        self._table.add_attestation(item, statements, until_ms)

    def attestations(self, nonce: int, to: int) -> dict[int, list[AttestedSlot]]:
        """Return the statements about the slots from `nonce` up to `to`, by nonce."""
        return self._table.attestations(nonce, to)

    async def _verified(self, nodes: Sequence[Any]) -> list[tuple[DataItem, int]]:
        """Return the items that are on Arweave as they were signed, with their block heights, without the
        others."""
        items = await asyncio.gather(*(self._readable(item_id) for item_id, _ in map(_named, nodes)))
        pairs = zip(items, map(block_of, nodes), strict=True)
        return [(item, block) for item, block in pairs if item is not None]

    async def _readable(self, item_id: str) -> DataItem | None:
        try:
            async with self._requests:
                return await self._client.item(item_id)
        except ClientError:
            return None

    # Slots

    async def assignment_of_spawn(self) -> bytes:
        """Return the raw assignment of nonce 0, verified; its contents are checked with its page. It is
        fetched separately, since the process's engine and the times of its ticks depend on it."""
        found, assignment_id, _ = self._table.page(0, self._table.last())[0]
        if found != 0:
            raise fault_gap(self._facts, 0, found)
        assignment = await self._item(0, "assignment", assignment_id)
        try:
            self._engine = engine_named(assignment.tags)
        except MalformedInput as error:
            why = f"assignment {assignment.id}: {error.message}"
            raise fault(self._facts.process_id, 0, assignment.id, why) from error
        self._spawned = assignment.raw
        return assignment.raw

    async def page(self, nonce: int, to: int) -> SlotPage:
        """Return the items of the next slots, at most one page. Pages must be requested in order. Raises
        `LogFault`."""
        rows = self._table.page(nonce, to)
        for expected, (found, _, _) in enumerate(rows, start=nonce):
            if found != expected:
                if expected == nonce:
                    raise fault_gap(self._facts, expected, found)
                rows = rows[: expected - nonce]  # the slots before the gap are checked first
                break
        for bundle_id in dict.fromkeys(bundle for _, _, bundle in rows if bundle):
            await self._open(bundle_id)
        pairs = [self._pair_at_hand(nonce, item_id) for nonce, item_id, _ in rows]
        missing = [(at, *rows[at][:2]) for at, pair in enumerate(pairs) if pair is None]
        fetched = await asyncio.gather(*(self._pair(nonce, item_id) for _, nonce, item_id in missing))
        for (at, _, _), pair in zip(missing, fetched, strict=True):
            pairs[at] = pair
        return self._page_of(nonce, [pair for pair in pairs if pair is not None])

    def _page_of(self, nonce: int, pairs: list[RawSlot]) -> SlotPage:
        page = SlotPage(nonce, self._spawned, self._before, pairs)
        self._before = pairs[-1][0]
        return page

    async def alone(self, page: SlotPage) -> SlotPage:
        """Return the slots of a page with each item fetched by itself and verified, since a bundle may have a
        changed copy under an item's id."""
        first = max(0, page.nonce - 1)
        rows = self._table.page(first, page.nonce + len(page.pairs) - 1, limits.VERIFY_PAGE_ENTRIES + 1)
        pairs = await asyncio.gather(*(self._pair(nonce, item_id) for nonce, item_id, _ in rows))
        before = pairs.pop(0)[0] if page.nonce else b""
        return SlotPage(page.nonce, self._spawned, before, pairs)

    async def _open(self, bundle_id: str) -> None:
        """Keep a bundle in memory. A bundle that can't be fetched or read is not a fault, since its items may
        be found one by one."""
        if bundle_id in self._bundles:
            return
        try:
            data = await self._client.data(bundle_id)
            bundle = Bundle(data, offsets(data))
        except ClientError:
            bundle = Bundle(b"", {})
        while len(self._bundles) >= limits.VERIFY_BUNDLES_MAX:
            self._bundles.pop(next(iter(self._bundles)))
        self._bundles[bundle_id] = bundle

    def _pair_at_hand(self, nonce: int, assignment_id: str) -> RawSlot | None:
        """Return the raw items of a slot if both are in bundles in memory, as they nearly always are."""
        if nonce == 0:
            return self._spawned, self._facts.item.raw
        raw = self._at_hand(assignment_id)
        if raw is None:
            return None
        message = self._at_hand(named) if (named := self._named_in(nonce, raw)) else None
        return None if message is None else (raw, message)

    def _named_in(self, nonce: int, assignment: bytes) -> str:
        """Return the id of the message that a raw assignment names; '' if it can't be read."""
        if (said := plain(assignment)) is not None:
            return said.message_id
        try:
            return message_named(self._facts, nonce, parse(assignment, ANS104, bytes_max=BUNDLE_BYTES_MAX))
        except (ClientError, LogFault):
            return ""

    def _at_hand(self, item_id: str) -> bytes | None:
        """Return the raw item with this id from a bundle in memory, unverified: the header of a bundle may be
        false, and anybody may have bundled the item again."""
        for data, found in self._bundles.values():
            if (place := found.get(item_id)) is not None and _has_id(raw := data[slice(*place)], item_id):
                return raw
        return None

    async def _pair(self, nonce: int, assignment_id: str) -> RawSlot:
        assignment = await self._item(nonce, "assignment", assignment_id)
        return assignment.raw, (await self._named(nonce, assignment)).raw

    async def _named(self, nonce: int, assignment: DataItem) -> DataItem:
        if nonce == 0:
            return self._facts.item
        message_id = message_named(self._facts, nonce, assignment)
        return await self._item(nonce, "message", message_id)

    async def _item(self, nonce: int, what: str, item_id: str) -> DataItem:
        """Return an item, verified. Raises `LogFault`."""
        try:
            async with self._requests:
                return await self._client.item(item_id)
        except NotFound as error:
            raise fault_missing(self._facts, nonce, what, item_id) from error
        except BadSignature as error:
            raise not_signed(self._facts.process_id, nonce, what, item_id, error) from error
        except ClientError as error:
            why = f"{what} {item_id} cannot be read: {error.message}"
            raise fault(self._facts.process_id, nonce, item_id, why) from error


def _has_id(raw: bytes, item_id: str) -> bool:
    try:
        return b64url_encode(id_of(raw)) == item_id
    except ClientError:  # it is not an item
        return False


def _named(node: Any) -> tuple[str, str]:
    """Return the id and the owner's address of a GraphQL node."""
    try:
        return str(node["id"]), str(node["owner"]["address"])
    except (KeyError, TypeError) as error:
        raise MalformedInput(
            "an item in the gateway's answer lacks an id or an owner", field="node"
        ) from error
