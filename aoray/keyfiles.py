"""The computer's own keys on disk: one Ed25519 JWK a file, made on first use, readable by its owner only.

Purpose: the scheduler, the messenger (authority) and the compute unit each sign with a key of their own, kept
under `<data>/keys`. Several actors may ask for the same new key at the same moment: one file wins, all get
that key.

Invariant: a key file is either whole or not there, and is never replaced. On failure: a file that is not a
JWK gives `MalformedInput` that names the file; an unreadable one gives `OSError` (a person has to look at
it).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson

from aoray.durable import make_directory, sync_directory
from aoray.errors import ClientError, MalformedInput
from aoray.protocol.keys import (
    Ed25519Signer,
    EthereumSigner,
    RsaSigner,
    generate_ed25519,
    signer_from_jwk,
    signer_to_jwk,
)

KeySigner = Ed25519Signer | RsaSigner | EthereumSigner


def load_or_make(path: Path, generate: Callable[[], KeySigner] = generate_ed25519) -> KeySigner:
    """The key in `path`; a new one (Ed25519 unless `generate` makes others) is put there if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return load(path)
    _publish(path, orjson.dumps(signer_to_jwk(generate())))
    return load(path)


def load(path: Path) -> KeySigner:
    """The key in `path`, of any kind that signs."""
    try:
        jwk = orjson.loads(path.read_bytes())  # unlike json, it refuses what is nested too deeply
    except ValueError as error:
        raise MalformedInput(f"{path} is not a JSON web key", field=str(path)) from error
    if not isinstance(jwk, dict):
        raise MalformedInput(f"{path} is not a JSON web key", field=str(path))
    return signer_from_jwk(jwk)


def load_wallet(path: Path) -> RsaSigner:
    """An Arweave wallet that only its owner can read; ClientError if it is not so."""
    try:
        mode = path.stat().st_mode & 0o777
        wallet = load(path)
    except OSError as error:
        raise ClientError(f"the wallet {path} can't be read: {error.strerror}") from error
    if mode & 0o077:
        raise ClientError(f"the wallet {path} can be read by others", hint=f"chmod 600 {path}")
    if not isinstance(wallet, RsaSigner):
        raise ClientError(f"{path} is no Arweave wallet: it is not an RSA key")
    return wallet


def _publish(path: Path, content: bytes) -> None:
    """Make `path` appear whole, with mode 0600, unless somebody was faster (then theirs stays)."""
    make_directory(path.parent, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600 by itself
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
        sync_directory(path.parent)
    finally:
        Path(name).unlink()
