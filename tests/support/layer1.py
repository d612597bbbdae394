"""What the tests of layer-1 transactions share: wallets, data of three chunks, and what clients do."""

from __future__ import annotations

from hashlib import shake_256
from typing import Any

import httpx

from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.transactions import Transaction, sign, to_json

RICH, POOR = generate_rsa(), generate_rsa()
OTHER = b64url_encode(b"o" * 32)
LONG = shake_256(b"aoray").digest(614_400)  # three chunks


def made(store: ArweaveStore, data: bytes = b"", signer: Any = RICH, **more: Any) -> Transaction:
    return sign(signer, data, **({"anchor": store.tip().id, "reward": 0} | more))


async def post(http: httpx.AsyncClient, transaction: Transaction, data: bytes = b"") -> httpx.Response:
    return await http.post("/tx", json=to_json(transaction, data))


async def balances(http: httpx.AsyncClient) -> dict[str, int]:
    names = {"rich": RICH.address, "poor": POOR.address, "other": OTHER}
    return {name: int((await http.get(f"/wallet/{own}/balance")).text) for name, own in names.items()}


async def downloaded(http: httpx.AsyncClient, place: dict[str, str]) -> bytes:
    """The data chunk by chunk, as clients read it."""
    first, data = int(place["offset"]) - int(place["size"]) + 1, b""
    while len(data) < int(place["size"]):
        found = (await http.get(f"/chunk/{first + len(data)}")).json()
        data += b64url_decode(found["chunk"])
    return data
