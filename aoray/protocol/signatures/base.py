"""The common part of the signature types: their numbers, addresses, and the interface of a signer."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Protocol

from Crypto.Hash import keccak

from aoray.limits import PUBLIC_KEYS_CACHED_MAX
from aoray.protocol.ids import b64url_encode

ARWEAVE, ED25519, ETHEREUM, SOLANA = 1, 2, 3, 4


class Scheme(NamedTuple):
    """A signature type: the sizes of its signatures and public keys, and how it verifies."""

    signature_bytes: int
    owner_bytes: int
    verify: Callable[[bytes, bytes, bytes], bool]  # (owner, message, signature)
    flaw: Callable[[bytes, bytes], str]  # (owner, signature) -> why they are refused whatever the message


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def address_of(signature_type: int, owner: bytes) -> str:
    """Return the address of a public key: its SHA-256 in base64url, except for Ethereum, which has its own
    form (EIP-55)."""
    if signature_type == ETHEREUM:
        return _ethereum_address(owner)
    return b64url_encode(sha256(owner).digest())


def _ethereum_address(owner: bytes) -> str:
    address = keccak256(owner[1:])[-20:].hex()  # without the byte that marks an uncompressed point
    check = keccak256(address.encode()).hex()
    return "0x" + "".join(c.upper() if digit > "7" else c for c, digit in zip(address, check, strict=False))


def keccak256(data: bytes) -> bytes:
    """Return Keccak-256, the hash that Ethereum uses (SHA-3 before it was standardized)."""
    digest: bytes = keccak.new(digest_bits=256, data=data).digest()
    return digest


class Signer(Protocol):
    """A private key that signs items, with its signature type."""

    @property
    def signature_type(self) -> int:
        """The number of the signature type."""

    @property
    def public_key(self) -> bytes:
        """The public key, which is the owner of the items that it signs."""

    @property
    def address(self) -> str:
        """The address of the public key."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""


class _Shown:
    """A base class whose `repr` shows the address, and nothing of the private key."""

    address: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"
