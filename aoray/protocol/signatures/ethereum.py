"""Signature type 3, Ethereum: secp256k1 over a personal message (EIP-191)."""

from __future__ import annotations

from coincurve import PrivateKey, PublicKey
from cryptography.hazmat.primitives.asymmetric import ec

from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import ETHEREUM, _Shown, address_of, keccak256

POINT_BYTES = RECOVERABLE_BYTES = 65
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_S_MAX = (_SECP256K1_ORDER // 2).to_bytes(32, "big")
_ETHEREUM_V = 27  # what wallets add to the recovery id


def ethereum_digest(message: bytes) -> bytes:
    """Return the hash that an Ethereum wallet signs for a personal message (EIP-191)."""
    return keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)


def ethereum_sign(key: PrivateKey, message: bytes) -> bytes:
    """Sign a message as an Ethereum wallet does, deterministically (RFC 6979). The signature is r, s, v."""
    signature = key.sign_recoverable(ethereum_digest(message), hasher=None)
    return signature[:64] + bytes([signature[64] + _ETHEREUM_V])


def verify_ethereum(owner: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the key that the signature gives is the owner. Only the lower s, and the v that wallets
    write, are accepted."""
    if ethereum_flaw(owner, signature):
        return False
    recoverable = signature[:64] + bytes([signature[64] - _ETHEREUM_V])
    try:
        key = PublicKey.from_signature_and_message(recoverable, ethereum_digest(message), hasher=None)
    except ValueError:
        return False
    return key.format(compressed=False) == owner


def ethereum_flaw(owner: bytes, signature: bytes) -> str:
    """Return why this form of key and signature is refused, whatever the message; '' if it is not."""
    if len(owner) != POINT_BYTES or owner[0] != 4:
        return "its key is not an uncompressed point of 65 bytes"
    if len(signature) != RECOVERABLE_BYTES or signature[64] - _ETHEREUM_V not in (0, 1):
        return "its v is not 27 or 28"
    return "its s is the higher of the two that verify" if signature[32:64] > _S_MAX else ""


class EthereumSigner(_Shown):
    """A signer of signature type 3, Ethereum."""

    signature_type = ETHEREUM

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.public_key = self._key.public_key.format(compressed=False)
        self.address = address_of(self.signature_type, self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message: always the same 65 bytes."""
        return ethereum_sign(self._key, message)

    def library_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the private key as the cryptography library has it."""
        return ec.derive_private_key(int.from_bytes(self._key.secret, "big"), ec.SECP256K1())

    def to_jwk(self) -> dict[str, str]:
        """Return the private JWK (RFC 8812)."""
        x, y = self.public_key[1:33], self.public_key[33:]
        members = {"x": x, "y": y, "d": self._key.secret}
        return {"kty": "EC", "crv": "secp256k1"} | {name: b64url_encode(v) for name, v in members.items()}
