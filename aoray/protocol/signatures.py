"""The four signature types of data items, as anyone sees them: sizes, addresses, verification.

1 Arweave (RSA-4096, PSS), 2 Ed25519 (ed25519.py), 3 Ethereum (secp256k1 over a personal message), 4 Solana
(Ed25519 over hex text). An item's id is the hash of its signature, so two things are held for each type, and
docs/signatures.md has the table of forms that follows from them:

- One id, one content: no signature verifies for two contents. What is signed covers the owner and the type,
  so only one key can be meant; forms of a key or a signature with which one signature fits several messages
  are refused (`flaw` says why, in words).
- One content, one id for whoever did not sign it: where anyone could derive a second valid signature from a
  first (secp256k1: the other s, other spellings of v; Ed25519: S + L), only the one that wallets make is
  accepted. Who holds the key may sign again; for RSA-PSS each signature is another.

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
_RSA_BYTES = 512
_POINT_BYTES = _RECOVERABLE_BYTES = 65
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_S_MAX = (_SECP256K1_ORDER // 2).to_bytes(32, "big")
_ETHEREUM_V = 27  # what wallets add to the recovery id


class Scheme(NamedTuple):
    """A signature type: how long its signatures and owners are, and how it verifies."""

    signature_bytes: int
    owner_bytes: int
    verify: Callable[[bytes, bytes, bytes], bool]  # (owner, message, signature)
    flaw: Callable[[bytes, bytes], str]  # (owner, signature): why they are refused whatever the message


def scheme_of(signature_type: int) -> Scheme:
    """The scheme of a signature type; MalformedInput for one that is not known."""
    scheme = SCHEMES.get(signature_type)
    if scheme is None:
        raise MalformedInput(f"Signature type {signature_type} is not known.", field="signature_type")
    return scheme


def verifies(signature_type: int, owner: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `owner`'s key signed `message`, in a form that is accepted; parts of other sizes did not."""
    return scheme_of(signature_type).verify(owner, message, signature)


def flaw(signature_type: int, owner: bytes, signature: bytes) -> str:
    """Why a key or a signature of this form is never accepted, in words; "" if its form is right."""
    return scheme_of(signature_type).flaw(owner, signature)


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
    if _arweave_flaw(owner, signature):
        return False
    try:
        _rsa_key(owner).verify(signature, message, _PSS_ANY_SALT, hashes.SHA256())
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):  # ValueError: not the modulus of a key
        return False
    return True


def _arweave_flaw(owner: bytes, signature: bytes) -> str:
    if len(owner) != _RSA_BYTES or not owner[0] & 0x80 or not owner[-1] & 1:
        return "its key is not an odd modulus of 4096 bits"
    if len(signature) != _RSA_BYTES or signature >= owner:  # both big-endian, of one length
        return "its signature is not a number of 512 bytes below the modulus"
    return ""


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def _rsa_key(modulus: bytes) -> RSAPublicKey:
    return RSAPublicNumbers(RSA_EXPONENT, int.from_bytes(modulus, "big")).public_key()


def _verify_ethereum(owner: bytes, message: bytes, signature: bytes) -> bool:
    """The key recovered from the signature is the owner; only the lower s, and v as wallets write it."""
    if _ethereum_flaw(owner, signature):
        return False
    recoverable = signature[:64] + bytes([signature[64] - _ETHEREUM_V])
    try:
        key = PublicKey.from_signature_and_message(recoverable, ethereum_digest(message), hasher=None)
    except ValueError:
        return False
    return key.format(compressed=False) == owner


def _ethereum_flaw(owner: bytes, signature: bytes) -> str:
    if len(owner) != _POINT_BYTES or owner[0] != 4:
        return "its key is not an uncompressed point of 65 bytes"
    if len(signature) != _RECOVERABLE_BYTES or signature[64] - _ETHEREUM_V not in (0, 1):
        return "its v is not 27 or 28"
    return "its s is the higher of the two that verify" if signature[32:64] > _S_MAX else ""


def _verify_solana(owner: bytes, message: bytes, signature: bytes) -> bool:
    return ed25519.verify(owner, message.hex().encode(), signature)


SCHEMES: Mapping[int, Scheme] = {
    ARWEAVE: Scheme(_RSA_BYTES, _RSA_BYTES, _verify_arweave, _arweave_flaw),
    ED25519: Scheme(64, 32, ed25519.verify, ed25519.flaw),
    ETHEREUM: Scheme(_RECOVERABLE_BYTES, _POINT_BYTES, _verify_ethereum, _ethereum_flaw),
    SOLANA: Scheme(64, 32, _verify_solana, ed25519.flaw),
}
