"""The HTTP API of Arweave nodes, gateways and bundlers, over the embedded store (mounted alone, and among all
units).

    POST /tx, /tx/{token}  a raw data item (octet-stream) → 200 {"id", "timestamp", …} once it is on disk
    GET  /{id}, /raw/{id}  an item's data, with its Content-Type and its tags as lower-cased headers; ranges
    GET  /tx/{id}          its fields as transaction JSON; /tx/{id}/{field} one of them
    GET  /tx/{id}/data     base64url
    GET  /tx/{id}/item     the data item as it was signed
    GET  /tx/{id}/status   {"block_height", "block_indep_hash", "number_of_confirmations"}; 202 Pending
    GET  /info, /height, /tx_anchor, /price/{bytes}, /wallet/{address}/balance
    GET  /block/current, /block/height/{n}, /block/hash/{id}
    GET  /graphql, POST    see `searching.py`

Invariants: everything that parses, verifies or reads runs in a thread, and never on the event loop. `/{id}`
matches ids only (43 characters of base64url), so that it leaves other routes of one origin alone. Bodies
under way are bounded in bytes and time. A tag never becomes a header that HTTP gives a meaning to.

On failure: raises `AorayError`, which the application answers (`gateway/web.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from aoray import limits
from aoray.arweave.graphql import Graph
from aoray.arweave.recent import Recent
from aoray.arweave.rows import Block, Receipt, Stored
from aoray.arweave.searching import Searching, Who, add_graphql, peer, searches
from aoray.arweave.store import ArweaveStore
from aoray.bodies import Bodies
from aoray.errors import ClientError, NotFound
from aoray.protocol.ids import b64url_encode
from aoray.protocol.items import DataItem, parse
from aoray.protocol.tags import Tags, first
from aoray.turns import Turns

NETWORK = "aoray.local"
_IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable", "accept-ranges": "bytes"}
_SAFE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SAFE_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_RESERVED = re.compile(
    r"(access-control|accept|cache|content|cross-origin|proxy|sec|strict|transfer|www|if|x)(-.*)?"
    r"|age|allow|alt-svc|clear-site-data|connection|cookie|date|dnt|etag|expect|expires|forwarded|host|keep-alive|last-modified"
    r"|link|location|nel|origin(-agent-cluster)?|permissions-policy|pragma|priority|range|referer|referrer-policy|refresh"
    r"|report-to|reporting-endpoints|retry-after|server(-timing)?|service-worker.*|set-cookie2?|sourcemap|te|timing-allow-origin"
    r"|trailer|upgrade.*|user-agent|vary|via|warning"
)
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class _IdConvertor(Convertor[str]):
    regex = "[A-Za-z0-9_-]{43}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("arweave_id", _IdConvertor())


def router(
    store: ArweaveStore, recent: Recent | None = None, turns: Turns | None = None, who: Who = peer
) -> APIRouter:
    """All the routes, over one store; searches see what is acknowledged and `recent`. `who` says from which
    address a request is: addresses take turns in searches."""
    recent = recent or Recent()
    routes = APIRouter(tags=["arweave"])
    bodies = Bodies()
    _add_uploads(routes, store, bodies)
    add_graphql(routes, Searching(Graph(store), recent, turns or searches(), who), bodies)
    _add_chain(routes, store)
    _add_transactions(routes, store, recent)
    _add_data(routes, store)
    return routes


def _body(bodies: Bodies, request: Request, bytes_max: int) -> AbstractAsyncContextManager[bytes]:
    return bodies.read(
        request,
        bytes_max=bytes_max,
        total_bytes_max=limits.UPLOADS_IN_FLIGHT_BYTES_MAX,
        seconds_max=limits.UPLOAD_BODY_SECONDS_MAX,
    )


def _add_uploads(routes: APIRouter, store: ArweaveStore, bodies: Bodies) -> None:
    @routes.post("/tx")
    @routes.post("/tx/{token}")
    async def upload(request: Request) -> Response:
        """Keep a signed data item, or a bundle and the items in it."""
        if request.headers.get("content-type", "").startswith("application/json"):
            raise ClientError(
                "layer-1 transactions are not taken here",
                hint="Post a data item as application/octet-stream.",
            )
        async with _body(bodies, request, limits.UPLOAD_BYTES_MAX) as raw:
            item, receipt = await run_in_threadpool(_accept, store, raw)
            answer = await run_in_threadpool(_receipt, store, item, receipt)
        return JSONResponse(answer)

    @routes.get("/price/{size}")
    @routes.get("/price/{size}/{target}")
    def price(size: int) -> Response:
        """Keeping things here is free."""
        return PlainTextResponse("0")

    @routes.get("/wallet/{address}/balance")
    def balance(address: str) -> Response:
        """Wallets hold nothing here, and need nothing."""
        return PlainTextResponse("0")


def _accept(store: ArweaveStore, raw: bytes) -> tuple[DataItem, Receipt]:
    item = parse(raw, bytes_max=limits.UPLOAD_BYTES_MAX)
    return item, store.put(item)


def _receipt(store: ArweaveStore, item: DataItem, receipt: Receipt) -> dict[str, Any]:
    """What a bundler answers."""
    return {
        "id": receipt.id,
        "owner": item.address,
        "timestamp": store.block(height=receipt.height).timestamp * 1000,
        "version": "1.0.0",
        "winc": "0",
        "deadlineHeight": receipt.height,
        "dataCaches": [NETWORK],
        "fastFinalityIndexes": [NETWORK],
        "block": receipt.height,
        "refused": [refused._asdict() for refused in receipt.refused],
    }


def _add_chain(routes: APIRouter, store: ArweaveStore) -> None:
    @routes.get("/info")
    def info() -> Response:
        """What network this is, and how high."""
        return JSONResponse(_info(store.tip()))

    @routes.get("/height")
    def height() -> Response:
        """The height of the newest block."""
        return PlainTextResponse(str(store.tip().height))

    @routes.get("/tx_anchor")
    def tx_anchor() -> Response:
        """The newest block's id."""
        return PlainTextResponse(store.tip().id)

    @routes.get("/block/current")
    def block_current() -> Response:
        """The newest block."""
        return _block(store, store.tip())

    @routes.get("/block/height/{number}")
    def block_at(number: int) -> Response:
        """The block of a height."""
        return _block(store, store.block(height=max(-1, min(number, 1 << 62))))

    @routes.get("/block/hash/{block_id}")
    def block_of(block_id: str) -> Response:
        """The block of an id."""
        return _block(store, store.block(block_id=block_id))


def _info(tip: Block) -> dict[str, Any]:
    return {
        "network": NETWORK,
        "version": 5,
        "release": 1,
        "height": tip.height,
        "current": tip.id,
        "blocks": tip.height,
        "peers": 0,
        "queue_length": 0,
        "node_state_latency": 0,
    }


def _block(store: ArweaveStore, block: Block) -> Response:
    return JSONResponse(
        {
            "indep_hash": block.id,
            "hash": block.id,
            "previous_block": block.previous,
            "height": block.height,
            "timestamp": block.timestamp,
            "txs": store.uploads_in(block.height),
            "tags": [],
        }
    )


def _add_transactions(routes: APIRouter, store: ArweaveStore, recent: Recent) -> None:
    @routes.get("/tx/{item_id}")
    def transaction(item_id: str) -> Response:
        """An item's fields, in the shape of a transaction."""
        return Response(orjson.dumps(_transaction(store, store.get(item_id))), media_type="application/json")

    @routes.get("/tx/{item_id}/status")
    async def status(item_id: str) -> Response:
        """In which block an item is."""
        if (await run_in_threadpool(store.get, item_id)).held:
            await recent.settle()
        return await run_in_threadpool(_status, store, item_id)

    @routes.get("/tx/{item_id}/item")
    def item(item_id: str) -> Response:
        """The signed bytes."""
        return Response(
            store.raw(store.get(item_id)), media_type="application/octet-stream", headers=_IMMUTABLE
        )

    @routes.get("/tx/{item_id}/{field}")
    def field(item_id: str, field: str) -> Response:
        """One field of the transaction JSON."""
        stored = store.get(item_id)
        if field == "data":
            return PlainTextResponse(b64url_encode(store.data(stored)))
        value = _transaction(store, stored).get(field)
        if value is None:
            raise NotFound("a transaction has no such field", id=item_id, field=field)
        return PlainTextResponse(value) if isinstance(value, str) else JSONResponse(value)


def _status(store: ArweaveStore, item_id: str) -> Response:
    stored = store.mined(item_id)
    if stored.held:
        return PlainTextResponse("Pending", 202)
    block = store.block(height=stored.height)
    return JSONResponse(
        {
            "block_height": block.height,
            "block_indep_hash": block.id,
            "number_of_confirmations": store.tip().height - block.height + 1,
        }
    )


def _transaction(store: ArweaveStore, stored: Stored) -> dict[str, Any]:
    item = store.header(stored)
    inline = stored.data_size <= limits.DATA_CHUNK_BYTES  # as nodes do: longer data is fetched by itself
    anchor = b64url_encode(item.anchor)
    return {
        "format": 2,
        "id": stored.id,
        "last_tx": anchor,
        "anchor": anchor,
        "owner": item.owner_key,
        "owner_address": item.address,
        "tags": [
            {"name": b64url_encode(tag.name.encode()), "value": b64url_encode(tag.value.encode())}
            for tag in item.tags
        ],
        "target": item.target_id,
        "quantity": "0",
        "data": b64url_encode(store.data(stored)) if inline else "",
        "data_size": str(stored.data_size),
        "data_root": "",
        "data_tree": [],
        "reward": "0",
        "signature": b64url_encode(item.signature),
        "signature_type": item.signature_type,
    }


def _add_data(routes: APIRouter, store: ArweaveStore) -> None:
    @routes.head("/raw/{item_id}", include_in_schema=False)
    @routes.get("/raw/{item_id}")
    @routes.head("/{item_id:arweave_id}", include_in_schema=False)
    @routes.get("/{item_id:arweave_id}")
    def data(item_id: str, request: Request) -> Response:
        """An item's data; its tags are headers."""
        return _data(store, store.get(item_id), request)


def _data(store: ArweaveStore, stored: Stored, request: Request) -> Response:
    item = store.header(stored)
    size = stored.data_size
    wanted = _range(request.headers.get("range", ""), size)
    start, end = wanted or (0, size)
    headers = _IMMUTABLE | {"content-length": str(end - start), "etag": f'"{stored.id}"'}
    if wanted:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        response = Response(b"", status, headers)
    elif end - start <= limits.DATA_CHUNK_BYTES:
        response = Response(store.data(stored, start, end), status, headers)
    else:
        response = StreamingResponse(_chunks(store, stored, start, end), status, headers)
    response.raw_headers += _tag_headers(item.tags)
    return response


def _chunks(store: ArweaveStore, stored: Stored, start: int, end: int) -> Iterator[bytes]:
    for place in range(start, end, limits.DATA_CHUNK_BYTES):
        yield store.data(stored, place, min(end, place + limits.DATA_CHUNK_BYTES))


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The one range (from, to) that a `Range` header asks for; other forms are ignored, as HTTP allows."""
    found = _RANGE.fullmatch(header.strip())
    if not found or not any(found.groups()):
        return None
    low, high = found.groups()
    if low:
        start, end = int(low), min(int(high) + 1 if high else size, size)
    else:
        start, end = max(0, size - int(high)), size
    if start >= end:
        raise HTTPException(416, headers={"content-range": f"bytes */{size}"})
    return start, end


def _tag_headers(tags: Tags) -> list[tuple[bytes, bytes]]:
    """Content-Type, and the tags that can be headers, in order, as far as there is room."""
    media_type = first(tags, "Content-Type", "")
    if not _SAFE_VALUE.fullmatch(media_type):
        media_type = "application/octet-stream"
    headers = [(b"content-type", media_type.encode())]
    room = limits.HEADER_TAG_BYTES_MAX
    for tag in tags:
        name = tag.name.lower()
        if _RESERVED.fullmatch(name) or not (_SAFE_NAME.fullmatch(name) and _SAFE_VALUE.fullmatch(tag.value)):
            continue
        room -= len(name) + len(tag.value) + 4
        if room < 0:
            break
        headers.append((name.encode(), tag.value.encode()))
    return headers
