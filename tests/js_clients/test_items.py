"""Items, bundles and signatures cross over to npm's @dha-team/arbundles and arweave, and back.

`items.mjs` is the other side. Each test is one run of node, with many items in it.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from typing import Any

import pytest
from js_items import SECRET, SEED, as_request, as_seen, ask, b64

from aoray.errors import ClientError
from aoray.protocol.ans104 import bundles
from aoray.protocol.ans104.deep_hash import DeepChunk, deep_hash
from aoray.protocol.ans104.items import build, parse, rebuild, verify
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.registry import verifies
from aoray.protocol.signatures.solana import SolanaSigner
from aoray.protocol.tags import Tag

pytestmark = pytest.mark.node

WORDS = [
    "",
    "a",
    "Action",
    "ao",
    "Ключ",
    "значение 🚀",
    "名前",
    "\x00",
    "e\u0301",
    '"\\\n',
    "v" * 200,
    "é" * 70,
]


@pytest.fixture(scope="module")
def signers() -> Mapping[str, Signer]:
    return {
        "arweave": generate_rsa(),
        "ed25519": Ed25519Signer(SEED),
        "ethereum": EthereumSigner(SECRET),
        "solana": SolanaSigner(SEED),
    }


def some_parts() -> list[dict[str, Any]]:
    """Parts of items, the same in each run: with and without each, texts of all kinds, sizes at the edges."""
    chance = random.Random(7)
    parts = [
        {
            "target": chance.choice(["", b64url_encode(chance.randbytes(32))]),
            "anchor": chance.choice([b"", b"%032d" % chance.getrandbits(60)]),
            "tags": tuple(
                Tag(chance.choice(WORDS), chance.choice(WORDS)) for _ in range(chance.randrange(8))
            ),
            "data": chance.randbytes(chance.choice([0, 1, 31, 700, 70_000])),
        }
        for _ in range(15)
    ]
    many = tuple(Tag(f"n{n}", "") for n in range(128))
    long = (Tag("n", "v" * 4_000),)
    return [*parts, {"tags": many}, {"tags": long}, {}]


def test_items_made_by_arbundles_verify_here(signers: Mapping[str, Signer]) -> None:
    wanted = [(name, parts) for name in signers for parts in some_parts()]
    made = ask(signers, make=[as_request(name, parts) for name, parts in wanted])["made"]
    for (name, parts), one in zip(wanted, made, strict=True):
        item = parse(base64.b64decode(one["raw"]))
        verify(item)
        assert as_seen(item) == one["seen"]
        assert item.address == signers[name].address
        if name != "arweave":  # where signing is deterministic, we make the very same bytes
            assert build(signers[name], **parts) == item


def test_items_made_here_verify_in_arbundles(signers: Mapping[str, Signer]) -> None:
    items = [build(signer, **parts) for signer in signers.values() for parts in some_parts()]
    for item, one in zip(
        items, ask(signers, check=[b64(item.raw) for item in items])["checked"], strict=True
    ):
        assert one == {"valid": True, "seen": as_seen(item)}


def test_items_with_a_changed_byte_verify_on_neither_side(signers: Mapping[str, Signer]) -> None:
    chance = random.Random(7)
    changed = []
    for signer in signers.values():
        item = build(signer, tags=[Tag("a", "b")], data=b"data")
        for at in (10, 40, len(item.raw) - 1, len(item.raw) - 6):
            raw = bytearray(item.raw)
            raw[at] ^= 1 << chance.randrange(8)
            changed.append(bytes(raw))
    theirs = ask(signers, check=[b64(raw) for raw in changed])["checked"]
    assert [one["valid"] for one in theirs] == [ours(raw) for raw in changed] == [False] * len(changed)


def ours(raw: bytes) -> bool:
    try:
        verify(parse(raw))
    except ClientError:
        return False
    return True


def test_bundles_made_by_arbundles_unpack_here(signers: Mapping[str, Signer]) -> None:
    wanted = [as_request(name, parts) for name in signers for parts in some_parts()[:4]]
    for made in ask(signers, bundle=[wanted, []])["bundles"]:
        raw = base64.b64decode(made["raw"])
        items = bundles.unpack(raw)
        for item in items:
            verify(item)
        assert [item.id for item in items] == made["ids"]
        assert bundles.pack(items) == raw


def test_bundles_made_here_unbundle_in_arbundles(signers: Mapping[str, Signer]) -> None:
    items = [build(signer, **parts) for signer in signers.values() for parts in some_parts()[:4]]
    packed = [bundles.pack(items), bundles.pack([])]
    full, empty = ask(signers, unbundle=[b64(each) for each in packed])["unbundled"]
    assert full == {"valid": True, "raws": [b64(item.raw) for item in items]}
    assert empty == {"valid": True, "raws": []}


def tree(chance: random.Random, depth: int) -> DeepChunk:
    if depth == 0 or chance.random() < 0.4:
        return chance.randbytes(chance.choice([0, 1, 9, 10, 300]))
    return [tree(chance, depth - 1) for _ in range(chance.randrange(5))]


def as_base64(chunk: DeepChunk) -> Any:
    return b64(chunk) if isinstance(chunk, bytes) else [as_base64(each) for each in chunk]


def test_deep_hashes_are_those_of_arbundles(signers: Mapping[str, Signer]) -> None:
    chance = random.Random(7)
    trees = [tree(chance, 4) for _ in range(40)]
    hashes = ask(signers, hash=[as_base64(each) for each in trees])["hashes"]
    assert hashes == [b64(deep_hash(each)) for each in trees]


def test_wallets_and_their_signatures_are_those_of_arweave(signers: Mapping[str, Signer]) -> None:
    rsa = signers["arweave"]
    messages = [b"", b"message", bytes(1_000)]
    signed = [{"message": b64(message), "signature": b64(rsa.sign(message))} for message in messages]
    answer = ask(signers, rsa=signed, sign=[b64(message) for message in messages])
    assert answer["address"] == rsa.address
    assert answer["rsaVerified"] == [True] * len(messages)
    for message, signature in zip(messages, answer["rsaSigned"], strict=True):
        assert verifies(1, rsa.public_key, message, base64.b64decode(signature))


def test_an_item_of_arbundles_is_rebuilt_from_what_a_gateway_tells(signers: Mapping[str, Signer]) -> None:
    wanted = [as_request(name, some_parts()[0]) for name in signers]
    for one in ask(signers, make=wanted)["made"]:
        item = parse(base64.b64decode(one["raw"]))
        parts = {name: getattr(item, name) for name in ("owner", "target", "anchor", "tags", "data")}
        assert rebuild(signature=item.signature, **parts) == item
