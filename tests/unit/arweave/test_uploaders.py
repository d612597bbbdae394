"""The ways to Arweave: which one the settings choose, and what each says to its server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from aoray.arweave.client import ArweaveClient
from aoray.arweave.uploaders import (
    ANCHOR_BLOCKS_MAX,
    BundlerUploader,
    EmbeddedUploader,
    NodeUploader,
    uploader_of,
)
from aoray.errors import ClientError, MalformedInput, Unavailable
from aoray.protocol.ans104.bundles import pack, unpack
from aoray.protocol.ans104.items import build, parse
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.merkle import CHUNK_BYTES_MAX
from aoray.protocol.signatures.arweave import RsaSigner, generate_rsa
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.transactions import from_json, verify
from aoray.settings import Settings
from aoray.storage.key_files import load_or_make, load_wallet

SIGNER = generate_ed25519()
ANCHOR = b64url_encode(bytes(48))
OTHER = b64url_encode(b"\1" * 48)


@pytest.fixture(scope="module")
def wallet() -> RsaSigner:
    return generate_rsa()


class Server:
    """Answers by method and path, and keeps what was posted."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.posted: list[tuple[str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            self.posted.append((path, request.content))
        answer = self.answers.get(path.lstrip("/"))
        if answer is None:
            return httpx.Response(404, text="Not Found")
        return httpx.Response(200, text=answer if isinstance(answer, str) else orjson.dumps(answer).decode())

    def client(self) -> ArweaveClient:
        return ArweaveClient("http://server", transport=httpx.MockTransport(self))


def node(**more: Any) -> Server:
    block = {"indep_hash": ANCHOR, "height": 7}
    answers = {f"block/hash/{ANCHOR}": block, "block/height/7": block, f"price/{CHUNK_BYTES_MAX + 1}": "55"}
    answers |= {"tx_anchor": ANCHOR, "info": {"height": 9}, "tx": "OK", "chunk": "{}", "price/5": "44"}
    return Server(answers | more)


def test_the_settings_choose_the_way(wallet: RsaSigner) -> None:
    client, bundler = ArweaveClient("http://a"), ArweaveClient("http://b")

    def chosen(wallet: RsaSigner | None = None, **settings: str) -> Any:
        return uploader_of(Settings(**settings), client, bundler, SIGNER, wallet)  # type: ignore[arg-type]

    assert type(chosen()) is EmbeddedUploader and not chosen().confirming
    assert type(chosen(gateway_url="http://a")) is BundlerUploader
    assert type(chosen(gateway_url="http://a", bundler_url="http://b")) is BundlerUploader
    assert chosen(wallet, bundler_url="http://b").carrier == f"item:{wallet.address}"
    assert chosen(wallet).carrier == f"transaction:{wallet.address}"


async def test_a_transaction_goes_with_its_data_or_with_its_chunks(wallet: RsaSigner) -> None:
    for size, paths in ((5, ["/tx"]), (CHUNK_BYTES_MAX + 1, ["/tx", "/chunk", "/chunk"])):
        server, data = node(), bytes(size)
        uploader = NodeUploader(server.client(), wallet)
        signed = await uploader.sign(data)
        assert signed.anchor_height == 7 and not server.posted
        await uploader.post(signed, data)
        assert [path for path, _ in server.posted] == paths
        found = orjson.loads(server.posted[0][1])
        verify(from_json(found))
        assert found["id"] == signed.id and found["reward"] == ("44" if size == 5 else "55")
        assert b64url_decode(found["data"]) == (data if size == 5 else b"")
        chunks = [
            b64url_decode(orjson.loads(body)["chunk"]) for path, body in server.posted if path == "/chunk"
        ]
        assert b"".join(chunks) == (b"" if size == 5 else data)
        server.posted.clear()
        await uploader.post(signed, data, known=True)  # chunks may be missing, the transaction is not
        assert [path for path, _ in server.posted] == paths[1:]


async def test_a_transaction_can_be_mined_while_its_anchor_is_in_the_chain_and_not_too_old(
    wallet: RsaSigner,
) -> None:
    signed = await NodeUploader(node().client(), wallet).sign(bytes(5))

    async def mineable(height: int, block: str) -> bool:
        there = {"indep_hash": block, "height": 7}
        server = node(info={"height": height}, **{"block/height/7": there})
        return await NodeUploader(server.client(), wallet).mineable(signed)

    assert await mineable(7 + ANCHOR_BLOCKS_MAX, ANCHOR)
    assert not await mineable(7 + ANCHOR_BLOCKS_MAX + 1, ANCHOR)
    assert not await mineable(8, OTHER)
    assert await mineable(6, OTHER)  # a node that is behind knows nothing of it


async def test_a_node_says_how_deep_a_transaction_is(wallet: RsaSigner) -> None:
    mined, waits, gone = (b64url_encode(bytes([n]) * 32) for n in range(3))
    confirmed = {"number_of_confirmations": 4, "block_height": 1}
    server = node(**{f"tx/{mined}/status": confirmed, f"tx/{waits}/status": "Pending"})
    assert await NodeUploader(server.client(), wallet).depths([mined, waits, gone]) == {mined: 4, waits: 0}


async def test_a_bundler_gets_the_same_item_again_and_the_gateway_says_how_deep_it_is() -> None:
    data = pack([build(SIGNER, data=b"one")])
    bundler = Server({})
    uploader = BundlerUploader(bundler.client(), node().client(), SIGNER)
    signed = await uploader.sign(data)
    bundler.answers["tx"] = {"id": signed.id}
    for _ in range(2):
        await uploader.post(signed, data)
    (_, first), (_, second) = bundler.posted
    assert first == second and parse(first).id == signed.id
    assert [item.data for item in unpack(parse(first).data)] == [b"one"]

    edges = [{"node": {"id": "deep", "block": {"height": 5}}}, {"node": {"id": "new", "block": None}}]
    gateway = node(graphql={"data": {"transactions": {"edges": edges}}})
    uploader = BundlerUploader(bundler.client(), gateway.client(), SIGNER)
    assert await uploader.depths(["deep", "new", "gone"]) == {"deep": 5, "new": 0}


async def test_answers_that_make_no_sense_are_errors(wallet: RsaSigner) -> None:
    some = b64url_encode(bytes(32))
    block = {"indep_hash": ANCHOR, "height": "high"}
    for broken in (
        {"price/5": "a lot"},
        {"price/5": "9" * 5_000},
        {f"block/hash/{ANCHOR}": {}},
        {f"block/hash/{ANCHOR}": block},
        {f"block/hash/{ANCHOR}": block | {"height": None}},
        {"tx_anchor": "<html>"},
    ):
        server = node()
        server.answers |= broken
        with pytest.raises((MalformedInput, ClientError, Unavailable)):
            await NodeUploader(server.client(), wallet).sign(bytes(5))
    for status in (
        {"status": "?"},
        {"number_of_confirmations": None},
        ["?"],
        {"number_of_confirmations": -1},
    ):
        server = node(**{f"tx/{some}/status": status})
        with pytest.raises(MalformedInput):
            await NodeUploader(server.client(), wallet).depths([some])


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {"edges": None},
        {"edges": ["?"]},
        {"edges": [{"node": None}]},
        {"edges": [{"node": {"id": "some"}}]},
        {"edges": [{"node": {"id": "some", "block": ["?"]}}]},
        {"edges": [{"node": {"id": "some", "block": {"height": "high"}}}]},
        {"edges": [{"node": {"id": "some", "block": {"height": None}}}]},
    ],
)
async def test_a_gateway_whose_graphql_makes_no_sense_is_an_error_that_the_flusher_knows(found: Any) -> None:
    """Any other error would end the shard, with the messages that it orders."""
    gateway = node(graphql={"data": {"transactions": found}})
    with pytest.raises(MalformedInput):
        await BundlerUploader(Server({}).client(), gateway.client(), SIGNER).depths(["some"])


@pytest.mark.parametrize("height", [2**63, 2**64 - 1, -1, True, 1.5, "high", None, "9" * 5_000])
async def test_a_height_that_no_log_could_hold_is_none(height: Any) -> None:
    with pytest.raises(MalformedInput):
        await node(info={"height": height}).client().info()


def test_a_wallet_that_others_can_read_or_that_is_not_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    with pytest.raises(ClientError, match="can't be read"):
        load_wallet(path)
    made = load_or_make(path, generate_rsa)
    assert load_wallet(path).address == made.address
    path.chmod(0o640)
    with pytest.raises(ClientError, match="others may read"):
        load_wallet(path)
    other = tmp_path / "other.json"
    load_or_make(other)
    with pytest.raises(ClientError, match="has no RSA key"):
        load_wallet(other)
