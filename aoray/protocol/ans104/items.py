"""Data items (ANS-104), the signed form of everything that travels: to parse, verify and build them.

    signature type u16 | signature | owner | target flag (+32) | anchor flag (+32)
    | tags u64 | tag bytes u64 | tags | data

Numbers are little-endian. The signature covers the deep hash of everything else, with the tags as the
received bytes; the id is the SHA-256 of the signature. The gateway parses and verifies what people post; the
messenger and the scheduler build items.

`parse` checks every length: it returns a DataItem whose parts fit exactly, or raises MalformedInput that
names the part. It does not verify the signature, so until `verify` the owner is a claim. A DataItem pickles
as its raw bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from aoray.errors import BadSignature, MalformedInput, TooLarge
from aoray.limits import ITEM_BYTES_MAX, PUBLIC_KEYS_CACHED_MAX
from aoray.protocol.ans104.deep_hash import blob_hash, fold, list_start
from aoray.protocol.ids import ID_BYTES, b64url_encode, id_bytes
from aoray.protocol.signatures.base import ED25519, Signer, address_of
from aoray.protocol.signatures.registry import SCHEMES, flaw, scheme_of, verifies
from aoray.protocol.tags import Tag, Tags, decode_tags, encode_tags

ENVELOPE: Final = "ans104"  # the name of this envelope (aoray.protocol.signed)
ANCHOR_BYTES = 32
_HINT = "Send the bytes of one signed data item (ANS-104)."
_EMPTY_HASH = blob_hash(b"")


@dataclass(frozen=True, slots=True)
class DataItem:
    """A parsed data item (ANS-104). Only `parse`, `build` and `rebuild` make one, so `raw` and the parts
    agree."""

    signature_type: int
    signature: bytes = field(repr=False)
    owner: bytes = field(repr=False)
    target: bytes
    anchor: bytes
    tags: Tags
    data: bytes = field(repr=False)
    raw: bytes = field(repr=False)
    id: str

    @property
    def envelope(self) -> str:
        """The name of the item's envelope."""
        return ENVELOPE

    @property
    def address(self) -> str:
        """The address of the owner (a claim until `verify`)."""
        return address_of(self.signature_type, self.owner)

    @property
    def target_id(self) -> str:
        """The target's id; '' if there is none."""
        return b64url_encode(self.target)

    @property
    def owner_key(self) -> str:
        """The owner's public key, in base64url."""
        return b64url_encode(self.owner)

    @property
    def tag_bytes(self) -> bytes:
        """The received Avro bytes of the tags, which the signature covers."""
        head = 2 + len(self.signature) + len(self.owner) + 2 + len(self.target) + len(self.anchor) + 16
        return self.raw[head : len(self.raw) - len(self.data)]

    @property
    def has_plain_tags(self) -> bool:
        """Whether the tags are one block of Avro, as wallets write them. Only then can a verifier, who gets
        the tags from a gateway as JSON, rebuild the signed bytes."""
        return encode_tags(self.tags) == self.tag_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return _parse, (self.raw,)


def parse(raw: bytes, *, bytes_max: int = ITEM_BYTES_MAX) -> DataItem:
    """Parse the bytes of an item, without verifying its signature.

    Raises `MalformedInput` that names the part at fault, or `TooLarge` beyond `bytes_max`.
    """
    if len(raw) > bytes_max:
        raise TooLarge(
            f"the item has {len(raw)} bytes; the most is {bytes_max}", field="body", bytes_max=bytes_max
        )
    return _parse(bytes(raw))


def _parse(raw: bytes) -> DataItem:
    size = len(raw)
    if size < 2:
        raise _ends_within("signature_type")
    signature_type = int.from_bytes(raw[:2], "little")
    scheme = scheme_of(signature_type)
    owner_at = 2 + scheme.signature_bytes
    target_at = owner_at + scheme.owner_bytes
    if size < target_at:
        raise _ends_within("signature" if size < owner_at else "owner")
    signature, owner = raw[2:owner_at], raw[owner_at:target_at]
    target, at = _optional(raw, target_at, "target")
    anchor, at = _optional(raw, at, "anchor")
    tags_at = at + 16
    if size < tags_at:
        raise _ends_within("tags")
    count = int.from_bytes(raw[at : at + 8], "little")
    data_at = tags_at + int.from_bytes(raw[at + 8 : tags_at], "little")
    if size < data_at:
        raise _ends_within("tags")
    tags = decode_tags(raw[tags_at:data_at])
    if len(tags) != count:
        raise MalformedInput(f"the item states {count} tags and has {len(tags)}", field="tags", hint=_HINT)
    item_id = b64url_encode(sha256(signature).digest())
    return DataItem(signature_type, signature, owner, target, anchor, tags, raw[data_at:], raw, item_id)


def _optional(raw: bytes, at: int, name: str) -> tuple[bytes, int]:
    """Return a target or an anchor, and where it ends: a flag, then 32 bytes if the flag is 1."""
    flag = raw[at : at + 1]
    if flag == b"\0":
        return b"", at + 1
    if flag not in (b"", b"\1"):
        raise MalformedInput(f"the flag before the {name} is {flag[0]}, not 0 or 1", field=name, hint=_HINT)
    if len(raw) < at + 33:
        raise _ends_within(name)
    return raw[at + 1 : at + 33], at + 33


def _ends_within(name: str) -> MalformedInput:
    return MalformedInput(f"the item ends within its {name}", field=name, hint=_HINT)


def id_of(raw: bytes) -> bytes:
    """Return the 32 bytes of the id of a raw item, which must have been parsed before."""
    size = scheme_of(int.from_bytes(raw[:2], "little")).signature_bytes
    return sha256(raw[2 : 2 + size]).digest()


def addressee(raw: bytes) -> str:
    """Return the id of the target of a raw item, or the item's own id if it has no target; '' if the first
    bytes are not those of an item.

    This takes a tenth of the time of `parse`, which still has to check the rest.
    """
    scheme = SCHEMES.get(int.from_bytes(raw[:2], "little"))
    if scheme is None:
        return ""
    at = 2 + scheme.signature_bytes + scheme.owner_bytes
    flag, target = raw[at : at + 1], raw[at + 1 : at + 1 + ID_BYTES]
    if flag == b"\1" and len(target) == ID_BYTES:
        return b64url_encode(target)
    return b64url_encode(id_of(raw)) if flag == b"\0" else ""


def verify(item: DataItem) -> None:
    """Raise `BadSignature` unless the owner signed this item."""
    message = _signing_hash(
        item.signature_type, item.owner, item.target, item.anchor, item.tag_bytes, item.data
    )
    if not verifies(item.signature_type, item.owner, message, item.signature):
        raise _bad_signature(item.signature_type, item.owner, item.signature, item.id)


def _bad_signature(kind: int, owner: bytes, signature: bytes, item_id: str) -> BadSignature:
    """Return the error: the form of the signature is not accepted, or it does not verify for this content."""
    if not (form := flaw(kind, owner, signature)):
        return BadSignature("the signature of the item does not verify", field="signature", id=item_id)
    return BadSignature(
        f"the signature of the item is not accepted: {form}",
        hint="Wallets make the accepted forms only; docs/signatures.md lists them.",
        field="signature",
        id=item_id,
        form=form,
    )


def build(
    signer: Signer, *, target: str = "", anchor: bytes = b"", tags: Sequence[Tag] = (), data: bytes = b""
) -> DataItem:
    """Build and sign an item (ANS-104). `target` is an id, or '' for none; `anchor` has 32 bytes or none.

    Raises `MalformedInput` or `TooLarge` for parts that an item can't carry.
    """
    to = id_bytes(target, field="target") if target else b""
    _check_sizes(to, anchor)
    tag_bytes = encode_tags(tags)
    kind, owner = signer.signature_type, signer.public_key
    signature = signer.sign(_signing_hash(kind, owner, to, anchor, tag_bytes, data))
    return _assemble(kind, signature, owner, to, anchor, tuple(tags), tag_bytes, data)


def build_tags(signer: Signer, tag_bytes: bytes, count: int) -> tuple[str, bytes]:
    """Return the id and the raw bytes of a signed item that has only `count` tags, which are encoded already.

    It does what `build` does in half the time, for callers that make one item for each message; nothing is
    parsed or checked.
    """
    kind, owner = signer.signature_type, signer.public_key
    signature = signer.sign(fold(_tags_start(kind, owner), (blob_hash(tag_bytes), _EMPTY_HASH)))
    head = b"%b%b%b\0\0" % (kind.to_bytes(2, "little"), signature, owner)  # neither target nor anchor
    sizes = count.to_bytes(8, "little") + len(tag_bytes).to_bytes(8, "little")
    return b64url_encode(sha256(signature).digest()), head + sizes + tag_bytes


def verifies_tags(signature: bytes, owner: bytes, tag_bytes: bytes) -> bool:
    """Return whether an Ed25519 key signed the item that has only these tags."""
    message = fold(_tags_start(ED25519, owner), (blob_hash(tag_bytes), _EMPTY_HASH))
    return verifies(ED25519, owner, message, signature)


def rebuild(
    *, signature: bytes, owner: bytes, target: bytes, anchor: bytes, tags: Sequence[Tag], data: bytes
) -> DataItem:
    """Make an item from the parts that a gateway returns (without the signature type), and verify it.

    Raises `BadSignature` if the parts do not verify with any signature type.
    """
    _check_sizes(target, anchor)
    tag_bytes = encode_tags(tags)
    for kind, scheme in SCHEMES.items():
        if (len(signature), len(owner)) == (scheme.signature_bytes, scheme.owner_bytes):
            message = _signing_hash(kind, owner, target, anchor, tag_bytes, data)
            if scheme.verify(owner, message, signature):
                return _assemble(kind, signature, owner, target, anchor, tuple(tags), tag_bytes, data)
            if scheme.flaw(owner, signature):
                raise _bad_signature(kind, owner, signature, b64url_encode(sha256(signature).digest()))
    raise BadSignature("the parts of the item do not verify together", field="signature")


def _check_sizes(target: bytes, anchor: bytes) -> None:
    if len(target) not in (0, ID_BYTES):
        raise MalformedInput(f"a target has {ID_BYTES} bytes or none", field="target")
    if len(anchor) not in (0, ANCHOR_BYTES):
        raise MalformedInput(f"an anchor has {ANCHOR_BYTES} bytes or none", field="anchor")


def _assemble(
    kind: int,
    signature: bytes,
    owner: bytes,
    target: bytes,
    anchor: bytes,
    tags: Tags,
    tag_bytes: bytes,
    data: bytes,
) -> DataItem:
    raw = b"".join(
        (
            kind.to_bytes(2, "little"),
            signature,
            owner,
            b"\1" + target if target else b"\0",
            b"\1" + anchor if anchor else b"\0",
            len(tags).to_bytes(8, "little"),
            len(tag_bytes).to_bytes(8, "little"),
            tag_bytes,
            data,
        )
    )
    item_id = b64url_encode(sha256(signature).digest())
    return DataItem(kind, signature, owner, target, anchor, tags, data, raw, item_id)


def _signing_hash(
    kind: int, owner: bytes, target: bytes, anchor: bytes, tag_bytes: bytes, data: bytes
) -> bytes:
    """Return the deep hash of `["dataitem", "1", type, owner, target, anchor, tags, data]`."""
    rest = [blob_hash(each) if each else _EMPTY_HASH for each in (target, anchor, tag_bytes, data)]
    return fold(_signing_start(kind, owner), rest)


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def _signing_start(kind: int, owner: bytes) -> bytes:
    """Return the first half of the deep hash, which is the same for all items of an owner."""
    heads = (b"dataitem", b"1", b"%d" % kind, owner)
    return fold(list_start(8), [blob_hash(each) for each in heads])


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def _tags_start(kind: int, owner: bytes) -> bytes:
    """Return the deep hash up to the tags, of items with neither target nor anchor."""
    return fold(_signing_start(kind, owner), (_EMPTY_HASH, _EMPTY_HASH))
