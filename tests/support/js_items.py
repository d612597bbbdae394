"""Items as npm's packages have them, by tests/js_clients/items.mjs."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.jwk import signer_to_jwk
from aoray.protocol.tags import as_json

HERE = Path(__file__).parents[1] / "js_clients"
SEED, SECRET = b"\x15" * 32, b"\x38" * 32


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def ask(signers: Mapping[str, Signer], **request: Any) -> dict[str, Any]:
    """What `items.mjs` answers; both sides have the same keys."""
    rsa = signers["arweave"]
    assert isinstance(rsa, RsaSigner)
    keys = {
        "rsa": signer_to_jwk(rsa),
        "seed": SEED.hex(),
        "public": signers["ed25519"].public_key.hex(),
        "secp256k1": SECRET.hex(),
    }
    ran = subprocess.run(
        ["node", str(HERE / "items.mjs")],
        input=json.dumps({"keys": keys, **request}),
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def as_request(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "signer": name,
        "target": parts.get("target", ""),
        "anchor": b64(parts.get("anchor", b"")),
        "tags": as_json(parts.get("tags", ())),
        "data": b64(parts.get("data", b"")),
    }


def as_seen(item: DataItem) -> dict[str, Any]:
    """An item as `items.mjs` describes one."""
    return {
        "id": item.id,
        "signatureType": item.signature_type,
        "owner": item.owner_key,
        "target": item.target_id,
        "anchor": b64(item.anchor),
        "tags": as_json(item.tags),
        "data": b64(item.data),
    }
