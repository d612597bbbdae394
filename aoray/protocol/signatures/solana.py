"""Signature type 4, Solana: Ed25519 over the hexadecimal text of the message."""

from __future__ import annotations

from aoray.protocol.signatures import ed25519
from aoray.protocol.signatures.base import SOLANA
from aoray.protocol.signatures.ed25519 import Ed25519Signer


def verify_solana(owner: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the key signed the hexadecimal text of this message."""
    return ed25519.verify(owner, message.hex().encode(), signature)


class SolanaSigner(Ed25519Signer):
    """A signer of signature type 4: Ed25519 over the hexadecimal text, since Solana wallets sign only
    text."""

    signature_type = SOLANA

    def sign(self, message: bytes) -> bytes:
        """Return the signature of the hexadecimal text of a message: always the same 64 bytes."""
        return super().sign(message.hex().encode())
