"""Ed25519 (RFC 8032), strictly: a signature that this module accepts is valid for one message only.

The equation of the RFC alone does not guarantee this. If the public key A is a point of small order, the term
h*A vanishes for every eighth message or for all, so one signature is valid for any content; and the id of an
item is the hash of its signature. Therefore, besides the equation (without cofactor: the bytes of S*B - h*A
are those of R), the forms that libsodium checks are checked:

- A is written canonically (y < p), and is not of small order;
- R is written canonically, and is not of small order;
- S is below the order L of the group (otherwise S + L would be a second signature of the same message).

libsodium verifies in 45 µs. At import it is given signatures that must be refused. If it accepts one (because
it was built with `ED25519_COMPAT`, or a later version multiplies by the cofactor), `flaw` and OpenSSL verify
instead, in 75 µs. `flaw` also gives the text that says which form is wrong.

Keys with a part of small order besides a part of large order are accepted, as in libsodium: h is below L, so
h*A is another point for each h, and no signature is valid for two messages.

Both libraries sign with the same bytes, since the RFC leaves no choice. Their calls release Python's lock
(GIL).
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.bindings import crypto_sign, crypto_sign_keypair, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from aoray.limits import PUBLIC_KEYS_CACHED_MAX
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import ED25519, _Shown, address_of

PUBLIC_BYTES, SEED_BYTES, SIGNATURE_BYTES = 32, 32, 64
_FIELD = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y of the 8 points whose order divides 8; points that differ only in the sign of x have the same y
_SMALL_ORDER_Y = frozenset((0, 1, _FIELD - 1, _ORDER_8_Y, _FIELD - _ORDER_8_Y))
# The y of the 8 points whose order divides 8; points that differ only in the sign of x have one y
_COFACTORED = (
    bytes.fromhex("bf0897a61d855442ee8ea10d40d5e4295cf6a0f9a153daecf3f162db13f2950a"),
    bytes.fromhex(
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "0234fc66be96fbcebcd446ef54d22ad0e73f6e7579730ffbbbe304df47370606"
    ),
)
_NEUTRAL, _ZERO = (1).to_bytes(32, "little"), bytes(32)
_MUST_BE_REFUSED = (
    _COFACTORED,
    (_NEUTRAL, _NEUTRAL + _ZERO),  # 0*B - h*A = R, all three the neutral point, for every h
    (
        _NEUTRAL[:31] + b"\x80",
        _NEUTRAL + _ZERO,
    ),  # the same key, with a sign that the neutral point does not have
    ((_FIELD + 1).to_bytes(32, "little"), _NEUTRAL + _ZERO),  # the same key, not reduced
)


def new_seed() -> bytes:
    """Make the seed (32 bytes) of a new key."""
    return crypto_sign_keypair()[1][:SEED_BYTES]


def key_pair(seed: bytes) -> tuple[bytes, bytes]:
    """Return the public key of a seed, and the secret that `sign` takes. Raises `ValueError` if the seed does
    not have 32 bytes."""
    return crypto_sign_seed_keypair(seed)


def sign(secret: bytes, message: bytes) -> bytes:
    """Sign a message; the same secret and message always give the same 64 bytes."""
    return crypto_sign(message, secret)[:SIGNATURE_BYTES]


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the key signed this message, in the one form that is accepted."""
    if _SODIUM_IS_STRICT:
        return _sodium_verifies(public, message, signature)
    return not flaw(public, signature) and _openssl_verifies(public, message, signature)


def flaw(public: bytes, signature: bytes) -> str:
    """Return why this form of key and signature is refused, whatever the message; '' if it is not."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return "its key has not 32 bytes, or its signature not 64"
    for what, point in (("key", public), ("point R", signature[:32])):
        y = int.from_bytes(point, "little") & ~(1 << 255)
        if y >= _FIELD:
            return f"its {what} is not written canonically"
        if y in _SMALL_ORDER_Y:
            return f"its {what} is of small order, with which one signature fits many contents"
    return "its S is not reduced" if int.from_bytes(signature[32:], "little") >= _ORDER else ""


def _sodium_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:  # the library does not check sizes
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def _openssl_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the equation holds and S is reduced. OpenSSL accepts points of small order."""
    try:
        _openssl_key(public).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: not the size of a key
        return False
    return True


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def _openssl_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def _sodium_is_strict() -> bool:
    return not any(_sodium_verifies(public, b"", signature) for public, signature in _MUST_BE_REFUSED)


_SODIUM_IS_STRICT = _sodium_is_strict()


class Ed25519Signer(_Shown):
    """A signer of signature type 2, Ed25519."""

    signature_type = ED25519

    def __init__(self, seed: bytes) -> None:
        self.public_key, self._secret = key_pair(seed)
        self.address = address_of(self.signature_type, self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message: always the same 64 bytes."""
        return sign(self._secret, message)

    def library_key(self) -> Ed25519PrivateKey:
        """Return the private key as the cryptography library has it."""
        return Ed25519PrivateKey.from_private_bytes(self._secret[:SEED_BYTES])

    def to_jwk(self) -> dict[str, str]:
        """Return the private JWK (RFC 8037)."""
        seed = self._secret[:SEED_BYTES]
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(self.public_key), "d": b64url_encode(seed)}


def generate_ed25519() -> Ed25519Signer:
    """Make a new key for signature type 2."""
    return Ed25519Signer(new_seed())
