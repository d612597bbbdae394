"""What a computer has put on its Arweave, slots and attestations, and what `aoray verify` says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from command_line import aoray_ran
from polling import between_looks

from aoray.arweave.client import ArweaveClient
from aoray.protocol.attestations import Statement, statements_of
from aoray.storage.key_files import load
from aoray.testing.local_computer import LocalComputer

FLUSH_SECONDS_MAX = 30
SLOTS = """query ($process: String!, $nonce: String!) { transactions(tags: [
  {name: "Type", values: ["Assignment"]}, {name: "Process", values: [$process]},
  {name: "Nonce", values: [$nonce]}]) { edges { node { id } } } }"""
ATTESTATIONS = """query ($process: [String!]!, $owner: [String!]) {
  transactions(first: 100, owners: $owner, tags: [{name: "Type", values: ["Attestation"]},
               {name: "Process", values: $process}]) { edges { node { id } } } }"""


async def flushed(computer: LocalComputer, process: str, nonce: int) -> None:
    """Wait until Arweave has that slot."""
    variables = {"process": process, "nonce": str(nonce)}
    async with ArweaveClient(computer.unit(1)) as client, asyncio.timeout(FLUSH_SECONDS_MAX):
        while not (await client.graphql(SLOTS, variables))["transactions"]["edges"]:
            await between_looks()


async def said(
    computer: LocalComputer, process: str, owners: Sequence[str] = ()
) -> dict[int, list[Statement]]:
    """What the computer has attested of a process by now (under its own key, or under these)."""
    owners = owners or [load(computer.data / "keys" / "compute.json").address]
    found: dict[int, list[Statement]] = {}
    async with ArweaveClient(computer.unit(1)) as client:
        variables: dict[str, Any] = {"process": [process], "owner": list(owners)}
        edges = (await client.graphql(ATTESTATIONS, variables))["transactions"]["edges"]
        for item in await asyncio.gather(*(client.item(edge["node"]["id"]) for edge in edges)):
            for each in statements_of(item, process):
                found.setdefault(each.nonce, []).append(each)
    return found


async def verified(computer: LocalComputer, process: str) -> dict[str, Any]:
    """The report of `aoray verify`, which finds nothing wrong."""
    code, out, err = await aoray_ran("verify", process, "--gateway", computer.unit(1), "--json")
    assert code == 0, out + err
    return dict(orjson.loads(out))
