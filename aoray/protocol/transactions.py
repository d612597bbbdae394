"""Arweave's own transactions (layer 1, format 2), which carry data, transfer AR, or both: to make, sign and
verify them, and their JSON for `POST /tx`. Pure.

The signature is RSA-PSS over the deep hash of all fields, with the data as its Merkle root; the id is the
SHA-256 of the signature. The *anchor* (`last_tx`: the id of a recent block) bounds the time in which a
transaction can be mined, so one that is too old will never be mined and may be made again. The caller asks a
node for prices and anchors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from aoray.errors import BadSignature, MalformedInput, TooLarge
from aoray.limits import TAG_BYTES_MAX, TAGS_MAX, UPLOAD_BYTES_MAX
from aoray.protocol.ans104.deep_hash import deep_hash
from aoray.protocol.ans104.items import DataItem, parse
from aoray.protocol.ans104.items import verify as verify_item
from aoray.protocol.ids import ID_BYTES, b64url_decode, b64url_encode
from aoray.protocol.merkle import chunked
from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.base import ARWEAVE, address_of
from aoray.protocol.signatures.registry import verifies
from aoray.protocol.tags import Tag, Tags

RSA_BYTES = 512  # the size of a modulus, and of a signature
BLOCK_ID_BYTES = 48
DIGITS_MAX = 20  # the total supply in winston has 20 digits


class Transaction(NamedTuple):
    """A signed layer-1 transaction (format 2), without its data."""

    owner: bytes
    anchor: bytes
    tags: Tags
    reward: int  # winston
    data_size: int
    data_root: bytes
    signature: bytes = b""
    target: bytes = b""
    quantity: int = 0  # winston, for the target

    @property
    def id(self) -> str:
        """The id: the SHA-256 of the signature, in base64url."""
        return b64url_encode(sha256(self.signature).digest())

    @property
    def address(self) -> str:
        """The address of the wallet that signs and pays."""
        return address_of(ARWEAVE, self.owner)

    @property
    def item(self) -> DataItem:
        """The transaction in the form of a data item, without data."""
        parts = (self.signature, self.owner, self.target, self.anchor, self.tags)
        return DataItem(ARWEAVE, *parts, data=b"", raw=b"", id=self.id)


def sign(
    signer: RsaSigner,
    data: bytes,
    *,
    anchor: str,
    reward: int,
    tags: Sequence[Tag] = (),
    target: str = "",
    quantity: int = 0,
) -> Transaction:
    """Make and sign a transaction that carries this data. `reward` and `quantity` are in winston; `anchor` is
    the id of a recent block.

    PSS is salted, so signing the same again gives another signature and another id.
    """
    root = chunked(data)[0] if data else b""
    last_tx = b64url_decode(anchor, field="anchor")
    unsigned = Transaction(
        signer.public_key,
        last_tx,
        tuple(tags),
        reward,
        len(data),
        root,
        target=b64url_decode(target, field="target"),
        quantity=quantity,
    )
    return unsigned._replace(signature=signer.sign(_signed(unsigned)))


def verify(transaction: Transaction) -> None:
    """Raise `BadSignature` unless the owner signed the transaction."""
    if not verifies(ARWEAVE, transaction.owner, _signed(transaction), transaction.signature):
        raise BadSignature("the signature of the transaction does not verify", id=transaction.id)


def _signed(transaction: Transaction) -> bytes:
    """Return the bytes that the signature covers."""
    owner, anchor, tags, reward, size, root, _, target, quantity = transaction
    pairs = [[tag.name.encode(), tag.value.encode()] for tag in tags]
    money = [target, b"%d" % quantity, b"%d" % reward]
    return deep_hash([b"2", owner, *money, anchor, pairs, b"%d" % size, root])


def raw_of(transaction: Transaction, data: bytes) -> bytes:
    """Return a transaction with its data as one byte string: its JSON, a line feed, its data."""
    return orjson.dumps(to_json(transaction)) + b"\n" + data


def is_raw(raw: bytes) -> bool:
    """Return whether these are the bytes of a transaction; those of a data item never start like it."""
    return raw.startswith(b"{")


def signed_item(raw: bytes) -> DataItem:
    """Verify a data item, or a transaction with its data (`raw_of`), and return it as a data item. Raises
    `BadSignature`, `MalformedInput` or `TooLarge`."""
    if not is_raw(raw):
        item = parse(raw, bytes_max=UPLOAD_BYTES_MAX)
        verify_item(item)
        return item
    header, _, data = raw.partition(b"\n")
    try:
        transaction = from_json(orjson.loads(header))
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the transaction is not JSON: {error}", field="transaction") from error
    verify(transaction)
    if len(data) != transaction.data_size or (data and chunked(data)[0] != transaction.data_root):
        raise BadSignature("the data is not that of the transaction", id=transaction.id)
    return replace(transaction.item, data=data, raw=raw)


def to_json(transaction: Transaction, data: bytes = b"") -> dict[str, Any]:
    """Return the JSON that `POST /tx` takes. Data of one chunk can be sent with it, longer data as
    `chunks_json`."""
    owner, anchor, tags, reward, size, root, signature, target, quantity = transaction
    return {
        "format": 2,
        "id": transaction.id,
        "last_tx": b64url_encode(anchor),
        "owner": b64url_encode(owner),
        "tags": [
            {"name": b64url_encode(tag.name.encode()), "value": b64url_encode(tag.value.encode())}
            for tag in tags
        ],
        "target": b64url_encode(target),
        "quantity": str(quantity),
        "data": b64url_encode(data),
        "data_size": str(size),
        "data_root": b64url_encode(root),
        "reward": str(reward),
        "signature": b64url_encode(signature),
    }


def from_json(found: Mapping[str, Any]) -> Transaction:
    """Read a transaction from the JSON of `POST /tx`. Raises `MalformedInput` that names the field at
    fault."""
    if not isinstance(found, Mapping) or found.get("format") != 2:
        raise MalformedInput(
            "the transaction is not of format 2",
            field="format",
            hint="Make it with arweave-js, for example.",
        )
    return Transaction(
        _bytes(found, "owner", RSA_BYTES),
        _bytes(found, "last_tx", 0, ID_BYTES, BLOCK_ID_BYTES),
        _tags(found),
        _number(found, "reward"),
        _number(found, "data_size"),
        _bytes(found, "data_root", 0, ID_BYTES),
        _bytes(found, "signature", RSA_BYTES),
        _bytes(found, "target", 0, ID_BYTES),
        _number(found, "quantity"),
    )


def _bytes(found: Mapping[str, Any], name: str, *sizes: int) -> bytes:
    text = found.get(name, "")
    if not isinstance(text, str):
        raise MalformedInput(f"{name!r} of the transaction is not text", field=name)
    value = b64url_decode(text, field=name)
    if len(value) not in sizes:
        allowed = " or ".join(map(str, sizes))
        raise MalformedInput(f"{name!r} of the transaction has {len(value)} bytes, not {allowed}", field=name)
    return value


def _number(found: Mapping[str, Any], name: str) -> int:
    text = str(found.get(name, "0"))
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX):
        raise MalformedInput(f"{name!r} of the transaction is not a number from 0 up", field=name)
    return int(text)


def _tags(found: Mapping[str, Any]) -> Tags:
    tags = found.get("tags", [])
    if not isinstance(tags, list) or len(tags) > TAGS_MAX:
        raise MalformedInput(
            f"'tags' of the transaction is not a list of up to {TAGS_MAX} tags", field="tags"
        )
    try:
        read = tuple(
            Tag(b64url_decode(tag["name"]).decode(), b64url_decode(tag["value"]).decode()) for tag in tags
        )
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise MalformedInput(
            "a tag of the transaction is not a name and a value in base64url", field="tags"
        ) from error
    if sum(len(tag.name.encode()) + len(tag.value.encode()) for tag in read) > TAG_BYTES_MAX:
        raise TooLarge(f"the tags have over {TAG_BYTES_MAX} bytes", field="tags", bytes_max=TAG_BYTES_MAX)
    return read


def chunks_json(data: bytes) -> Iterator[dict[str, str]]:
    """Yield each chunk of the data in the JSON that `POST /chunk` takes."""
    root, chunks = chunked(data)
    for start, end, path in chunks:
        yield {
            "data_root": b64url_encode(root),
            "data_size": str(len(data)),
            "data_path": b64url_encode(path),
            "offset": str(end - 1),
            "chunk": b64url_encode(data[start:end]),
        }
