"""Arweave's own transactions (layer 1, format 2) that carry data: made, signed, and as JSON for `POST /tx`.

The signature is RSA-PSS over the deep hash of all the fields, with the data by its Merkle root; the id is
SHA-256 of the signature. The *anchor* (`last_tx`: the id of a recent block) bounds the time in which a
transaction can be mined, so what is too old will never be, and may be made again. Pure: prices and anchors
come from whoever asks the node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from aoray.arweave.merkle import chunked
from aoray.errors import BadSignature, MalformedInput
from aoray.protocol.deephash import deep_hash
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.keys import RsaSigner
from aoray.protocol.signatures import ARWEAVE, verifies
from aoray.protocol.tags import Tag, Tags


class Transaction(NamedTuple):
    """A signed transaction without its data."""

    owner: bytes
    anchor: bytes
    tags: Tags
    reward: int  # winston
    data_size: int
    data_root: bytes
    signature: bytes = b""

    @property
    def id(self) -> str:
        return b64url_encode(sha256(self.signature).digest())


def sign(signer: RsaSigner, data: bytes, *, anchor: str, reward: int, tags: Sequence[Tag]) -> Transaction:
    """A transaction that carries this data. PSS is salted: the same again is another, with another id."""
    root, _ = chunked(data)
    last_tx = b64url_decode(anchor, field="anchor")
    unsigned = Transaction(signer.public_key, last_tx, tuple(tags), reward, len(data), root)
    return unsigned._replace(signature=signer.sign(_signed(unsigned)))


def verify(transaction: Transaction) -> None:
    """BadSignature, unless its owner signed it."""
    if not verifies(ARWEAVE, transaction.owner, _signed(transaction), transaction.signature):
        raise BadSignature("The transaction's signature does not verify.", id=transaction.id)


def _signed(transaction: Transaction) -> bytes:
    """What its signature is of: the target is empty and the quantity 0."""
    owner, anchor, tags, reward, size, root, _ = transaction
    pairs = [[tag.name.encode(), tag.value.encode()] for tag in tags]
    return deep_hash([b"2", owner, b"", b"0", b"%d" % reward, anchor, pairs, b"%d" % size, root])


def to_json(transaction: Transaction, data: bytes = b"") -> dict[str, Any]:
    """As `POST /tx` takes it. Data of one chunk goes with it, longer data as `chunks`."""
    owner, anchor, tags, reward, size, root, signature = transaction
    return {
        "format": 2,
        "id": transaction.id,
        "last_tx": b64url_encode(anchor),
        "owner": b64url_encode(owner),
        "tags": [
            {"name": b64url_encode(tag.name.encode()), "value": b64url_encode(tag.value.encode())}
            for tag in tags
        ],
        "target": "",
        "quantity": "0",
        "data": b64url_encode(data),
        "data_size": str(size),
        "data_root": b64url_encode(root),
        "reward": str(reward),
        "signature": b64url_encode(signature),
    }


def from_json(found: Mapping[str, Any]) -> Transaction:
    """The transaction of such JSON; MalformedInput if it is none that `to_json` makes."""
    try:
        raw = {name: b64url_decode(found[name]) for name in ("owner", "last_tx", "data_root", "signature")}
        tags = tuple(
            Tag(b64url_decode(tag["name"]).decode(), b64url_decode(tag["value"]).decode())
            for tag in found["tags"]
        )
        numbers = {name: int(found[name]) for name in ("reward", "data_size")}
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedInput("This is no data transaction.", field="transaction") from error
    return Transaction(
        raw["owner"],
        raw["last_tx"],
        tags,
        numbers["reward"],
        numbers["data_size"],
        raw["data_root"],
        raw["signature"],
    )


def chunks_json(data: bytes) -> Iterator[dict[str, str]]:
    """Each chunk as `POST /chunk` takes it."""
    root, chunks = chunked(data)
    for start, end, path in chunks:
        yield {
            "data_root": b64url_encode(root),
            "data_size": str(len(data)),
            "data_path": b64url_encode(path),
            "offset": str(end - 1),
            "chunk": b64url_encode(data[start:end]),
        }
