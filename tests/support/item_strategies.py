"""What the tests of the protocol share: strategies for parts of items, and items made by hand."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from aoray.protocol.ans104.deep_hash import deep_hash
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.solana import SolanaSigner
from aoray.protocol.tags import Tag

AnySigner = Ed25519Signer | EthereumSigner | RsaSigner | SolanaSigner

ids = st.binary(min_size=32, max_size=32).map(b64url_encode)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
names = st.sampled_from(["Action", "action", "Data-Protocol", "Type", "Variant", ""]) | texts
tags = st.lists(st.builds(Tag, names, texts), max_size=20)


def number(value: int) -> bytes:
    """A count or a size as items have it."""
    return value.to_bytes(8, "little")


def by_hand(
    signer: AnySigner,
    *,
    target: bytes = b"",
    anchor: bytes = b"",
    tag_bytes: bytes = b"",
    tag_count: int = 0,
    data: bytes = b"",
) -> bytes:
    """A signed item written straight from ANS-104, with whatever tag bytes; not with the code under test."""
    kind = signer.signature_type
    parts = [b"dataitem", b"1", b"%d" % kind, signer.public_key, target, anchor, tag_bytes, data]
    flags = b"".join(b"\1" + part if part else b"\0" for part in (target, anchor))
    head = kind.to_bytes(2, "little") + signer.sign(deep_hash(parts)) + signer.public_key + flags
    return head + number(tag_count) + number(len(tag_bytes)) + tag_bytes + data


def zigzag(value: int) -> bytes:
    """A number as Avro writes it."""
    rest, out = value << 1 if value >= 0 else (-value << 1) - 1, []
    while True:
        rest, low = rest >> 7, rest & 0x7F
        out.append(low | (0x80 if rest else 0))
        if not rest:
            return bytes(out)


def avro(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """One block of tags, without the end."""
    listed = list(pairs)
    texts = b"".join(zigzag(len(each)) + each for pair in listed for each in pair)
    return zigzag(len(listed)) + texts
