"""Who speaks: a wallet from wherever it is: a key file, a JWK, a signer, or a new key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from aoray.keyfiles import KeySigner, load, load_or_make
from aoray.protocol.keys import Signer, generate_ed25519, generate_rsa, signer_from_jwk

DEFAULT = "~/.aoray/wallet.json"
Wallet = str | os.PathLike[str] | Mapping[str, Any] | Signer
"""A key file's path, a private JWK (RSA, Ed25519 or secp256k1), or what signs."""


def new_wallet(kind: Literal["ed25519", "arweave"] = "ed25519") -> KeySigner:
    """A new key, nowhere kept. An Arweave wallet (RSA) takes a second to make, and 8 ms to sign."""
    return generate_rsa() if kind == "arweave" else generate_ed25519()


def wallet_of(wallet: Wallet | None) -> Signer:
    """The signer of a wallet. None is that of the command line: the file `AORAY_WALLET`, or
    `~/.aoray/wallet.json`, made on first use. A file that is named must be there."""
    if wallet is None:
        return load_or_make(Path(os.environ.get("AORAY_WALLET", DEFAULT)).expanduser())
    if isinstance(wallet, str | os.PathLike):
        return load(Path(wallet).expanduser())
    return signer_from_jwk(wallet) if isinstance(wallet, Mapping) else wallet
