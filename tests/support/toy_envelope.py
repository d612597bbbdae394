"""An envelope for tests: JSON that an Ed25519 key signed. It is registered by one line:

ENVELOPES["toy"] = toy_envelope.TOY
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256

from aoray.errors import BadSignature, MalformedInput, TooLarge
from aoray.limits import ITEM_BYTES_MAX
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures.base import ED25519, Signer, address_of
from aoray.protocol.signatures.registry import verifies
from aoray.protocol.signed import Envelope
from aoray.protocol.tags import Tag, Tags


@dataclass(frozen=True)
class ToyMessage:
    raw: bytes
    signed: bytes  # the part of `raw` that the signature covers
    signature: bytes
    owner: bytes
    target_id: str
    tags: Tags
    data: bytes
    envelope: str = "toy"
    anchor: bytes = b""
    has_plain_tags: bool = True

    @property
    def id(self) -> str:
        return b64url_encode(sha256(self.signature).digest())

    @property
    def owner_key(self) -> str:
        return b64url_encode(self.owner)

    @property
    def address(self) -> str:
        return address_of(ED25519, self.owner)

    @property
    def target(self) -> bytes:
        return b64url_decode(self.target_id)


def build(signer: Signer, target: str, tags: Tags, data: bytes = b"") -> ToyMessage:
    content = [b64url_encode(signer.public_key), target, tags, b64url_encode(data)]
    signed = json.dumps(content).encode()
    return parse(json.dumps([signed.decode(), b64url_encode(signer.sign(signed))]).encode())


def parse(raw: bytes, *, bytes_max: int = ITEM_BYTES_MAX) -> ToyMessage:
    if len(raw) > bytes_max:
        raise TooLarge("the toy is too large")
    try:
        signed, signature = json.loads(raw)
        owner, target, tags, data = json.loads(signed)
    except ValueError as error:
        raise MalformedInput("this is not a toy", field="body") from error
    named = tuple(Tag(*tag) for tag in tags)
    parts = (b64url_decode(each) for each in (signature, owner))
    return ToyMessage(raw, signed.encode(), *parts, target, named, b64url_decode(data))


def verify(message: ToyMessage) -> None:
    if not verifies(ED25519, message.owner, message.signed, message.signature):
        raise BadSignature("the toy's signature does not verify", id=message.id)


TOY = Envelope(parse, verify)
