"""The HTTP API of Arweave nodes, gateways and bundlers over the embedded store (mounted on a port of its own,
and with all units).

    GET  /{id}, /raw/{id}  an item's data, with its Content-Type and its tags as lower-cased headers; ranges
    GET  /{id}/{path}      what a path manifest has for the path; `/{id}` is its index (`manifests`)
    GET  /tx/{id}          the item's fields as transaction JSON; /tx/{id}/{field} one of them
    GET  /tx/{id}/data     base64url
    GET  /tx/{id}/item     the data item as it was signed
    GET  /tx/{id}/status   {"block_height", "block_indep_hash", "number_of_confirmations"}; 202 Pending
    GET  /graphql, POST    see `graphql_routes.py`
    POST /tx, …            see `bundler_routes.py`
    GET  /info, …          see `node_routes.py`

Invariants: everything that parses, verifies or reads runs in a thread, never on the event loop. `/{id}`
matches only ids (43 characters of base64url), so other routes of the same origin are not affected. Request
bodies in progress are bounded in bytes and time. A tag never becomes a header that has a meaning in HTTP.

On failure: raises `AorayError`, which the application answers (`web/application.py`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from aoray import limits
from aoray.arweave.local.bundler_routes import Bundler, add_parts, add_prices, add_uploads
from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.graphql_routes import Searching, Who, add_graphql, peer, searches
from aoray.arweave.local.layer1 import Layer1
from aoray.arweave.local.manifests import Manifests, is_manifest
from aoray.arweave.local.node_routes import add_chain, add_chunks, add_wallets
from aoray.arweave.local.pieces import Pieces
from aoray.arweave.local.recent import Recent
from aoray.arweave.local.rows import Stored
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import NotFound
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tags, first
from aoray.protocol.transactions import to_json
from aoray.util.turns import Turns
from aoray.web.bodies import BodyBudget

PIECES = "arweave-pieces.sqlite"
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
    store: ArweaveStore,
    recent: Recent | None = None,
    turns: Turns | None = None,
    who: Who = peer,
    pieces: Pieces | None = None,
    balances: Mapping[str, int] | None = None,
) -> APIRouter:
    """Return all the routes over one store. Searches see what is acknowledged, through `recent`.

    `who` returns the address of a request: addresses take turns in searches, and have bounds. `balances` are
    the initial balances of a genesis file, if there is one; `pieces` holds incomplete uploads.
    """
    recent = recent or Recent()
    turns = turns or searches()
    bodies = BodyBudget()
    pieces = pieces or Pieces(store.path.with_name(PIECES))
    layer1, bundler = Layer1(store, pieces, balances), Bundler(store, pieces)
    bundlers = APIRouter()
    add_uploads(bundlers, bundler, layer1, bodies)
    add_parts(bundlers, bundler, bodies, who)
    add_prices(bundlers)
    routes = APIRouter(tags=["arweave"])
    routes.include_router(bundlers)
    add_graphql(routes, Searching(Graph(store), recent, turns, who), bodies)
    add_chain(routes, store)
    add_wallets(routes, store, layer1)
    add_chunks(routes, layer1, bodies, turns, who)
    _add_transactions(routes, store, recent)
    routes.include_router(bundlers, prefix="/v1")
    _add_data(routes, store)
    return routes


def _add_transactions(routes: APIRouter, store: ArweaveStore, recent: Recent) -> None:
    @routes.get("/tx/{item_id}")
    def transaction(item_id: str) -> Response:
        """Return an item's fields, in the form of a transaction."""
        return Response(orjson.dumps(_transaction(store, store.get(item_id))), media_type="application/json")

    @routes.get("/tx/{item_id}/status")
    async def status(item_id: str) -> Response:
        """Return the block of an item."""
        if (await run_in_threadpool(store.get, item_id)).held:
            await recent.settle()
        return await run_in_threadpool(_status, store, item_id)

    @routes.get("/tx/{item_id}/item")
    def item(item_id: str) -> Response:
        """Return the signed bytes of a data item."""
        stored = store.get(item_id)
        if store.fields(stored)[1]:
            raise NotFound("this is a layer-1 transaction, not a data item", id=item_id)
        headers = _IMMUTABLE | {"content-length": str(stored.size)}
        pieces = _pieces(partial(store.raw, stored), 0, stored.size)
        return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")

    @routes.get("/tx/{item_id}/{field}")
    def field(item_id: str, field: str) -> Response:
        """Return one field of the transaction JSON."""
        stored = store.get(item_id)
        if field == "data" and stored.data_size:
            headers = {"content-length": str((4 * stored.data_size + 2) // 3)}
            pieces = _pieces(partial(store.data, stored), 0, stored.data_size)
            return StreamingResponse(map(b64url_encode, pieces), headers=headers, media_type="text/plain")
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
    item, transaction = store.fields(stored)
    inline = stored.data_size <= limits.DATA_CHUNK_BYTES  # as nodes do; longer data is fetched separately
    anchor = b64url_encode(item.anchor)
    shared = {
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
    return shared | (to_json(transaction, b"") | {"data": shared["data"]} if transaction else {})


def _add_data(routes: APIRouter, store: ArweaveStore) -> None:
    manifests = Manifests(store)

    @routes.head("/raw/{item_id}", include_in_schema=False)
    @routes.get("/raw/{item_id}")
    def raw(item_id: str, request: Request) -> Response:
        """Return an item's data, with its tags as headers."""
        return _data(store, store.get(item_id), request)

    @routes.head("/{item_id:arweave_id}", include_in_schema=False)
    @routes.get("/{item_id:arweave_id}")
    def data(item_id: str, request: Request) -> Response:
        """Return an item's data, with its tags as headers; for a path manifest, the data of its index."""
        stored = store.get(item_id)
        if is_manifest(store.header(stored)):
            with contextlib.suppress(NotFound):  # without an index, the manifest itself is shown
                stored = store.get(manifests.resolve(stored, ""))
        return _data(store, stored, request)

    @routes.head("/{item_id:arweave_id}/{path:path}", include_in_schema=False)
    @routes.get("/{item_id:arweave_id}/{path:path}")
    def below(item_id: str, path: str, request: Request) -> Response:
        """Return the data of the item that a path manifest has for a path."""
        return _data(store, store.get(manifests.resolve(store.get(item_id), path)), request)


def _data(store: ArweaveStore, stored: Stored, request: Request) -> Response:
    item, transaction = store.fields(stored)
    size = stored.data_size
    if transaction and transaction.data_size > size:
        raise NotFound("the data of this transaction has not arrived", id=stored.id, hint="POST /chunk")
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
        response = StreamingResponse(_pieces(partial(store.data, stored), start, end), status, headers)
    response.raw_headers += _tag_headers(item.tags)
    return response


def _pieces(read: Callable[[int, int], bytes], start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end` in pieces (of a multiple of 3 bytes, for base64url)."""
    piece = limits.DATA_CHUNK_BYTES // 3 * 3
    for place in range(start, end, piece):
        yield read(place, min(end, place + piece))


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return the one range (from, to) that a `Range` header asks for. Other forms are ignored, as HTTP allows
    (RFC 9110, section 14.2)."""
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
    """Return Content-Type and the tags that can be headers, in order, up to the bounds."""
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
        if room < 0 or len(headers) > limits.HEADER_TAGS_MAX:
            break
        headers.append((name.encode(), tag.value.encode()))
    return headers
