"""Wallets for the client: a signer from a key file, a JWK, or a new key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.signatures.jwk import signer_from_jwk
from aoray.storage.key_files import KeySigner, load, load_or_make

DEFAULT = "~/.aoray/wallet.json"
Wallet = str | os.PathLike[str] | Mapping[str, Any] | Signer
"""The path of a key file, a private JWK (RSA, Ed25519 or secp256k1), or a signer."""


def new_wallet(kind: Literal["ed25519", "arweave"] = "ed25519") -> KeySigner:
    """Make a new key (Ed25519) that is stored nowhere. With "arweave" it is an RSA key, which takes a second
    to make and 8 ms for each signature."""
    return generate_rsa() if kind == "arweave" else generate_ed25519()


def wallet_of(wallet: Wallet | None) -> Signer:
    """Return the signer for a `wallet` argument. None means the wallet of the command line: the file
    `AORAY_WALLET`, or `~/.aoray/wallet.json`, made on first use. A file that is named in the argument must
    exist."""
    if wallet is None:
        return load_or_make(Path(os.environ.get("AORAY_WALLET", DEFAULT)).expanduser())
    if isinstance(wallet, str | os.PathLike):
        return load(Path(wallet).expanduser())
    return signer_from_jwk(wallet) if isinstance(wallet, Mapping) else wallet
