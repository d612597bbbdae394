"""Ed25519 (RFC 8032): what verifies is what OpenSSL says, at libsodium's speed (45 µs instead of 72).

Which signatures are accepted is part of the protocol: a log that one computer takes must be true for
everyone who judges it later. So the set is OpenSSL's, as of the first day. libsodium is asked first, and what
it refuses is asked of OpenSSL again; that gives OpenSSL's set if libsodium accepts nothing that OpenSSL
refuses. It does not: both refuse S >= L, both decode A and compute the bytes of S*B - h*A (cofactorless) with
h over the bytes of R, A and the message as they came, and accept if these are the bytes of R. libsodium only
refuses more: points of small order, and an A that is not written canonically.

Later versions of libsodium may multiply by the cofactor, and so accept more (its development branch does).
So on import one such signature is shown to it; if it is accepted, OpenSSL alone is asked.

A forged signature costs both: 117 µs. Both signers make the same bytes, as the RFC has no choice in it. The
calls leave Python's lock (GIL) to other threads.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign, crypto_sign_keypair, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from aoray.limits import PUBLIC_KEYS_CACHED_MAX

PUBLIC_BYTES, SEED_BYTES, SIGNATURE_BYTES = 32, 32, 64
# Of an empty message, by a key with a part of order 8: R + h*A = S*B holds times 8 only
COFACTORED = (
    bytes.fromhex("bf0897a61d855442ee8ea10d40d5e4295cf6a0f9a153daecf3f162db13f2950a"),
    bytes.fromhex(
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "0234fc66be96fbcebcd446ef54d22ad0e73f6e7579730ffbbbe304df47370606"
    ),
)


def new_seed() -> bytes:
    """Of a new key, 32 bytes."""
    return crypto_sign_keypair()[1][:SEED_BYTES]


def key_pair(seed: bytes) -> tuple[bytes, bytes]:
    """Public key, and the secret that `sign` takes (seed and public key); ValueError if not 32 bytes."""
    return crypto_sign_seed_keypair(seed)


def sign(secret: bytes, message: bytes) -> bytes:
    """The signature, always the same 64 bytes."""
    return crypto_sign(message, secret)[:SIGNATURE_BYTES]


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether OpenSSL accepts this signature."""
    return (_LIKE_OPENSSL and _sodium_verifies(public, message, signature)) or _openssl_verifies(
        public, message, signature
    )


def _sodium_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:  # the library reads without looking
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def _openssl_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        _openssl_key(public).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: not the size of a key
        return False
    return True


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def _openssl_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


_LIKE_OPENSSL = not _sodium_verifies(COFACTORED[0], b"", COFACTORED[1])
