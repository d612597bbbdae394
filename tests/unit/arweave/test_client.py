"""The client gives only what verifies, from any gateway, and says whose fault a failure is."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from arweave_items import bundle, forged, item

from aoray.arweave.client import ArweaveClient
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import BadSignature, ClientError, MalformedInput, NotFound, TooLarge, Unavailable
from aoray.protocol.ans104.items import ANCHOR_BYTES, DataItem
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.solana import SolanaSigner

UNKNOWN = b64url_encode(bytes(32))


class ForeignGateway(httpx.AsyncBaseTransport):
    """A gateway that keeps no whole items, as those that we did not write."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/tx/"):
            return httpx.Response(404, text="Not Found.")
        return await self._inner.handle_async_request(request)


@pytest.fixture
async def client(transport: httpx.ASGITransport) -> AsyncIterator[ArweaveClient]:
    async with ArweaveClient("http://arweave/", transport=transport) as opened:
        yield opened


@pytest.fixture
async def foreign(transport: httpx.ASGITransport) -> AsyncIterator[ArweaveClient]:
    async with ArweaveClient("http://arweave", transport=ForeignGateway(transport)) as opened:
        yield opened


def answering(answer: Callable[[httpx.Request], httpx.Response]) -> ArweaveClient:
    return ArweaveClient("http://arweave", transport=httpx.MockTransport(answer))


def every_signature_type() -> list[DataItem]:
    signers = (generate_rsa(), EthereumSigner(b"\1" * 32), SolanaSigner(b"\2" * 32))
    rich: Any = {"target": UNKNOWN, "anchor": b"i" * 32, "data": b"\0\xff"}
    return [item(("A", "é"), ("A", "")), *(item(("B", "1"), signer=signer, **rich) for signer in signers)]


async def test_items_of_every_kind_come_back_verified(client: ArweaveClient, foreign: ArweaveClient) -> None:
    items = every_signature_type()
    outer = bundle(items)
    assert await client.post_item(outer.raw) == outer.id
    for each in (*items, outer):
        assert await client.item(each.id) == each
        assert await foreign.item(each.id) == each
        assert await client.data(each.id) == each.data
        assert await client.tags(each.id) == each.tags
        assert (await client.transaction(each.id))["id"] == each.id
    assert (await client.info())["height"] == 2


@pytest.mark.parametrize("unknown", [UNKNOWN, "?", "../info", ""])
async def test_what_is_not_there_is_not_found(
    client: ArweaveClient, foreign: ArweaveClient, unknown: str
) -> None:
    for ask in (client.item, client.data, client.tags, client.transaction, foreign.item):
        with pytest.raises(NotFound):
            await ask(unknown)


async def test_a_forged_upload_is_a_bad_signature(client: ArweaveClient) -> None:
    with pytest.raises(BadSignature):
        await client.post_item(forged(item()))


async def test_a_gateway_that_gives_another_item_or_a_forged_one_is_not_believed() -> None:
    asked, other = item(), item()
    for raw, fault in ((other.raw, MalformedInput), (forged(asked), BadSignature)):
        with pytest.raises(fault):
            await answering(lambda _, raw=raw: httpx.Response(200, content=raw)).item(asked.id)


async def test_a_foreign_gateway_that_changes_data_is_not_believed(transport: httpx.ASGITransport) -> None:
    sent = item(data=b"true")

    class Liar(ForeignGateway):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.startswith("/raw/"):
                return httpx.Response(200, content=b"lie")
            return await super().handle_async_request(request)

    async with ArweaveClient("http://arweave", transport=transport) as honest:
        await honest.post_item(sent.raw)
    with pytest.raises(BadSignature):
        await ArweaveClient("http://arweave", transport=Liar(transport)).item(sent.id)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_the_servers_faults_are_retryable(status: int) -> None:
    for ask in (
        lambda c: c.info(),
        lambda c: c.post_item(b"x"),
        lambda c: c.item(UNKNOWN),
        lambda c: c.tags(UNKNOWN),
    ):
        with pytest.raises(Unavailable, match=str(status)):
            await ask(answering(lambda _: httpx.Response(status, text="<html>")))


async def test_a_connection_that_fails_is_retryable() -> None:
    async with ArweaveClient("http://127.0.0.1:1") as client:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
            await client.info()


async def test_a_refusal_is_the_callers_fault_and_an_upload_is_never_redirected() -> None:
    for status in (302, 307, 400, 402):
        with pytest.raises(ClientError, match=str(status)):
            await answering(
                lambda _, s=status: httpx.Response(s, headers={"location": "http://else"})
            ).post_item(b"x")


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"height": "x", "id": "?", "data": 1}'])
async def test_nonsense_is_malformed(content: bytes) -> None:
    client = answering(lambda _: httpx.Response(200, content=content))
    for answer in (client.info(), client.post_item(b"x"), client.graphql("{ block { id } }")):
        with pytest.raises(MalformedInput):
            await answer


@pytest.mark.parametrize("anchor", [7, [0] * ANCHOR_BYTES, {"a": 1}, "x" * 31])
async def test_an_item_of_odd_parts_is_malformed(anchor: object) -> None:
    node = {"signature": "", "owner": {"key": ""}, "recipient": "", "anchor": anchor, "tags": []}
    body = orjson.dumps({"data": {"transaction": node}})

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/graphql":
            return httpx.Response(200, content=body)
        return httpx.Response(400 if request.url.path.startswith("/tx/") else 200)

    with pytest.raises(MalformedInput):
        await answering(answer).item(UNKNOWN)


async def test_graphql_errors_are_raised(client: ArweaveClient) -> None:
    assert await client.graphql("query ($h: Int) { block(height: $h) { height } }", {"h": 1}) == {
        "block": {"height": 1}
    }
    with pytest.raises(ClientError, match="nothing"):
        await client.graphql("{ nothing }")


async def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoray.arweave.client.UPLOAD_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        await answering(lambda _: httpx.Response(200, content=bytes(11))).data(UNKNOWN)


class Dripping(httpx.AsyncByteStream):
    """A byte now and then, forever."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("ask", ["info", "graphql", "item", "data", "post_item"])
async def test_a_server_that_drips_holds_nobody(monkeypatch: pytest.MonkeyPatch, ask: str) -> None:
    monkeypatch.setattr("aoray.arweave.client.ARWEAVE_SECONDS_MAX", 0.2)
    argument: dict[str, Any] = {"graphql": "{ block { id } }", "post_item": b"x"}
    async with answering(lambda _: httpx.Response(200, stream=Dripping())) as client:
        call = getattr(client, ask)
        with pytest.raises(Unavailable, match="no complete answer in time"):
            await (call() if ask == "info" else call(argument.get(ask, UNKNOWN)))


async def test_a_bundle_that_was_posted_is_held_no_longer_without_the_garbage_collector() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (size,) = (
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        await reader.readexactly(size)
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 53\r\n\r\n{"id": "%s"}' % UNKNOWN.encode())
        writer.close()

    raw = os.urandom(1 << 20)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, ArweaveClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        gc.disable()
        try:
            before = sys.getrefcount(raw)
            assert await client.post_item(raw) == UNKNOWN
            assert sys.getrefcount(raw) == before
        finally:
            gc.enable()


async def test_no_more_is_read_of_an_item_than_is_asked_for(
    client: ArweaveClient, foreign: ArweaveClient, store: ArweaveStore
) -> None:
    large = item(data=bytes(5_000))
    store.put(large)
    for each in (client, foreign):
        assert (await each.item(large.id)).raw == large.raw
        with pytest.raises(TooLarge):
            await each.item(large.id, 4_000)
