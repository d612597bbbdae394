"""The npm packages `arweave` and `@dha-team/arbundles`, unmodified, use the embedded Arweave on a socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from aoray.arweave.client import ArweaveClient
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.signatures.jwk import signer_to_jwk
from aoray.protocol.tags import Tag
from aoray.web.application import application

pytestmark = pytest.mark.node
SCRIPT = Path(__file__).with_name("arweave.mjs")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Where a new embedded Arweave listens."""
    with (
        ArweaveStore(tmp_path / "arweave.sqlite") as store,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        app = application("Arweave")
        app.include_router(router(store))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


async def test_the_npm_clients_read_and_write(port: int, tmp_path: Path) -> None:
    tags = [Tag("Type", "Process"), Tag("Content-Type", "text/plain"), Tag("Name", "å")]
    sent = build(generate_ed25519(), tags=tags, data=b"hello \xc3\xa5")
    jwk = tmp_path / "wallet.json"
    jwk.write_text(json.dumps(signer_to_jwk(generate_rsa())))
    async with ArweaveClient(f"http://127.0.0.1:{port}") as client:
        await client.post_item(sent.raw)
        node = await asyncio.create_subprocess_exec(
            "node", SCRIPT, str(port), sent.id, jwk, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await node.communicate()
        assert node.returncode == 0
        saw = json.loads(out)
        made = await client.item(saw["made"]["id"])
    assert (saw["id"], saw["text"], saw["data"]) == (sent.id, "hello å", "hello å")
    assert saw["tags"] == [list(tag) for tag in tags]
    assert saw["owner"] == sent.address
    assert saw["status"]["status"] == 200
    assert saw["status"]["confirmed"]["block_height"] == 2
    assert saw["block"] == [sent.id]
    assert saw["graphql"] == {
        "data": {"transactions": {"edges": [{"node": {"id": sent.id, "data": {"size": "8"}}}]}}
    }
    assert (saw["info"]["height"], saw["current"], len(saw["anchor"])) == (3, 3, 64)
    assert (saw["price"], saw["balance"], saw["unknown"]) == ("0", "0", 404)
    assert saw["made"]["posted"]["id"] == saw["made"]["id"]
    assert saw["made"]["verifies"] is True
    assert (made.data, made.tags) == (b"from node", (Tag("Made-By", "arbundles"),))
    assert saw["headers"]["type"] == "Process"
    assert saw["headers"]["content-type"] == "text/plain"
    assert "name" not in saw["headers"]


async def test_the_npm_client_posts_transactions_of_layer_1(port: int, tmp_path: Path) -> None:
    jwk = tmp_path / "wallet.json"
    jwk.write_text(json.dumps(signer_to_jwk(generate_rsa())))
    node = await asyncio.create_subprocess_exec(
        "node", SCRIPT.with_name("layer1.mjs"), str(port), jwk, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await node.communicate()
    assert node.returncode == 0
    saw = json.loads(out)
    assert (saw["minted"], saw["lastBefore"], saw["posts"]) == ("1000", "", [200, 200])
    assert saw["small"] == {
        "verifies": True,
        "tags": [["Content-Type", "text/plain"], ["App", "å"]],
        "data": "hello",
        "status": 200,
    }
    assert (saw["chunks"], set(saw["before"]), saw["large"], saw["offset"]) == (4, {404}, True, "900000")
    assert (saw["transfer"], saw["balances"], saw["last"]) == (200, ["400", "600"], True)
    assert saw["second"][0] == 400 and "400 winston" in saw["second"][1]
    assert (saw["forged"], saw["found"]) == (400, [True])
    assert saw["mined"] == saw["height"]
