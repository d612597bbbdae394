"""Signature type 1, Arweave: RSA-PSS with 4096 bits."""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from aoray.errors import MalformedInput
from aoray.limits import PUBLIC_KEYS_CACHED_MAX
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import ARWEAVE, _Shown, address_of

RSA_EXPONENT = 65537
_PSS_ANY_SALT = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
RSA_BYTES = 512


def verify_arweave(owner: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether an RSA-PSS signature verifies, with a salt of any length: Node signs with the longest
    salt, browsers with 32 bytes."""
    if arweave_flaw(owner, signature):
        return False
    try:
        _rsa_key(owner).verify(signature, message, _PSS_ANY_SALT, hashes.SHA256())
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):  # ValueError: not the modulus of a key
        return False
    return True


def arweave_flaw(owner: bytes, signature: bytes) -> str:
    """Return why this form of key and signature is refused, whatever the message; '' if it is not."""
    if len(owner) != RSA_BYTES or not owner[0] & 0x80 or not owner[-1] & 1:
        return "its key is not an odd modulus of 4096 bits"
    if len(signature) != RSA_BYTES or signature >= owner:  # both big-endian, of one length
        return "its signature is not a number of 512 bytes below the modulus"
    return ""


@lru_cache(maxsize=PUBLIC_KEYS_CACHED_MAX)
def _rsa_key(modulus: bytes) -> RSAPublicKey:
    return RSAPublicNumbers(RSA_EXPONENT, int.from_bytes(modulus, "big")).public_key()


RSA_BITS = 4096
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
RSA_MEMBERS = ("n", "e", "d", "p", "q", "dp", "dq", "qi")


class RsaSigner(_Shown):
    """A signer of signature type 1: an Arweave wallet."""

    signature_type = ARWEAVE

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        numbers = key.public_key().public_numbers()
        if key.key_size != RSA_BITS or numbers.e != RSA_EXPONENT:
            raise MalformedInput(
                f"the key does not have {RSA_BITS} bits and the exponent 65537, as Arweave keys do",
                field="key",
            )
        self._key = key
        self.public_key = numbers.n.to_bytes(RSA_BITS // 8, "big")
        self.address = address_of(self.signature_type, self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the RSA-PSS signature of a message. It is salted, so each is different."""
        return self._key.sign(message, _PSS, hashes.SHA256())

    def library_key(self) -> rsa.RSAPrivateKey:
        """Return the private key as the cryptography library has it."""
        return self._key

    def to_jwk(self) -> dict[str, str]:
        """Return the private JWK (RFC 7517)."""
        private = self._key.private_numbers()
        public = private.public_numbers
        values = (
            public.n,
            public.e,
            private.d,
            private.p,
            private.q,
            private.dmp1,
            private.dmq1,
            private.iqmp,
        )
        return {"kty": "RSA"} | {name: _b64_int(v) for name, v in zip(RSA_MEMBERS, values, strict=True)}


def _b64_int(value: int) -> str:
    return b64url_encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def generate_rsa() -> RsaSigner:
    """Make a new Arweave wallet, which takes a second or more."""
    return RsaSigner(rsa.generate_private_key(RSA_EXPONENT, RSA_BITS))
