"""Our L1 transactions are those of the npm package `arweave`: data roots, chunks, proofs, ids, signatures."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from aoray.errors import BadSignature
from aoray.protocol.ids import b64url_encode
from aoray.protocol.merkle import CHUNK_BYTES_MAX as MOST
from aoray.protocol.merkle import CHUNK_BYTES_MIN as LEAST
from aoray.protocol.merkle import chunked
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.tags import Tag
from aoray.protocol.transactions import chunks_json, from_json, sign, to_json, verify

pytestmark = pytest.mark.node
SCRIPT = Path(__file__).with_name("transactions.mjs")
SIZES = [
    *(1, 1000, LEAST, MOST - 1, MOST, MOST + 1),
    *(MOST + LEAST - 1, MOST + LEAST, MOST + LEAST + 1),
    *(2 * MOST - 1, 2 * MOST, 2 * MOST + 1, 2 * MOST + LEAST - 1, 3 * MOST, 4 * MOST + 1),
    *(5 * MOST + LEAST - 2, 7 * MOST + 12_345),
]


def data_of(size: int) -> bytes:
    return hashlib.shake_256(b"aoray").digest(size)


async def arweave(asked: dict[str, Any]) -> Any:
    node = await asyncio.create_subprocess_exec(
        "node", SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await node.communicate(json.dumps(asked).encode())
    assert node.returncode == 0
    return json.loads(out)


async def test_data_roots_chunks_and_proofs_are_those_of_the_arweave_package_at_every_boundary() -> None:
    said = await arweave({"sizes": SIZES})
    for size, theirs in zip(SIZES, said["roots"], strict=True):
        root, chunks = chunked(data_of(size))
        assert b64url_encode(root) == theirs["root"], size
        ours = [{"start": c.start, "end": c.end, "path": b64url_encode(c.data_path)} for c in chunks]
        assert ours == theirs["chunks"], size
    theirs = said["transaction"]
    read = from_json(theirs)
    verify(read)
    assert read.id == theirs["id"] and read.tags == (Tag("Bundle-Format", "binary"), Tag("Name", "å"))
    assert to_json(read, data_of(1000)) == theirs | {"data": b64url_encode(data_of(1000))}
    with pytest.raises(BadSignature):
        verify(read._replace(reward=124))


async def test_the_arweave_package_verifies_our_transactions_and_the_proofs_of_all_chunks() -> None:
    signer, anchor = generate_rsa(), b64url_encode(data_of(48))
    asked = []
    for size in (1, MOST + 1, 2 * MOST, 3 * MOST + LEAST):
        data = data_of(size)
        made = sign(signer, data, anchor=anchor, reward=65_595_508, tags=[Tag("Bundle-Format", "å")])
        chunks = list(chunks_json(data))
        asked.append({"transaction": to_json(made), "data": b64url_encode(data), "chunks": chunks})
    for sent, seen in zip(asked, (await arweave({"transactions": asked}))["checked"], strict=True):
        transaction, chunks = sent["transaction"], sent["chunks"]
        assert isinstance(transaction, dict)
        assert (seen["id"], seen["verifies"], seen["root"]) == (
            transaction["id"],
            True,
            transaction["data_root"],
        )
        assert [path["size"] for path in seen["paths"]] == [p["end"] - p["start"] for p in seen["paths"]]
        assert seen["paths"][-1]["end"] == int(transaction["data_size"])
        assert [str(path["end"] - 1) for path in seen["paths"]] == [chunk["offset"] for chunk in chunks]
