"""The HTTP API of bundlers (Turbo, Irys), also under `/v1`; and `POST /tx`, which nodes have as well.

    POST /tx, /tx/{token}                  a data item (octet-stream) → 200 {"id", "timestamp", …} once it
                                           is on disk; or a layer-1 transaction (JSON), as for nodes
    GET  /chunks/{token}/-1/-1             begin an upload in parts → {"id", "min", "max", "chunkSize"}
    POST /chunks/{token}/{upload}/{offset} a part of the data item
    GET  /chunks/{token}/{upload}/-1       which parts have arrived, or the receipt
    POST /chunks/{token}/{upload}/-1       all parts have arrived → the receipt (Irys)
    POST /chunks/{token}/{upload}/finalize all parts have arrived → 202 (Turbo); …/status has the receipt
    GET  /price/{bytes}, /price/{token}/{bytes}, /price/bytes/{bytes}, /account/balance/{token}?address=

Storage is free here: prices are 0, and credits are not needed. Parts are bounded as in `pieces`. An item that
arrived in parts is verified like any other once it is complete.
"""

from __future__ import annotations

import secrets
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse

from aoray import limits
from aoray.arweave.local.graphql_routes import Who
from aoray.arweave.local.layer1 import Layer1
from aoray.arweave.local.node_routes import NETWORK, json_of
from aoray.arweave.local.pieces import Pieces
from aoray.arweave.local.rows import UploadReceipt
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import MalformedInput, Overloaded
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signed import ANS104, parse
from aoray.web.bodies import BodyBudget
from aoray.web.shares import OWN

JSON = "application/json"
_STATUS_TELLS = "Its status tells when it is finished."
PARTS = "parts."  # begins the key of an upload in parts; a key of chunks begins with a data root


class Bundler:
    """The bundler of the embedded Arweave, which accepts data items, complete or in parts. All methods
    block."""

    def __init__(self, store: ArweaveStore, pieces: Pieces) -> None:
        self._store = store
        self._pieces = pieces

    def accept(self, raw: bytes) -> dict[str, Any]:
        """Store a signed item, and return a bundler's receipt. Raises `ClientError` or `Unavailable`."""
        item = parse(raw, ANS104, bytes_max=limits.UPLOAD_BYTES_MAX)
        return self._answer(item, self._store.put(item))

    def _answer(self, item: DataItem, receipt: UploadReceipt) -> dict[str, Any]:
        return {
            "id": receipt.id,
            "owner": item.address,
            "timestamp": self._store.block(height=receipt.height).timestamp * 1000,
            "version": "1.0.0",
            "winc": "0",
            "deadlineHeight": receipt.height,
            "dataCaches": [NETWORK],
            "fastFinalityIndexes": [NETWORK],
            "block": receipt.height,
            "refused": [refused._asdict() for refused in receipt.refused],
        }

    def begin(self, sender: str, part_bytes: int) -> dict[str, Any]:
        """Begin an upload in parts. Return its id, and the size of parts that the client should use, near the
        size that it asks for."""
        upload = secrets.token_hex(16)
        self._pieces.begin(PARTS + upload, sender)
        size = min(max(part_bytes, limits.PART_BYTES_MIN), limits.PART_BYTES_MAX)
        return {"id": upload, "chunkSize": size} | BOUNDS

    def add(self, upload: str, sender: str, offset: int, part: bytes) -> None:
        """Store a part of an upload that starts at this offset."""
        if not part or not 0 <= offset < limits.UPLOAD_BYTES_MAX:
            raise MalformedInput(f"no part can begin at {offset}, or it is empty", field="offset")
        self._pieces.add(PARTS + upload, sender, offset, part)

    def status(self, upload: str) -> dict[str, Any]:
        """Return which parts have arrived, and the receipt once the upload is finished."""
        if answer := self._pieces.answer(PARTS + upload):
            return {"id": upload, "status": "FINALIZED", "receipt": orjson.loads(answer)} | BOUNDS
        spans = self._pieces.spans(PARTS + upload)
        size = max((length for _, length in spans), default=0)  # clients continue with parts of this size
        return {"id": upload, "size": size, "chunks": spans, "status": "ASSEMBLING"} | BOUNDS

    def finish(self, upload: str) -> dict[str, Any]:
        """Store the item that the parts make up, drop the parts, and return the receipt. Repeated calls
        return the same receipt."""
        key = PARTS + upload
        if known := self._pieces.answer(key):
            return dict(orjson.loads(known))
        with self._pieces.completing(key) as mine:
            if not mine:
                raise Overloaded("the upload is being finished", hint=_STATUS_TELLS, retry_after_s=1)
            if known := self._pieces.answer(key):  # another call may have finished it
                return dict(orjson.loads(known))
            answer = self.accept(self._pieces.joined(key))
            self._pieces.finish(key, orjson.dumps(answer).decode())
        return answer


BOUNDS = {"min": limits.PART_BYTES_MIN, "max": limits.PART_BYTES_MAX}


def add_uploads(routes: APIRouter, bundler: Bundler, layer1: Layer1, bodies: BodyBudget) -> None:
    """Add `POST /tx`, for bundlers and for nodes."""
    own_bodies = BodyBudget()

    @routes.post("/tx")
    @routes.post("/tx/{token}")
    async def upload(request: Request) -> Response:
        """Store a signed data item, or a bundle and the items in it, or a layer-1 transaction (JSON)."""
        plain = request.headers.get("content-type", "").startswith(JSON)
        bound = limits.TRANSACTION_BODY_BYTES_MAX if plain else limits.UPLOAD_BYTES_MAX
        own = bool(request.scope.get(OWN))
        async with _body(own_bodies if own else bodies, request, bound) as raw:
            if not (plain or raw[:1] == b"{"):
                return JSONResponse(await run_sync(bundler.accept, raw, limiter=_threads(own=own)))
            new = await run_in_threadpool(_take, layer1, raw)
        return PlainTextResponse("OK") if new else PlainTextResponse("Transaction already processed.", 208)


@cache
def _threads(*, own: bool) -> CapacityLimiter:
    """Return the threads in which uploads are verified and unfolded. The flusher's uploads have their own, so
    that strangers' bundles do not delay them."""
    return CapacityLimiter(limits.UPLOADS_AT_ONCE_MAX)


def _take(layer1: Layer1, raw: bytes) -> bool:
    return layer1.take(json_of(raw))


def _body(bodies: BodyBudget, request: Request, bytes_max: int) -> AbstractAsyncContextManager[bytes]:
    return bodies.read(
        request,
        bytes_max=bytes_max,
        total_bytes_max=limits.UPLOADS_IN_FLIGHT_BYTES_MAX,
        seconds_max=limits.UPLOAD_BODY_SECONDS_MAX,
    )


def add_parts(routes: APIRouter, bundler: Bundler, bodies: BodyBudget, who: Who) -> None:
    """Add the routes of uploads in parts."""

    @routes.get("/chunks/{token}/-1/-1")
    def begin(request: Request, token: str, chunkSize: int = limits.PART_BYTES_MAX) -> Response:
        """Begin an upload in parts."""
        return JSONResponse(bundler.begin(who(request.scope), chunkSize))

    @routes.get("/chunks/{token}/{upload}/-1")
    @routes.get("/chunks/{token}/{upload}/status")
    def status(token: str, upload: str) -> Response:
        """Return which parts have arrived, or the receipt."""
        return JSONResponse(bundler.status(upload))

    @routes.post("/chunks/{token}/{upload}/-1")
    async def finish(token: str, upload: str) -> Response:
        """Store the item, and return its receipt."""
        return JSONResponse(await _finished(upload))

    @routes.post("/chunks/{token}/{upload}/finalize")
    async def finalize(token: str, upload: str) -> Response:
        """Store the item. `/status` returns its receipt."""
        await _finished(upload)
        return JSONResponse(await run_in_threadpool(bundler.status, upload), 202)

    async def _finished(upload: str) -> dict[str, Any]:
        return await run_sync(bundler.finish, upload, limiter=_threads(own=False))

    @routes.post("/chunks/{token}/{upload}/{offset}")
    async def part(request: Request, token: str, upload: str, offset: int) -> Response:
        """Store a part."""
        async with _body(bodies, request, limits.PART_BYTES_MAX) as raw:
            await run_in_threadpool(bundler.add, upload, who(request.scope), offset, raw)
        return PlainTextResponse("OK")


def add_prices(routes: APIRouter) -> None:
    """Add the routes of prices and credits."""

    @routes.get("/price/{size}")
    def price(size: str) -> Response:
        """Return the price of this many bytes, which is 0."""
        if not is_size(size):
            raise MalformedInput(f"{size[:60]!r} is not a number of bytes", field="size")
        return PlainTextResponse("0")

    @routes.get("/price/{kind}/{size}")
    def price_of(kind: str, size: str) -> Response:
        """Return the price, which is 0: for a transaction to a target, or in the forms of bundlers (Turbo's
        `bytes`, Irys's tokens)."""
        if kind == "bytes":
            return JSONResponse({"winc": "0", "adjustments": [], "fees": []})
        if not (is_size(kind) or is_size(size)):
            raise MalformedInput(f"{size[:60]!r} is not a number of bytes", field="size")
        return PlainTextResponse("0")

    @routes.get("/account/balance/{token}")
    def credit(token: str) -> Response:
        """Return a balance of credits, which nobody needs here."""
        credits = {"winc": "0", "controlledWinc": "0", "effectiveBalance": "0", "balance": "0"}
        return JSONResponse(credits | {"givenApprovals": [], "receivedApprovals": []})


def is_size(text: str) -> bool:
    """Return whether a part of a path is a number of bytes."""
    return text.isascii() and text.isdecimal()
