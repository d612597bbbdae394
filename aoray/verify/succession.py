"""Succession: follows the hand-overs of a unit (protocol/handovers.py) on Arweave, to know who signed for it
when.

`aoray verify` does this before it lists a log. The address that a process or a scheduler names comes first;
each next address was named by the key before it, in the first such statement on Arweave. Items that only
resemble a hand-over are passed over.

On failure: `TooLarge` if there are more than `HAND_OVERS_MAX`; `Unavailable` if Arweave does not answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.errors import ClientError, MalformedInput, TooLarge
from aoray.protocol.forms import HAND_OVER, tags_departure
from aoray.protocol.handovers import HandOver, Line, Tenure, Unit, followed, hand_over_of
from aoray.protocol.tags import from_json
from aoray.verify.rules import block_of, page_of

HAND_OVERS = """query ($owners: [String!], $unit: [String!]!, $first: Int!, $after: String) {
  transactions(first: $first, after: $after, sort: HEIGHT_ASC, owners: $owners,
               tags: [{name: "Type", values: ["Hand-Over"]}, {name: "Unit-Kind", values: $unit}]) {
    pageInfo { hasNextPage }
    edges { cursor node { id recipient tags { name value } block { height } } }
  }
}"""


async def line_of(client: ArweaveClient, unit: Unit, address: str) -> Line:
    """Follow the hand-overs of an address, and return the line of all addresses that signed for the unit."""
    line: Line = (Tenure(address),)
    while len(line) <= limits.HAND_OVERS_MAX:
        said = await _first(client, unit, line[-1].address)
        longer = followed(line, *said) if said else line
        if longer == line:
            return line
        line = longer
    raise TooLarge(f"{unit} {address} was handed over more than {limits.HAND_OVERS_MAX} times")


async def ends_of(client: ArweaveClient, compute_units: Collection[str]) -> dict[str, Tenure]:
    """Return these compute units and their successors, each with the time until which it counts."""
    ends: dict[str, Tenure] = {}
    for unit in sorted(compute_units):
        for tenure in await line_of(client, "compute", unit):
            known = ends.get(tenure.address, tenure)
            ends[tenure.address] = min(known, tenure, key=lambda each: each.until_ms)
    return ends


async def _first(client: ArweaveClient, unit: Unit, address: str) -> tuple[HandOver, int] | None:
    """Return the first hand-over of an address, and its block height; None if there is none."""
    async for node in _listed(client, unit, address):
        try:
            if node["recipient"] or tags_departure(from_json(node["tags"]), HAND_OVER):
                continue
            said = hand_over_of(await client.item(str(node["id"])))
        except (KeyError, TypeError, ClientError):  # not a valid item
            continue
        if said and (said.unit, said.address) == (unit, address):
            return said, block_of(node)
    return None


async def _listed(client: ArweaveClient, unit: Unit, address: str) -> AsyncIterator[dict[str, Any]]:
    after, seen = None, set[str | None]()
    while after not in seen:
        seen.add(after)
        asked = {"owners": [address], "unit": [unit], "first": limits.VERIFY_LIST_ENTRIES, "after": after}
        nodes, after = page_of(await client.graphql(HAND_OVERS, asked))
        for node in nodes:
            yield node
        if after is None:
            return
    raise MalformedInput("the gateway's pages have no end: a cursor comes again", field="cursor")
