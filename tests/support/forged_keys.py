"""A key that everybody holds, for tests of what is refused."""

from __future__ import annotations

from hashlib import sha512

from aoray.protocol.signatures import ed25519
from aoray.protocol.signatures.base import ED25519, address_of

ORDER = 2**252 + 27742317777372353535851937790883648493


class Nobody:
    """The neutral point as a key: by the RFC's equation alone, R = [s]B, S = s is its signature of all.

    So all the items that one of these signs have one id.
    """

    signature_type = ED25519
    public_key = (1).to_bytes(32, "little")

    def __init__(self, seed: bytes = bytes(32), signature_type: int = ED25519) -> None:
        self.signature_type = signature_type
        self.address = address_of(ED25519, self.public_key)
        scalar = bytearray(sha512(seed).digest()[:32])
        scalar[0] &= 248
        scalar[31] = scalar[31] & 127 | 64
        s = int.from_bytes(scalar, "little") % ORDER
        self._signature = ed25519.key_pair(seed)[0] + s.to_bytes(32, "little")

    def sign(self, message: bytes) -> bytes:
        return self._signature
