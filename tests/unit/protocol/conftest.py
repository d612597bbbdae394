"""Keys of every signature type; the vectors (`ans104.json`, of arbundles 1.0.4 and arweave 1.15.7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from item_strategies import AnySigner

from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.jwk import signer_from_jwk
from aoray.protocol.signatures.solana import SolanaSigner


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / "ans104.json").read_text())
    return found


@pytest.fixture(scope="session")
def signers(vectors: dict[str, Any]) -> dict[str, AnySigner]:
    """The vectors' keys, by the name that the vectors have for the signer."""
    keys = vectors["keys"]
    seed = bytes.fromhex(keys["ed25519_seed_hex"])
    arweave = signer_from_jwk(keys["rsa_jwk"])
    assert isinstance(arweave, RsaSigner)
    return {
        "arweave": arweave,
        "ed25519": Ed25519Signer(seed),
        "ethereum": EthereumSigner(bytes.fromhex(keys["secp256k1_private_hex"])),
        "solana": SolanaSigner(seed),
    }


@pytest.fixture(scope="session", params=["arweave", "ed25519", "ethereum", "solana"])
def signer(request: pytest.FixtureRequest, signers: dict[str, AnySigner]) -> AnySigner:
    """Each of the four, one after another."""
    return signers[request.param]
