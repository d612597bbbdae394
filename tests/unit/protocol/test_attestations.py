"""Attestations: the same word is the same item, what is read is what was said, and nothing else passes."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoray.errors import ClientError, MalformedInput
from aoray.limits import ATTESTATION_SLOTS_MAX, ITEM_BYTES_MAX
from aoray.protocol.ans104.items import build, parse, verify
from aoray.protocol.attestations import Statement, attest, result_hash, statements_of
from aoray.protocol.forms import AO
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.tags import Tag, first

COMPUTE = Ed25519Signer(bytes(32))
PROCESS, OTHER = b64url_encode(bytes(32)), b64url_encode(bytes([1]) * 32)
ids = st.binary(min_size=32, max_size=32).map(b64url_encode)
statements = st.builds(
    Statement, st.integers(0, 2**63 - 1), ids, ids, st.sampled_from(["", "0" * 64, "ab" * 32])
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | ids,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Slots", "Nonce", "Message", "Result-Hash", "State-Hash"]), inner)
    ),
    max_leaves=12,
)
batches = st.lists(statements, min_size=1, max_size=20, unique_by=lambda each: each.nonce)


def in_slots(value: Any) -> bytes:
    return orjson.dumps({"Slots": [value]})


def slot(**changed: Any) -> dict[str, Any]:
    return {"Nonce": 1, "Message": PROCESS, "Result-Hash": PROCESS, "State-Hash": ""} | changed


def said(data: Any, process_id: str = PROCESS, kind: str = "Attestation") -> list[Statement]:
    return statements_of(build(COMPUTE, tags=tags_of(process_id, kind), data=orjson.dumps(data)), PROCESS)


def tags_of(process_id: str = PROCESS, kind: str = "Attestation") -> list[Tag]:
    nonces, json = (Tag("Nonce-From", "1"), Tag("Nonce-To", "1")), Tag("Content-Type", "application/json")
    return [*AO, Tag("Type", kind), Tag("Process", process_id), *nonces, json]


@given(batches)
def test_what_was_attested_is_read_again_in_order_and_has_one_id(batch: list[Statement]) -> None:
    item = attest(COMPUTE, PROCESS, batch)
    verify(item)
    assert statements_of(parse(item.raw), PROCESS) == sorted(batch)
    assert attest(COMPUTE, PROCESS, batch[::-1]).raw == item.raw
    span = [first(item.tags, name) for name in ("Nonce-From", "Nonce-To")]
    assert span == [str(sorted(batch)[at].nonce) for at in (0, -1)]


def test_the_hash_of_a_result_is_the_sha_256_of_its_bytes() -> None:
    assert result_hash(b"abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"  # RFC 6234's, as base64url


def test_the_largest_attestation_is_well_within_an_item() -> None:
    most = [Statement(2**62 + n, PROCESS, PROCESS, "f" * 64) for n in range(ATTESTATION_SLOTS_MAX)]
    largest = attest(COMPUTE, PROCESS, most)
    assert len(largest.raw) < ITEM_BYTES_MAX / 10
    assert statements_of(largest, PROCESS) == most
    for wrong in ([], [*most, most[0]]):
        with pytest.raises(ValueError, match="1 to"):
            attest(COMPUTE, PROCESS, wrong)


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {"Slots": {}},
        {"Slots": [1]},
        {"Slots": [slot(Nonce=-1)]},
        {"Slots": [slot(Nonce=True)]},
        {"Slots": [slot(Nonce="1")]},
        {"Slots": [slot(Nonce=2**63)]},
        {"Slots": [slot(Message="m")]},
        {"Slots": [slot(Message=None)]},
        {"Slots": [slot(**{"Result-Hash": 1})]},
        {"Slots": [slot(**{"State-Hash": None})]},
        {"Slots": [slot(**{"State-Hash": "0" * 200})]},
        {"Slots": [slot()] * (ATTESTATION_SLOTS_MAX + 1)},
    ],
)
def test_what_only_looks_like_an_attestation_is_refused(data: Any) -> None:
    with pytest.raises(ClientError):
        said(data)


@given(st.binary(max_size=40) | json_values.map(orjson.dumps) | json_values.map(in_slots))
def test_any_data_gives_statements_or_a_client_error(data: bytes) -> None:
    with contextlib.suppress(ClientError):
        statements_of(build(COMPUTE, tags=tags_of(), data=data), PROCESS)


def test_an_attestation_of_another_process_does_not_count_for_this_one() -> None:
    assert said({"Slots": [slot()]}) == [Statement(1, PROCESS, PROCESS)]
    for wrong in ({"process_id": OTHER}, {"kind": "Message"}):
        with pytest.raises(MalformedInput, match="is not an attestation"):
            said({"Slots": [slot()]}, **wrong)
