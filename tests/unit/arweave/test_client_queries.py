"""What AO's clients and units ask of GraphQL gets them the fields they read (docs/wire-contract.md §4)."""

from __future__ import annotations

from typing import Any

import pytest
from arweave_items import ALICE, BOB, item

from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_encode

AO = ("Data-Protocol", "ao")


@pytest.fixture
def world(store: ArweaveStore) -> dict[str, DataItem]:
    """A module, a process that ALICE calls `default`, and where a scheduler is."""
    module = item(AO, ("Type", "Module"), ("Name", "aos"), ("Module-Format", "wasm32-wasi"), signer=BOB)
    process = item(AO, ("Type", "Process"), ("Name", "default"), ("Module", module.id), anchor=b"9" * 32)
    location = item(
        AO, ("Type", "Scheduler-Location"), ("Url", "http://su"), ("Time-To-Live", "9"), signer=BOB
    )
    for each in (module, process, location):
        store.put(each)
    return {"module": module, "process": process, "location": location}


def nodes(graph: Graph, query: str, variables: dict[str, Any]) -> list[dict[str, Any]]:
    status, body = graph.execute(query, variables)
    assert (status, body.get("errors")) == (200, None)
    return [edge["node"] for edge in body["data"]["transactions"]["edges"]]


def tags_of(sent: DataItem) -> list[dict[str, str]]:
    return [{"name": tag.name, "value": tag.value} for tag in sent.tags]


def test_spawning_reads_a_modules_tags(graph: Graph, world: dict[str, DataItem]) -> None:
    query = """query GetTransactions ($transactionIds: [ID!]!) {
        transactions(ids: $transactionIds) {
            edges { node { tags { name value } block { id height timestamp } owner { address } } } } }"""
    (node,) = nodes(graph, query, {"transactionIds": [world["module"].id]})
    assert node["tags"] == tags_of(world["module"])
    assert node["owner"] == {"address": BOB.address}
    assert nodes(graph, query, {"transactionIds": [b64url_encode(bytes(32))]}) == []


def test_a_schedulers_place_is_found_by_its_owner(graph: Graph, world: dict[str, DataItem]) -> None:
    query = """query GetSchedulerLocation ($owner: String!) {
        transactions(
            owners: [$owner]
            tags: [
                { name: "Data-Protocol", values: ["ao"] }
                { name: "Type", values: ["Scheduler-Location"] }
            ]
            sort: HEIGHT_DESC
            first: 1
        ) { edges { node { tags { name value } } } } }"""
    assert nodes(graph, query, {"owner": BOB.address}) == [{"tags": tags_of(world["location"])}]
    assert nodes(graph, query, {"owner": ALICE.address}) == []


def test_all_schedulers_are_listed_page_by_page(graph: Graph, world: dict[str, DataItem]) -> None:
    query = """query GetSchedulerLocations ($cursor: String) {
        transactions(
            first: 100, after: $cursor,
            tags: [{name: "Data-Protocol", values: ["ao"]}, {name: "Type", values: ["Scheduler-Location"]}]
        ) {
            pageInfo { hasNextPage }
            edges { cursor node { id owner { address } tags { name value } block { timestamp height } } }
        } }"""
    (node,) = nodes(graph, query, {"cursor": None})
    assert node["id"] == world["location"].id
    assert len(nodes(graph, query, {})) == len(nodes(graph, query, {"cursor": ""})) == 1


@pytest.mark.parametrize("skip", [True, False])
def test_compute_units_read_whole_processes(graph: Graph, world: dict[str, DataItem], skip: bool) -> None:
    query = """query GetProcesses (
            $processIds: [ID!]!, $skipTags: Boolean!, $skipSignature: Boolean!, $skipAnchor: Boolean!
        ) {
        transactions(ids: $processIds) { edges { node {
            id
            signature @skip (if: $skipSignature)
            anchor @skip (if: $skipAnchor)
            owner { address key }
            tags @skip (if: $skipTags) { name value }
            recipient
        } } } }"""
    process = world["process"]
    variables = {"processIds": [process.id], "skipTags": skip, "skipSignature": skip, "skipAnchor": skip}
    expected = {
        "id": process.id,
        "owner": {"address": ALICE.address, "key": b64url_encode(ALICE.public_key)},
        "recipient": "",
    }
    if not skip:
        signature, anchor = b64url_encode(process.signature), b64url_encode(process.anchor)
        expected |= {"signature": signature, "anchor": anchor, "tags": tags_of(process)}
    assert nodes(graph, query, variables) == [expected]


def test_compute_units_read_blocks(graph: Graph, world: dict[str, DataItem]) -> None:
    query = """query GetBlocks ($min: Int!, $limit: Int!) {
        blocks(height: { min: $min }, first: $limit, sort: HEIGHT_ASC) {
            pageInfo { hasNextPage } edges { node { timestamp height } } } }"""
    status, body = graph.execute(query, {"min": 1, "limit": 90})
    assert status == 200
    blocks = body["data"]["blocks"]
    assert [edge["node"]["height"] for edge in blocks["edges"]] == [1, 2, 3, 4]
    assert blocks["pageInfo"] == {"hasNextPage": False}


def test_aos_finds_its_process_by_name(graph: Graph, world: dict[str, DataItem]) -> None:
    query = """query ($owners: [String!]!) {
        transactions(
            first: 10, owners: $owners,
            tags: [
                { name: "Data-Protocol", values: ["ao"] },
                { name: "Type", values: ["Process"] },
                { name: "Name", values: ["default"] }
            ]
        ) { edges { node { id tags { name value } } } } }"""
    assert [node["id"] for node in nodes(graph, query, {"owners": [ALICE.address, ""]})] == [
        world["process"].id
    ]
    assert nodes(graph, query, {"owners": [BOB.address, ""]}) == []


def test_aos_finds_a_module_by_name(graph: Graph, world: dict[str, DataItem]) -> None:
    query = """query ($name: String!) {
        transactions(tags: [{name: "Type", values: ["Module"]}, {name: "Name", values: [$name]}]) {
            edges { node { id tags { name value } block { timestamp } } } } }"""
    (node,) = nodes(graph, query, {"name": "aos"})
    assert (node["id"], node["block"]["timestamp"]) == (world["module"].id, 1_700_000_000)
