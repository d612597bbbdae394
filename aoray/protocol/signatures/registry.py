"""The registry of the four signature types of data items: sizes, addresses, verification.

1 Arweave (RSA-4096, PSS), 2 Ed25519 (ed25519.py), 3 Ethereum (secp256k1 over a personal message), 4 Solana
(Ed25519 over hex text). The id of an item is the hash of its signature. Therefore two rules hold for each
type, and docs/signatures.md has the table of forms that follows from them:

- One id has one content: no signature verifies for two contents. The signed bytes cover the owner and the
  type, so only one key can be meant. Forms of a key or a signature with which one signature is valid for
  several messages are refused (`flaw` returns the reason).
- Only the signer can give one content a second id: where anybody could derive a second valid signature from a
  first (secp256k1: the other s, other spellings of v; Ed25519: S + L), only the form that wallets make is
  accepted. The holder of the key may sign again, and with RSA-PSS each signature is different.

Loaded public keys and addresses are cached within bounds of `limits.py`, since the same wallets and units
sign again and again.
"""

from __future__ import annotations

from collections.abc import Mapping

from aoray.errors import MalformedInput
from aoray.protocol.signatures import ed25519
from aoray.protocol.signatures.arweave import RSA_BYTES, arweave_flaw, verify_arweave
from aoray.protocol.signatures.base import ARWEAVE, ED25519, ETHEREUM, SOLANA, Scheme
from aoray.protocol.signatures.ethereum import POINT_BYTES, RECOVERABLE_BYTES, ethereum_flaw, verify_ethereum
from aoray.protocol.signatures.solana import verify_solana


def scheme_of(signature_type: int) -> Scheme:
    """Return the scheme of a signature type. Raises `MalformedInput` for an unknown type."""
    scheme = SCHEMES.get(signature_type)
    if scheme is None:
        raise MalformedInput(
            f"signature type {signature_type} is not known",
            field="signature_type",
            hint="Is this a data item (ANS-104)? The types are listed in docs/signatures.md.",
        )
    return scheme


def verifies(signature_type: int, owner: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the key of `owner` signed `message`, in an accepted form; parts of other sizes give
    False."""
    return scheme_of(signature_type).verify(owner, message, signature)


def flaw(signature_type: int, owner: bytes, signature: bytes) -> str:
    """Return why this form of key and signature is never accepted; '' if the form is right."""
    return scheme_of(signature_type).flaw(owner, signature)


SCHEMES: Mapping[int, Scheme] = {
    ARWEAVE: Scheme(RSA_BYTES, RSA_BYTES, verify_arweave, arweave_flaw),
    ED25519: Scheme(64, 32, ed25519.verify, ed25519.flaw),
    ETHEREUM: Scheme(RECOVERABLE_BYTES, POINT_BYTES, verify_ethereum, ethereum_flaw),
    SOLANA: Scheme(64, 32, verify_solana, ed25519.flaw),
}
