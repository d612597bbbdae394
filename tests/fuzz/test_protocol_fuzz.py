"""Bytes that claim to be items, tags, bundles, logs, keys, cursors: the client's fault, or what they say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from fuzz_strategies import (
    answer_or_error,
    cursor_texts,
    damaged,
    deep,
    fuzz,
    ids,
    levels,
    scalars,
    spelled,
    texts,
    values,
)
from hypothesis import strategies as st
from item_strategies import avro, by_hand, tags, zigzag
from signed_assignments import next_assignment

from aoray.execution import guest_input
from aoray.gateway.legacy import cursors, schedule_json
from aoray.protocol.ans104.bundles import pack, unpack
from aoray.protocol.ans104.items import DataItem, build, parse, verify
from aoray.protocol.assignments import Head, LogEntry, check_chain
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.jwk import signer_from_jwk, signer_to_jwk
from aoray.protocol.signatures.solana import SolanaSigner
from aoray.protocol.tags import Tag, as_json, decode_tags, encode_tags, from_json
from aoray.storage.key_files import load

SIGNERS = [Ed25519Signer(b"\1" * 32), EthereumSigner(b"\2" * 32), SolanaSigner(b"\3" * 32)]
USER, SCHEDULER = SIGNERS[0], Ed25519Signer(b"\4" * 32)
RSA = generate_rsa()
AO = (Tag("Data-Protocol", "ao"), Tag("Type", "Message"))
TARGET = b64url_encode(b"t" * 32)
ITEMS = [build(signer, target=TARGET, anchor=b"a" * 32, tags=AO, data=b"data") for signer in (*SIGNERS, RSA)]
ITEMS.append(build(USER))
parts = st.fixed_dictionaries(
    {
        "target": st.just("") | ids,
        "anchor": st.just(b"") | st.binary(min_size=32, max_size=32),
        "tags": tags,
        "data": st.binary(max_size=300),
    }
)
items = st.builds(lambda signer, given: build(signer, **given), st.sampled_from(SIGNERS), parts)


def check_item(raw: bytes) -> None:
    """Parsed, it is these bytes and no others, and whoever shows or evaluates it can."""
    item = answer_or_error(lambda: parse(raw))
    if item is None:
        return
    assert item.raw == raw and raw.endswith(item.tag_bytes + item.data)
    assert decode_tags(item.tag_bytes) == item.tags == from_json(as_json(item.tags))
    assert len(item.id) == 43 and item.address
    orjson.dumps(schedule_json.message(item))
    if answer_or_error(lambda: verify(item) or True):
        again = parse(bytes(bytearray(raw)))
        assert again == item


@fuzz(300, st.sampled_from(ITEMS).flatmap(lambda item: damaged(item.raw)) | st.binary(max_size=1200))
def test_any_bytes_are_an_item_or_the_client_s_fault(raw: bytes) -> None:
    check_item(raw)


def test_a_damaged_item_does_not_verify() -> None:
    """The other way round: what the fuzzer above lets through is only what was signed."""

    @fuzz(150, st.sampled_from(ITEMS).flatmap(lambda item: st.tuples(st.just(item), damaged(item.raw))))
    def change(pair: tuple[DataItem, bytes]) -> None:
        good, raw = pair
        if raw != good.raw:
            assert not answer_or_error(lambda: verify(parse(raw)) or True)

    change()


numbers64 = st.integers(-3, 200) | st.integers(-(2**70), 2**70)
texts_bytes = st.binary(max_size=12) | st.text(max_size=6).map(lambda text: text.encode("utf-8", "replace"))
tag_pieces = st.one_of(
    numbers64.map(zigzag),
    texts_bytes.map(lambda text: zigzag(len(text)) + text),
    st.lists(st.tuples(texts_bytes, texts_bytes), max_size=4).map(avro),
    st.sampled_from([b"\0", b"\x80" * 9 + b"\1", b"\x80" * 12, b"\xff" * 10]),
    st.binary(max_size=5),
)
tag_bytes = st.lists(tag_pieces, max_size=6).map(b"".join)


@fuzz(
    300, st.sampled_from(SIGNERS), tag_bytes, st.integers(0, 6) | st.just(2**64 - 1), st.binary(max_size=40)
)
def test_an_item_signed_over_any_tag_bytes_is_refused_or_can_be_evaluated(
    signer: Any, encoded: bytes, count: int, data: bytes
) -> None:
    """Its signature is good, so nothing but the parser keeps bad tags out of the log."""
    raw = by_hand(
        signer, target=b"t" * 32, anchor=data[:32].ljust(32), tag_bytes=encoded, tag_count=count, data=data
    )
    check_item(raw)
    item = answer_or_error(lambda: parse(raw))
    if item is not None:
        verify(item)
        head = Head(0, item.id, item.id, 5)
        _, assignment = next_assignment(SCHEDULER, TARGET, head, item.id, now_ms=1, block_height=7)
        entry = LogEntry(TARGET, 1, item.id, assignment.id, 6, raw, assignment.raw)
        seen = orjson.loads(guest_input.to_guest_message(entry).message)
        assert seen["Owner"] == item.address and seen["Target"] == TARGET and seen["Nonce"] == 1
        orjson.dumps(schedule_json.node(entry))


@fuzz(300, tag_bytes | tags.flatmap(lambda some: damaged(encode_tags(some))))
def test_any_bytes_are_tags_or_the_client_s_fault(encoded: bytes) -> None:
    found = answer_or_error(lambda: decode_tags(encoded))
    if found is not None:
        assert decode_tags(encode_tags(found)) == found


@fuzz(200, values | st.lists(st.fixed_dictionaries({"name": values, "value": values}), max_size=4))
def test_any_json_is_tags_or_the_client_s_fault(value: Any) -> None:
    found = answer_or_error(lambda: from_json(value))
    if found is not None:
        assert as_json(found) == [{"name": tag["name"], "value": tag["value"]} for tag in value]
        encoded = answer_or_error(lambda: encode_tags(found))
        assert encoded is None or decode_tags(encoded) == found


@fuzz(100, items)
def test_what_is_built_comes_back(item: DataItem) -> None:
    again = parse(item.raw)
    verify(again)
    assert again == item and again.id == item.id


@fuzz(100, st.lists(items, max_size=4).flatmap(lambda some: st.tuples(st.just(some), damaged(pack(some)))))
def test_any_bytes_are_a_bundle_or_the_client_s_fault(bundles: tuple[list[DataItem], bytes]) -> None:
    some, other = bundles
    assert unpack(pack(some)) == some
    found = answer_or_error(lambda: unpack(other))
    assert found is None or pack(found) == other


@fuzz(100, st.lists(items, min_size=1, max_size=4), st.data())
def test_a_changed_log_is_the_log_or_refused(log: list[DataItem], data: st.DataObject) -> None:
    process, entries, head = log[0].id, [], None
    for nonce, item in enumerate(log):
        head, assignment = next_assignment(
            SCHEDULER, process, head, item.id if nonce else None, now_ms=5, block_height=7
        )
        entries.append(
            LogEntry(process, nonce, item.id, assignment.id, head.timestamp, item.raw, assignment.raw)
        )
    assert check_chain(process, entries, scheduler=SCHEDULER.address) == head
    at = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(st.sampled_from([*["item", "assignment"] * 3, *LogEntry._fields]))
    value = getattr(entries[at], field)
    other = data.draw(
        damaged(value) if isinstance(value, bytes) else texts if isinstance(value, str) else st.integers()
    )
    changed = [*entries[:at], entries[at]._replace(**{field: other}), *entries[at + 1 :]]
    if changed != entries:
        assert not answer_or_error(lambda: check_chain(process, changed, scheduler=SCHEDULER.address))


JWKS = [signer_to_jwk(signer) for signer in (*SIGNERS[:2], RSA)]
members = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi"])
wrong = (
    scalars
    | values
    | st.binary(max_size=70).map(b64url_encode)
    | st.sampled_from(["RSA", "OKP", "EC", "Ed25519"])
)


@fuzz(60, st.sampled_from(JWKS), st.dictionaries(members, wrong, max_size=3), st.lists(members, max_size=2))
def test_any_jwk_is_a_key_or_the_client_s_fault(
    jwk: dict[str, Any], changes: dict[str, Any], gone: list[str]
) -> None:
    mixed = {name: value for name, value in (jwk | changes).items() if name not in gone}
    signer = answer_or_error(lambda: signer_from_jwk(mixed))
    if signer is not None:
        item = build(signer, tags=AO)
        verify(item)
        assert signer_to_jwk(signer_from_jwk(signer_to_jwk(signer))) == signer_to_jwk(signer)


key_files = st.one_of(
    st.binary(max_size=60),
    values.map(spelled),
    st.sampled_from(JWKS).flatmap(lambda jwk: damaged(orjson.dumps(jwk))),
    levels.map(deep),
)


def test_any_file_is_a_key_or_names_itself(tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("keys") / "key.json"

    @fuzz(200, key_files)
    def read(content: bytes) -> None:
        path.write_bytes(content)
        answer_or_error(lambda: load(path))

    read()


@fuzz(300, cursor_texts)
def test_any_text_is_a_cursor_or_the_client_s_fault(text: str) -> None:
    found = answer_or_error(lambda: cursors.parse_cursor(text, "from"))
    assert found is None or (0 <= found.timestamp < 10**18 and found.sort in (None, "ASC", "DESC"))


@fuzz(100, st.integers(0, 10**17), st.integers(0, 2**62), st.sampled_from(["ASC", "DESC"]))
def test_a_cursor_comes_back(timestamp: int, nonce: int, sort: Any) -> None:
    assert cursors.parse_cursor(cursors.cursor(timestamp, nonce, sort), "from") == (timestamp, sort)


dry_runs = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("Id", "Owner", "Anchor", "Data", "Target", "Cron", "Timestamp"), values)
    | {"Tags": values | st.lists(st.fixed_dictionaries({"name": texts, "value": scalars}), max_size=4)},
)


@fuzz(
    300,
    dry_runs.map(spelled)
    | levels.map(lambda n: b'{"Data":' + deep(n) + b"}")
    | levels.map(lambda n: b'{"Tags":[{"name":"a","value":' + deep(n) + b"}]}"),
)
def test_any_json_object_is_a_dry_run_or_the_client_s_fault(raw: bytes) -> None:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    message = answer_or_error(lambda: guest_input.dry_run_message(TARGET, body, 1, 2))
    if message is not None:
        seen = orjson.loads(message)
        assert seen["Target"] == TARGET and seen["Read-Only"] is True and "Nonce" not in seen


def test_the_fuzzers_can_fail() -> None:
    """A bug that is no client's fault is caught."""

    @fuzz(50, tag_bytes)
    def trusting(encoded: bytes) -> None:
        answer_or_error(lambda: [encoded][len(encoded) + 1])

    with pytest.raises(IndexError):
        trusting()
