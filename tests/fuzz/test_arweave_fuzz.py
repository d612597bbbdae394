"""Whatever is posted, it is kept whole or refused as the client's fault."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from arweaving import bundle, item
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aoray.arweave.graphql import Graph
from aoray.arweave.intake import unfold
from aoray.arweave.store import ArweaveStore
from aoray.errors import ClientError
from aoray.protocol.items import parse, verify

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def kept() -> Iterator[ArweaveStore]:
    with tempfile.TemporaryDirectory() as folder, ArweaveStore(Path(folder) / "a.sqlite") as store:
        yield store


CONTENT = bundle([item(("A", "b")), bundle([item(), item()])]).data


@FUZZ
@given(at=st.integers(0, len(CONTENT) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(CONTENT)))
def test_a_damaged_bundle_gives_only_items_that_verify(at: int, byte: int, cut: int) -> None:
    damaged = (CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :])[: max(cut, at + 1)]
    upload = bundle([], data=damaged)
    try:
        intake = unfold(upload)
    except ClientError:
        return
    for placed in intake.placed:
        found = parse(upload.raw[placed.start : placed.start + placed.size])
        verify(found)
        assert len(found.raw) - len(found.data) == placed.header_size


@FUZZ
@given(
    text=st.text(max_size=60)
    | st.from_regex(r"\{ ?(block|transactions)\([a-z]+: ?[0-9\"\[\]-]{1,9}\)[ {}a-z]*")
)
def test_any_text_is_a_query_or_the_clients_fault(kept: ArweaveStore, text: str) -> None:
    status, body = Graph(kept).execute(text)
    assert status in (200, 400)
    assert all(error["message"] != "internal error" for error in body.get("errors", ()))


@FUZZ
@given(
    name=st.text(max_size=20), value=st.text(max_size=20), id=st.text(max_size=50), after=st.text(max_size=20)
)
def test_any_text_can_be_searched_for(kept: ArweaveStore, name: str, value: str, id: str, after: str) -> None:
    query = """query ($name: String!, $value: String!, $id: ID!, $text: String!, $after: String) {
        transactions(tags: [{name: $name, values: [$value]}], owners: [$text], after: $after) { count }
        transaction(id: $id) { id } block(id: $text) { id } blocks(ids: [$id]) { edges { cursor } } }"""
    _, body = Graph(kept).execute(query, {"name": name, "value": value, "id": id, "text": id, "after": after})
    assert all("cursor" in error["message"] for error in body.get("errors", ()))
