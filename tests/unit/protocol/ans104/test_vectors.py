"""Everything in `ans104.json` comes out here as arbundles and arweave have it."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from item_strategies import AnySigner

from aoray.protocol.ans104 import bundles
from aoray.protocol.ans104.deep_hash import DeepChunk, deep_hash
from aoray.protocol.ans104.items import DataItem, build, parse, rebuild, verify
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures.jwk import signer_from_jwk, signer_to_jwk
from aoray.protocol.signatures.registry import verifies
from aoray.protocol.tags import Tag, Tags, as_json, decode_tags, encode_tags, from_json

Vector = dict[str, Any]


def tags_of(vector: Vector) -> Tags:
    return from_json(vector["tags"])


def test_keys_have_the_vectors_addresses_and_jwk(vectors: Vector, signers: dict[str, AnySigner]) -> None:
    keys = vectors["keys"]
    assert signers["arweave"].address == keys["arweave_address"]
    assert signers["ethereum"].address == keys["ethereum_address"]
    assert signers["ethereum"].public_key.hex() == keys["secp256k1_public_uncompressed_hex"]
    assert signers["ed25519"].public_key.hex() == keys["ed25519_public_hex"]
    assert signer_to_jwk(signer_from_jwk(keys["rsa_jwk"])) == keys["rsa_jwk"]


def test_tags_are_the_vectors_bytes_both_ways(vectors: Vector) -> None:
    for vector in vectors["tags_avro"]:
        assert encode_tags(tags_of(vector)).hex() == vector["hex"]
        assert decode_tags(bytes.fromhex(vector["hex"])) == tags_of(vector)


def chunk_of(label: str) -> DeepChunk:
    """The tree that a label of the vectors describes."""
    if label == "blob empty":
        return b""
    tree: DeepChunk = json.loads(re.sub(r"^\w+ ", "", label), object_hook=None)
    return _as_bytes(tree)


def _as_bytes(tree: Any) -> DeepChunk:
    return tree.encode() if isinstance(tree, str) else [_as_bytes(each) for each in tree]


def test_deep_hashes_are_the_vectors(vectors: Vector) -> None:
    for vector in vectors["deep_hash"]:
        assert deep_hash(chunk_of(vector["label"])).hex() == vector["sha384_hex"]


def test_items_parse_and_verify_as_the_vectors_say(vectors: Vector) -> None:
    for vector in vectors["items"]:
        raw = base64.b64decode(vector["raw_b64"])
        item = parse(raw)
        verify(item)
        assert len(raw) == vector["raw_len"] and item.raw == raw
        assert item.id == vector["id_b64u"] and item.signature_type == vector["signature_type"]
        assert item.owner_key == vector["owner_b64u"] and item.target_id == vector["target"]
        assert b64url_encode(item.signature) == vector["signature_b64u"]
        assert item.anchor.decode() == vector["anchor_utf8"] and item.data.hex() == vector["data_hex"]
        assert item.tags == tags_of(vector) and item.tag_bytes.hex() == vector["raw_tags_avro_hex"]
        assert deep_hash(signed_parts(item)).hex() == vector["deep_hash_sha384_hex"]


def signed_parts(item: DataItem) -> list[bytes]:
    parts = [item.owner, item.target, item.anchor, item.tag_bytes, item.data]
    return [b"dataitem", b"1", b"%d" % item.signature_type, *parts]


def test_items_built_here_are_the_vectors_bytes(vectors: Vector, signers: dict[str, AnySigner]) -> None:
    """To the byte where signing is deterministic; RSA-PSS has a random salt, and is verified instead."""
    for vector in vectors["items"]:
        item = build(
            signers[vector["signer"]],
            target=vector["target"],
            anchor=vector["anchor_utf8"].encode(),
            tags=tags_of(vector),
            data=bytes.fromhex(vector["data_hex"]),
        )
        if vector["signer"] == "arweave":
            verify(item)
            assert len(item.raw) == vector["raw_len"]
        else:
            assert base64.b64encode(item.raw).decode() == vector["raw_b64"]


def test_items_rebuilt_from_their_parts_are_the_vectors(vectors: Vector) -> None:
    for vector in vectors["items"]:
        item = parse(base64.b64decode(vector["raw_b64"]))
        again = rebuild(
            signature=item.signature,
            owner=item.owner,
            target=item.target,
            anchor=item.anchor,
            tags=item.tags,
            data=item.data,
        )
        assert again == item


def test_the_bundle_unpacks_and_packs_to_the_same_bytes(vectors: Vector) -> None:
    vector = vectors["bundle"]
    raw = base64.b64decode(vector["raw_b64"])
    items = bundles.unpack(raw)
    for item in items:
        verify(item)
    assert [item.id for item in items] == vector["item_ids"]
    assert [len(item.raw) for item in items] == vector["item_sizes"]
    assert raw.hex().startswith(vector["header_hex"])
    assert bundles.pack(items) == raw
    assert as_json(bundles.BUNDLE_TAGS) == vector["wrapper_tags"]


@pytest.mark.parametrize("index", range(3))
def test_transactions_of_arweave_have_the_vectors_deep_hash_and_verify(vectors: Vector, index: int) -> None:
    """Arweave's own transactions are not made here; they show that the deep hash nests."""
    vector = vectors["l1"][index]
    tx = vector["tx_json"]
    owner, target, last_tx, root = (b64url_decode(tx[k]) for k in ("owner", "target", "last_tx", "data_root"))
    tags = [[b64url_decode(tag["name"]), b64url_decode(tag["value"])] for tag in tx["tags"]]
    quantity, reward, size = (tx[name].encode() for name in ("quantity", "reward", "data_size"))
    message = deep_hash([b"2", owner, target, quantity, reward, last_tx, tags, size, root])
    assert message.hex() == vector["signing_input_deep_hash_hex"]
    assert verifies(1, owner, message, b64url_decode(tx["signature"]))


def test_tags_keep_duplicates_and_order(vectors: Vector) -> None:
    vector = next(v for v in vectors["items"] if v["label"].startswith("duplicate"))
    assert parse(base64.b64decode(vector["raw_b64"])).tags == (Tag("Test-Tag", "1"), Tag("test-tag", "2"))
