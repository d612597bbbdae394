"""The index of the embedded Arweave: its terms make searches short and change no answer, and an older one is
completed."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from arweave_items import ALICE, BOB, bundle, item
from graphql_queries import ask, ids

from aoray.arweave.local import index
from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.intake import pair, term
from aoray.arweave.local.search import Filter, SearchPage, find
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.base import Signer
from aoray.util.turns import Budget


@pytest.mark.parametrize("kinds", [1, 3])
def test_common_tags_are_searched_like_rare_ones(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch, kinds: int
) -> None:
    monkeypatch.setattr("aoray.arweave.local.search._RARE", 2)
    sent = [item(("K", str(n % 3)), ("Rest", str(n % 2))) for n in range(12)]
    store.put(bundle(sent))
    values = ", ".join(f'"{kind}"' for kind in range(kinds))
    found = ids(
        graph, f'tags: [{{name: "K", values: [{values}]}}, {{name: "Rest", values: ["1"]}}], sort: HEIGHT_ASC'
    )
    assert found == [each.id for n, each in enumerate(sent) if n % 3 < kinds and n % 2 == 1]


def test_an_index_of_before_gets_the_names_of_its_tags(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with ArweaveStore(path) as store:
        sent = [item(("N", str(n))) for n in range(3)]
        for each in sent:
            store.put(each)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM term WHERE term = ?", [term("name", "N")])
        db.execute("PRAGMA user_version = 0")
        db.commit()
    with ArweaveStore(path) as store:
        graph = Graph(store)
        query = '{ transactions(tags: [{name: "N"}]) { edges { node { id } } } }'
        assert graph.execute(query)[0] == 503
        uploads = os.open(path.with_suffix(".bytes"), os.O_RDONLY)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            while index.complete_some(db, uploads):
                pass
        os.close(uploads)
        assert ids(graph, 'tags: [{name: "N"}]') == [each.id for each in reversed(sent)]


SAID = 'tags: [{name: "Type", values: ["Assignment"]}, {name: "Process", values: ["p"]}]'


def said(signer: Signer, process: str, count: int) -> list[DataItem]:
    """What an owner says of a process, in items that are not alike."""
    return [item(("Type", "Assignment"), ("Process", process), signer=signer) for _ in range(count)]


def test_what_one_owner_says_of_a_process_is_found_however_much_others_say_of_it(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler has many items, and so have strangers who name the process: neither set is rare."""
    monkeypatch.setattr("aoray.arweave.local.search._RARE", 2)
    monkeypatch.setattr("aoray.arweave.local.search.GRAPHQL_COUNTED_MAX", 20)
    first, last = said(BOB, "p", 2), said(BOB, "p", 2)
    store.put(bundle([*first, *said(BOB, "q", 3_000), *said(ALICE, "p", 3_000), *last], BOB))
    monkeypatch.setattr("aoray.arweave.local.search.GRAPHQL_STEPS_MAX", 10_000)  # and at least one tick
    arguments = f'owners: ["{BOB.address}"], {SAID}, first: 10'
    found = [each.id for each in (*first, *last)]
    assert ids(graph, arguments) == found[::-1]
    assert ids(graph, f"{arguments}, sort: HEIGHT_ASC") == found
    count = ask(graph, f"{{ transactions({arguments}) {{ count }} }}")
    assert count["transactions"]["count"] == "4"


def test_an_index_of_before_finds_it_too_and_gets_the_pairs(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    sent = [*said(BOB, "p", 2), *said(ALICE, "p", 2), *said(BOB, "q", 2)]
    with ArweaveStore(path) as store:
        for each in sent:
            store.put(each)
    pairs = [pair(owner.address, process) for owner in (ALICE, BOB) for process in "pq"]
    with closing(sqlite3.connect(path)) as db:
        db.executemany("DELETE FROM term WHERE term = ?", [(each,) for each in pairs])
        db.execute("PRAGMA user_version = 1")
        db.commit()
    arguments, found = f'owners: ["{BOB.address}"], {SAID}', [sent[1].id, sent[0].id]
    with ArweaveStore(path) as store:
        graph = Graph(store)
        assert ids(graph, arguments) == found
        assert ids(graph, 'tags: [{name: "Process"}], first: 1') == [sent[-1].id], "names are there already"
        uploads = os.open(path.with_suffix(".bytes"), os.O_RDONLY)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            while index.complete_some(db, uploads):
                pass
            counted = db.execute(f"SELECT count(*) FROM term WHERE term IN ({','.join('?' * 4)})", pairs)
            assert counted.fetchone() == (len(sent),)
        os.close(uploads)
        assert ids(graph, arguments) == found


@pytest.mark.parametrize("op", ["NEQ", "EQ"])
def test_pairs_change_no_answer(graph: Graph, store: ArweaveStore, op: str) -> None:
    sent = [*said(BOB, "p", 2), *said(ALICE, "p", 2), *said(BOB, "q", 2), item(signer=BOB)]
    store.put(bundle(sent, BOB))
    owners = f'["{ALICE.address}", "{BOB.address}"]'
    for values in (["p"], ["p", "q"], ["r"]):
        found = [
            each.id
            for each in reversed(sent)
            if any(tag.value in values for tag in each.tags) == (op == "EQ")
        ]
        tags = f'tags: [{{name: "Process", values: {json.dumps(values)}, op: {op}}}]'
        answer = ids(graph, f"owners: {owners}, {tags}, first: 100")
        assert [each for each in answer if each in {one.id for one in sent}] == found


def test_the_rarest_of_common_terms_drives_a_search(store: ArweaveStore) -> None:
    """A node's own items are millions, and a process's thousands among them, with any number between two."""
    many, budget = 60_000, Budget(800_000, 60)
    own = [*range(1, 1_501), *range(many - 1_500, many)]
    with store.writing() as db:
        for number, seqs in ((1, range(1, many)), (2, range(1, many)), (3, own)):
            db.executemany("INSERT INTO term VALUES (?, ?)", [(number, seq) for seq in seqs])
    wanted, found, after = Filter(one_of=[[1], [2], [3]]), list[int](), None
    while True:
        with store.reading(budget) as connection:
            page = find(connection, wanted, SearchPage(1_001, after, ascending=True))
        if not page:
            break
        found += page
        after, budget = page[-1], Budget(800_000, 60)
    assert found == own
