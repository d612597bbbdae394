"""Private keys in the form of JWK and PEM: to make signers from them, and the reverse.

The scheduler and the messenger sign with Ed25519, which is fast and deterministic, so the same message made
twice is the same item. Arweave wallets are RSA keys (4096 bits, as ANS-104 requires). A signer can't be
pickled; its JWK is sent to where it signs. A JWK (the content of wallets and key files) that is not a key of
a supported type raises MalformedInput with the field `key`. Backups hold keys as PEM (PKCS #8), optionally
encrypted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aoray.errors import MalformedInput
from aoray.protocol.ids import b64url_decode
from aoray.protocol.signatures.arweave import RSA_MEMBERS, RsaSigner
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.signatures.ethereum import EthereumSigner

_JWK_HINT = "Supported are RSA, OKP with the curve Ed25519, and EC with the curve secp256k1."
_PEM_HINT = "Supported are RSA, Ed25519 and secp256k1."
_CURVE_MEMBERS = {"x", "y", "d"}  # for RSA keys the library checks that the members agree


def signer_to_jwk(signer: Ed25519Signer | RsaSigner | EthereumSigner) -> dict[str, str]:
    """Return the private JWK (RFC 7517) of a signer. That of a Solana signer is read back as Ed25519, since
    the key is the same."""
    return signer.to_jwk()


def signer_from_jwk(jwk: Mapping[str, Any]) -> Ed25519Signer | RsaSigner | EthereumSigner:
    """Return the signer for a private JWK: RSA, OKP (Ed25519) or EC (secp256k1). Raises `MalformedInput` for
    any other."""
    try:
        signer = _signer_of(jwk)
    except ValueError as error:
        raise MalformedInput(f"the JWK is not a private key: {error}", field="key") from error
    again = signer.to_jwk()
    if any(jwk.get(name, again[name]) != again[name] for name in again.keys() & _CURVE_MEMBERS):
        raise MalformedInput("the public key of the JWK is not that of its private key", field="key.x")
    return signer


def _signer_of(jwk: Mapping[str, Any]) -> Ed25519Signer | RsaSigner | EthereumSigner:
    kind = (jwk.get("kty"), jwk.get("crv"))
    if kind[0] == "RSA":
        return RsaSigner(_rsa_key(jwk))
    if kind == ("OKP", "Ed25519"):
        return Ed25519Signer(_member(jwk, "d"))
    if kind == ("EC", "secp256k1"):
        return EthereumSigner(_member(jwk, "d"))
    raise MalformedInput("the JWK has a type that is not supported", field="key.kty", hint=_JWK_HINT)


def _rsa_key(jwk: Mapping[str, Any]) -> rsa.RSAPrivateKey:
    n, e, d, p, q, dp, dq, qi = (int.from_bytes(_member(jwk, name), "big") for name in RSA_MEMBERS)
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()


def _member(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise MalformedInput(f"the JWK has no member {name!r}", field=f"key.{name}")
    return b64url_decode(value, field=f"key.{name}")


def signer_to_pem(signer: Ed25519Signer | RsaSigner | EthereumSigner, passphrase: bytes = b"") -> str:
    """Return the private key as PEM (PKCS #8), encrypted if there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return signer.library_key().private_bytes(*form, encryption).decode()


def signer_from_pem(pem: str, passphrase: bytes = b"") -> Ed25519Signer | RsaSigner | EthereumSigner:
    """Return the signer for a private key in PEM (PKCS #8). Raises `MalformedInput`, also if the passphrase
    is wrong or missing."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedInput(f"the PEM can't be read: {error}", field="key") from None
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519Signer(key.private_bytes_raw())
    if isinstance(key, rsa.RSAPrivateKey):
        return RsaSigner(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256K1):
        return EthereumSigner(key.private_numbers().private_value.to_bytes(32, "big"))
    raise MalformedInput("the PEM has a key that is not supported", field="key", hint=_PEM_HINT)
