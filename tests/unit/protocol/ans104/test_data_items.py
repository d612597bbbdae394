"""Items: what is built verifies and comes back; whatever else comes is refused with the part at fault."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from item_strategies import AnySigner, avro, by_hand, ids, number, tags, zigzag

from aoray.errors import BadSignature, ClientError, MalformedInput, TooLarge
from aoray.limits import ITEM_BYTES_MAX, TAGS_MAX
from aoray.protocol.ans104.items import DataItem, addressee, build, parse, rebuild, verify
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.registry import SCHEMES, scheme_of
from aoray.protocol.tags import Tag

ED25519 = Ed25519Signer(b"\7" * 32)
ETHEREUM = EthereumSigner(b"\7" * 32)
TARGET = b64url_encode(b"t" * 32)
TAGS = (Tag("Action", "Eval"), Tag("a", ""))
SOME = build(ED25519, target=TARGET, anchor=b"a" * 32, tags=TAGS, data=b"1 + 1")
HEAD = 2 + 64 + 32  # where SOME's target begins

anchors = st.just(b"") | st.binary(min_size=32, max_size=32)


@settings(max_examples=50, deadline=None)
@given(target=st.just("") | ids, anchor=anchors, some=tags, data=st.binary(max_size=2_000))
@pytest.mark.parametrize("quick", [ED25519, ETHEREUM])
def test_what_is_built_verifies_and_comes_back(
    quick: AnySigner, target: str, anchor: bytes, some: list[Tag], data: bytes
) -> None:
    item = build(quick, target=target, anchor=anchor, tags=some, data=data)
    again = parse(item.raw)
    verify(again)
    assert again == item == pickle.loads(pickle.dumps(item))
    assert addressee(item.raw) == (target or item.id)
    assert (item.target_id, item.anchor, item.tags, item.data) == (target, anchor, tuple(some), data)
    assert item.address == quick.address and item.owner_key == b64url_encode(quick.public_key)


def test_every_signature_type_signs_what_it_verifies(signer: AnySigner) -> None:
    item = build(signer, target=TARGET, anchor=b"a" * 32, tags=[Tag("a", "b")], data=b"data")
    verify(parse(item.raw))
    assert item.address == signer.address


def test_an_item_pickles_as_its_bytes() -> None:
    assert len(pickle.dumps(SOME)) < len(SOME.raw) + 100


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def test_no_byte_can_be_changed(signer: AnySigner) -> None:
    """Each byte of an item, one after another: the result does not parse or does not verify."""
    raw = build(signer, target=TARGET, anchor=b"a" * 32, tags=[Tag("Action", "Eval")], data=b"data").raw
    for at in range(len(raw)):
        with pytest.raises(ClientError):
            verify(parse(flip(raw, at)))


def test_no_cut_is_accepted(signer: AnySigner) -> None:
    raw = build(signer, target=TARGET, tags=[Tag("Action", "Eval")], data=b"data").raw
    for size in range(len(raw)):
        with pytest.raises(ClientError):
            verify(parse(raw[:size]))
        assert addressee(raw[:size]) in ("", addressee(raw))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_parse_or_are_a_client_error(raw: bytes) -> None:
    check_total(raw)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(SCHEMES)), st.data())
def test_bytes_shaped_as_an_item_parse_or_are_a_client_error(kind: int, data: st.DataObject) -> None:
    scheme = scheme_of(kind)
    fill = data.draw(st.sampled_from([b"\0", b"\1", b"\x04", b"\xff"]) | st.binary(min_size=1, max_size=8))
    keys = (fill * 600)[: scheme.signature_bytes + scheme.owner_bytes]
    check_total(kind.to_bytes(2, "little") + keys + data.draw(st.binary(max_size=200)))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_mutations_of_an_item_parse_or_are_a_client_error(data: st.DataObject) -> None:
    raw = bytearray(SOME.raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(HEAD - 32, len(raw)))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    check_total(bytes(raw))


def check_total(raw: bytes) -> None:
    try:
        item = parse(raw)
        assert item.raw == raw and len(item.id) == 43 and item.address and item.owner_key
        assert pickle.loads(pickle.dumps(item)) == item
        verify(item)
    except ClientError:
        return


@pytest.mark.parametrize(
    ("size", "field"),
    [
        (0, "signature_type"),
        (1, "signature_type"),
        (2, "signature"),
        (2 + 63, "signature"),
        (2 + 64 + 31, "owner"),
        (HEAD, "target"),
        (HEAD + 32, "target"),
        (HEAD + 33, "anchor"),
        (HEAD + 65, "anchor"),
        (HEAD + 66, "tags"),
        (HEAD + 66 + 15, "tags"),
        (HEAD + 66 + 16 + 3, "tags"),
    ],
)
def test_a_cut_names_the_part_that_is_missing(size: int, field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse(SOME.raw[:size])
    assert caught.value.field == field


@pytest.mark.parametrize("kind", [0, 5, 7, 0x101, 0xFFFF])
def test_an_unknown_signature_type_is_named(kind: int) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse(kind.to_bytes(2, "little") + SOME.raw[2:])
    assert caught.value.field == "signature_type"


@pytest.mark.parametrize(("at", "field"), [(HEAD, "target"), (HEAD + 33, "anchor")])
def test_a_flag_is_0_or_1(at: int, field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse(SOME.raw[:at] + b"\2" + SOME.raw[at + 1 :])
    assert caught.value.field == field


@pytest.mark.parametrize("at", [HEAD + 66, HEAD + 66 + 8])
@pytest.mark.parametrize("value", [0, 1, 3, 2**32, 2**63, 2**64 - 1])
def test_a_lying_count_or_size_of_tags_is_refused(at: int, value: int) -> None:
    with pytest.raises(ClientError) as caught:
        parse(SOME.raw[:at] + number(value) + SOME.raw[at + 8 :])
    assert caught.value.details["field"] == "tags"


def test_the_tags_as_they_came_are_what_is_verified() -> None:
    """Avro may be written in several blocks; such an item is as good, and keeps its bytes."""
    block = avro([(b"a", b"b")])
    item = parse(by_hand(ED25519, tag_bytes=block + block + zigzag(0), tag_count=2, data=b"d"))
    verify(item)
    assert item.tags == (Tag("a", "b"), Tag("a", "b")) and item.tag_bytes == block + block + b"\0"
    verify(parse(by_hand(ED25519, tag_bytes=b"\0", data=b"d")))  # no tags, written out


def test_too_large_is_said_before_anything_is_read() -> None:
    with pytest.raises(TooLarge):
        parse(bytes(ITEM_BYTES_MAX + 1))
    big = build(ED25519, data=bytes(ITEM_BYTES_MAX)).raw
    assert parse(big, bytes_max=len(big)).raw == big


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"target": "short"}, "target"),
        ({"target": TARGET + "="}, "target"),
        ({"anchor": b"short"}, "anchor"),
        ({"tags": [Tag("a", "\udfff")]}, "tags"),
        ({"tags": [Tag("a", "b")] * (TAGS_MAX + 1)}, "tags"),
    ],
)
def test_what_cannot_be_carried_is_not_built(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(ClientError) as caught:
        build(ED25519, **arguments)  # type: ignore[arg-type]
    assert caught.value.details["field"] == field


def test_another_owner_does_not_verify() -> None:
    other = Ed25519Signer(b"\1" * 32).public_key
    with pytest.raises(BadSignature) as caught:
        verify(parse(SOME.raw[:66] + other + SOME.raw[98:]))
    assert caught.value.details == {"field": "signature", "id": SOME.id}


def test_a_signature_of_one_type_does_not_verify_as_another() -> None:
    """Types 2 and 4 have the same sizes; the type is signed too."""
    with pytest.raises(BadSignature):
        verify(parse(b"\4\0" + SOME.raw[2:]))


SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def signed_as(item: DataItem, signature: bytes) -> DataItem:
    return parse(item.raw[:2] + signature + item.raw[2 + len(signature) :])


def twins_of_ethereum(signature: bytes) -> list[bytes]:
    """Signatures that anyone can derive from one; by the curve's arithmetic they are as good."""
    high = (SECP256K1_ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    v = signature[64]
    return [
        signature[:32] + high + bytes([27 + 28 - v]),
        *(signature[:64] + bytes([other]) for other in (v - 27, v + 4, v + 8)),
    ]


def twins_of_ed25519(signature: bytes) -> list[bytes]:
    s = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    return [signature[:32] + s.to_bytes(32, "little")]


def test_nobody_can_give_a_message_a_second_id() -> None:
    """An id is the hash of the signature: a twin would be accepted as another message."""
    item = build(ETHEREUM, data=b"pay 5")
    for twin in twins_of_ethereum(item.signature):
        with pytest.raises(BadSignature):
            verify(signed_as(item, twin))
    for twin in twins_of_ed25519(SOME.signature):
        with pytest.raises(BadSignature):
            verify(signed_as(SOME, twin))


def test_an_rsa_signature_beyond_the_modulus_is_refused(signers: dict[str, AnySigner]) -> None:
    signer = signers["arweave"]
    modulus = int.from_bytes(signer.public_key, "big")
    twins = 0
    for n in range(40):  # signature + modulus fits into 512 bytes for about every fifth signature of this key
        item = build(signer, data=b"%d" % n)
        twin = int.from_bytes(item.signature, "big") + modulus
        if twin < 2**4096:
            twins += 1
            with pytest.raises(BadSignature):
                verify(signed_as(item, twin.to_bytes(512, "big")))
        if twins == 2:
            return
    pytest.fail("no signature had a twin to try")


@pytest.mark.parametrize("value", [0, 1, 2, 3, 65537, 2**64, 2**4096 - 1, 2**4095, 2**4095 + 1, 2**1024 + 1])
def test_an_owner_that_is_not_a_modulus_is_a_bad_signature(value: int) -> None:
    raw = b"\1\0" + b"\1" * 512 + value.to_bytes(512, "big") + b"\0\0" + bytes(16)
    with pytest.raises(BadSignature):
        verify(parse(raw))


def test_parts_that_do_not_belong_together_are_not_rebuilt(signers: dict[str, AnySigner]) -> None:
    parts = {
        "signature": SOME.signature,
        "owner": SOME.owner,
        "target": SOME.target,
        "anchor": SOME.anchor,
        "tags": SOME.tags,
    }
    assert rebuild(**parts, data=SOME.data) == SOME  # type: ignore[arg-type]
    with pytest.raises(BadSignature):
        rebuild(**parts, data=b"other")  # type: ignore[arg-type]
    with pytest.raises(BadSignature):
        rebuild(**(parts | {"signature": b"short"}), data=SOME.data)  # type: ignore[arg-type]
    with pytest.raises(MalformedInput):
        rebuild(**(parts | {"target": b"short"}), data=SOME.data)  # type: ignore[arg-type]
    solana = build(signers["solana"], data=b"d")  # the same sizes as Ed25519: told apart by what verifies
    again = rebuild(
        signature=solana.signature, owner=solana.owner, target=b"", anchor=b"", tags=(), data=b"d"
    )
    assert again == solana


def test_an_arweave_signature_with_any_salt_verifies(signers: dict[str, AnySigner]) -> None:
    """Browsers sign with a salt of 32 bytes (as we do), node with the longest: the vectors have such."""
    signer = signers["arweave"]
    assert isinstance(signer, RsaSigner)
    first, second = (build(signer, data=b"same") for _ in range(2))
    assert first.id != second.id
    verify(first)
    verify(second)
