"""Private keys: signers for the four signature types, and their form as JWK.

The scheduler and the messenger sign with Ed25519: fast, and deterministic, so the same message made
twice is the same item. RSA (4096 bits, as ANS-104 fixes it) is what Arweave wallets are. A signer is not
pickled; ship its JWK to where it signs. A JWK (what wallets and key files hold) that is not a key of these
kinds is MalformedInput with the field `key`. Backups hold keys as PEM (PKCS #8), encrypted if that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from coincurve import PrivateKey
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aoray.errors import MalformedInput
from aoray.protocol import ed25519, signatures
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures import address_of

__all__ = [
    "Ed25519Signer",
    "EthereumSigner",
    "RsaSigner",
    "Signer",
    "SolanaSigner",
    "address_of",
    "generate_ed25519",
    "generate_rsa",
    "signer_from_jwk",
    "signer_from_pem",
    "signer_to_jwk",
    "signer_to_pem",
]

RSA_BITS = 4096
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
_RSA_MEMBERS = ("n", "e", "d", "p", "q", "dp", "dq", "qi")
_CURVE_MEMBERS = {"x", "y", "d"}  # of an RSA key the library checks that all fit together


class Signer(Protocol):
    """What signs items: a key and its signature type."""

    @property
    def signature_type(self) -> int: ...
    @property
    def public_key(self) -> bytes: ...
    @property
    def address(self) -> str: ...
    def sign(self, message: bytes) -> bytes: ...


class _Shown:
    """A `repr` that names the wallet, and nothing of its key."""

    address: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class Ed25519Signer(_Shown):
    """Signature type 2."""

    signature_type = signatures.ED25519

    def __init__(self, seed: bytes) -> None:
        self.public_key, self._secret = ed25519.key_pair(seed)
        self.address = address_of(self.signature_type, self.public_key)

    def sign(self, message: bytes) -> bytes:
        return ed25519.sign(self._secret, message)

    def library_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._secret[: ed25519.SEED_BYTES])

    def to_jwk(self) -> dict[str, str]:
        seed = self._secret[: ed25519.SEED_BYTES]
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(self.public_key), "d": b64url_encode(seed)}


class SolanaSigner(Ed25519Signer):
    """Signature type 4: Ed25519 over the hexadecimal text, as Solana wallets sign only text."""

    signature_type = signatures.SOLANA

    def sign(self, message: bytes) -> bytes:
        return super().sign(message.hex().encode())


class EthereumSigner(_Shown):
    """Signature type 3."""

    signature_type = signatures.ETHEREUM

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.public_key = self._key.public_key.format(compressed=False)
        self.address = address_of(self.signature_type, self.public_key)

    def sign(self, message: bytes) -> bytes:
        return signatures.ethereum_sign(self._key, message)

    def library_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(self._key.secret, "big"), ec.SECP256K1())

    def to_jwk(self) -> dict[str, str]:
        x, y = self.public_key[1:33], self.public_key[33:]
        members = {"x": x, "y": y, "d": self._key.secret}
        return {"kty": "EC", "crv": "secp256k1"} | {name: b64url_encode(v) for name, v in members.items()}


class RsaSigner(_Shown):
    """Signature type 1: an Arweave wallet."""

    signature_type = signatures.ARWEAVE

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        numbers = key.public_key().public_numbers()
        if key.key_size != RSA_BITS or numbers.e != signatures.RSA_EXPONENT:
            raise MalformedInput(f"An Arweave key has {RSA_BITS} bits and the exponent 65537.", field="key")
        self._key = key
        self.public_key = numbers.n.to_bytes(RSA_BITS // 8, "big")
        self.address = address_of(self.signature_type, self.public_key)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, _PSS, hashes.SHA256())

    def library_key(self) -> rsa.RSAPrivateKey:
        return self._key

    def to_jwk(self) -> dict[str, str]:
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
        return {"kty": "RSA"} | {name: _b64_int(v) for name, v in zip(_RSA_MEMBERS, values, strict=True)}


def _b64_int(value: int) -> str:
    return b64url_encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def generate_ed25519() -> Ed25519Signer:
    """A new key for signature type 2."""
    return Ed25519Signer(ed25519.new_seed())


def generate_rsa() -> RsaSigner:
    """A new Arweave wallet; takes a second or more."""
    return RsaSigner(rsa.generate_private_key(signatures.RSA_EXPONENT, RSA_BITS))


def signer_to_jwk(signer: Ed25519Signer | RsaSigner | EthereumSigner) -> dict[str, str]:
    """The private JWK of a signer; a Solana signer's reads back as Ed25519: it is the same key."""
    return signer.to_jwk()


def signer_from_jwk(jwk: Mapping[str, Any]) -> Ed25519Signer | RsaSigner | EthereumSigner:
    """The signer of a private JWK: RSA, OKP (Ed25519) or EC (secp256k1)."""
    try:
        signer = _signer_of(jwk)
    except ValueError as error:
        raise MalformedInput(f"The JWK is not a private key: {error}", field="key") from error
    again = signer.to_jwk()
    if any(jwk.get(name, again[name]) != again[name] for name in again.keys() & _CURVE_MEMBERS):
        raise MalformedInput("The JWK's public key is not that of its private key.", field="key.x")
    return signer


def _signer_of(jwk: Mapping[str, Any]) -> Ed25519Signer | RsaSigner | EthereumSigner:
    kind = (jwk.get("kty"), jwk.get("crv"))
    if kind[0] == "RSA":
        return RsaSigner(_rsa_key(jwk))
    if kind == ("OKP", "Ed25519"):
        return Ed25519Signer(_member(jwk, "d"))
    if kind == ("EC", "secp256k1"):
        return EthereumSigner(_member(jwk, "d"))
    raise MalformedInput("The JWK is none of RSA, OKP Ed25519, EC secp256k1.", field="key")


def _rsa_key(jwk: Mapping[str, Any]) -> rsa.RSAPrivateKey:
    n, e, d, p, q, dp, dq, qi = (int.from_bytes(_member(jwk, name), "big") for name in _RSA_MEMBERS)
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()


def _member(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise MalformedInput(f"The JWK has no member `{name}`.", field=f"key.{name}")
    return b64url_decode(value, field=f"key.{name}")


def signer_to_pem(signer: Ed25519Signer | RsaSigner | EthereumSigner, passphrase: bytes = b"") -> str:
    """The private key as PEM (PKCS #8), encrypted if there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return signer.library_key().private_bytes(*form, encryption).decode()


def signer_from_pem(pem: str, passphrase: bytes = b"") -> Ed25519Signer | RsaSigner | EthereumSigner:
    """The signer of such a PEM; MalformedInput also if the passphrase is wrong, or missing."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedInput(f"The PEM can't be read: {error}", field="key") from None
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519Signer(key.private_bytes_raw())
    if isinstance(key, rsa.RSAPrivateKey):
        return RsaSigner(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256K1):
        return EthereumSigner(key.private_numbers().private_value.to_bytes(32, "big"))
    raise MalformedInput("The PEM is none of RSA, Ed25519, secp256k1.", field="key")
