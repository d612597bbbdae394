"""The four signature types of data items, as anyone sees them: sizes, addresses, verification.

1 Arweave (RSA-4096, PSS), 2 Ed25519 (ed25519.py), 3 Ethereum (secp256k1 over a personal message), 4 Solana
(Ed25519 over hex text). An item's id is the hash of its signature, so a second valid signature that anyone
could derive from a first would be a second id for the same message. Where a scheme has such twins (secp256k1:
the other s, other spellings of v), only the one that wallets make is accepted.

Loaded public keys and addresses are cached, bounded by `limits.py`: the same wallets and units sign
again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from coincurve import PrivateKey, PublicKey
from Crypto.Hash import keccak
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from aoray.errors import MalformedInput
from aoray.limits import PUBLIC_KEYS_CACHED_MAX
from aoray.protocol import ed25519
from aoray.protocol.ids import b64url_encode

ARWEAVE, ED25519, ETHEREUM, SOLANA = 1, 2, 3, 4

RSA_EXPONENT = 65537
_PSS_ANY_SALT = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ETHEREUM_V = 27  # what wallets add to the recovery id


class Scheme(NamedTuple):
    """A signature type: how long its signatures and owners are, and how it verifies."""

    signature_bytes: int
    owner_bytes: int
    verify: Callable[[bytes, bytes, bytes], bool]  # (owner, message, signature)


def scheme_of(signature_type: int) -> Scheme:
    """The scheme of a signature type; MalformedInput for one that is not known."""
    scheme = SCHEMES.get(signature_type)
    if scheme is None:
        raise MalformedInput(f"Signature type {signature_type} is not known.", field="signature_type")
    return scheme


def verifies(signature_type: int, owner: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `owner`'s key signed `message`; the sizes are those of the scheme, checked before."""
    return scheme_of(signature_type).verify(owner, message, signature)


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def address_of(signature_type: int, owner: bytes) -> str:
    """The address of a public key: SHA-256 as base64url; for Ethereum its own, as EIP-55 writes it."""
    if signature_type == ETHEREUM:
        return _ethereum_address(owner)
    return b64url_encode(sha256(owner).digest())


def _ethereum_address(owner: bytes) -> str:
    address = keccak256(owner[1:])[-20:].hex()  # without the byte that says "uncompressed"
    check = keccak256(address.encode()).hex()
    return "0x" + "".join(c.upper() if digit > "7" else c for c, digit in zip(address, check, strict=False))


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash (the one before SHA-3 was settled)."""
    digest: bytes = keccak.new(digest_bits=256, data=data).digest()
    return digest


def ethereum_digest(message: bytes) -> bytes:
    """What an Ethereum wallet signs for a "personal message"."""
    return keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)


def ethereum_sign(key: PrivateKey, message: bytes) -> bytes:
    """The signature of an Ethereum wallet: r, s, v; deterministic (RFC 6979)."""
    signature = key.sign_recoverable(ethereum_digest(message), hasher=None)
    return signature[:64] + bytes([signature[64] + _ETHEREUM_V])


def _verify_arweave(owner: bytes, message: bytes, signature: bytes) -> bool:
    """RSA-PSS with a salt of any length: node signs with the longest, browsers with 32 bytes."""
    try:
        _rsa_key(owner).verify(signature, message, _PSS_ANY_SALT, hashes.SHA256())
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):  # ValueError: not the modulus of a key
        return False
    return True


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def _rsa_key(modulus: bytes) -> RSAPublicKey:
    return RSAPublicNumbers(RSA_EXPONENT, int.from_bytes(modulus, "big")).public_key()


def _verify_ethereum(owner: bytes, message: bytes, signature: bytes) -> bool:
    """The key recovered from the signature is the owner; only the lower s, and v as wallets write it."""
    recovery_id = signature[64] - _ETHEREUM_V
    if recovery_id not in (0, 1) or int.from_bytes(signature[32:64], "big") > _SECP256K1_ORDER // 2:
        return False
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([recovery_id]), ethereum_digest(message), hasher=None
        )
    except ValueError:
        return False
    return key.format(compressed=False) == owner


def _verify_solana(owner: bytes, message: bytes, signature: bytes) -> bool:
    return ed25519.verify(owner, message.hex().encode(), signature)


SCHEMES: Mapping[int, Scheme] = {
    ARWEAVE: Scheme(512, 512, _verify_arweave),
    ED25519: Scheme(64, 32, ed25519.verify),
    ETHEREUM: Scheme(65, 65, _verify_ethereum),
    SOLANA: Scheme(64, 32, _verify_solana),
}
