"""The HTTP API of Arweave nodes: the chain, wallets, layer-1 transactions with their chunks, and arlocal's
helpers for tests (mounted by `routes`).

    POST /chunk                            {"data_root", "data_size", "data_path", "offset", "chunk"} → 200
    GET  /chunk/{offset}                   {"chunk", "data_path", "tx_path", "packing"}
    GET  /tx/{id}/offset                   {"offset", "size"}
    GET  /tx_anchor, /price/{bytes}, /price/{bytes}/{target}
    GET  /wallet/{address}/balance, /wallet/{address}/last_tx
    GET  /info, /height, /peers, /tx/pending, /block/current, /block/height/{n}, /block/hash/{id}
    GET  /mint/{address}/{amount}          as in arlocal: gives a wallet winston, returns its balance
    GET  /mine, /mine/{n}                  as in arlocal: adds empty blocks

Transactions are posted to `POST /tx` (`bundler_routes`, since bundlers have this path as well). Nothing is
ever pending here: whatever is accepted is in a block, so there is no need to mine.
"""

from __future__ import annotations

import time
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse

from aoray import limits
from aoray.arweave.local.graphql_routes import Who
from aoray.arweave.local.layer1 import Layer1
from aoray.arweave.local.rows import Block
from aoray.arweave.local.search import new_budget
from aoray.arweave.local.store import ArweaveStore
from aoray.arweave.local.wallets import WINSTON_MAX
from aoray.errors import ClientError, MalformedInput
from aoray.protocol.ids import is_id
from aoray.util.turns import Turns
from aoray.web.bodies import BodyBudget

NETWORK = "aoray.local"
ADDRESS_HINT = "An address is 43 characters of base64url."


def add_chain(routes: APIRouter, store: ArweaveStore) -> None:
    """Add the routes of the chain."""

    @routes.get("/info")
    def info() -> Response:
        """Return the name of the network and its height."""
        return JSONResponse(_info(store.tip()))

    @routes.get("/peers")
    def peers() -> Response:
        """Return no peers, since this node is alone."""
        return JSONResponse([])

    @routes.get("/height")
    def height() -> Response:
        """Return the height of the newest block."""
        return PlainTextResponse(str(store.tip().height))

    @routes.get("/tx_anchor")
    def tx_anchor() -> Response:
        """Return the id of the newest block, as an anchor for transactions."""
        return PlainTextResponse(store.tip().id)

    @routes.get("/block/current")
    def block_current() -> Response:
        """Return the newest block."""
        return _block(store, store.tip())

    @routes.get("/block/height/{number}")
    def block_at(number: int) -> Response:
        """Return the block at a height."""
        return _block(store, store.block(height=max(-1, min(number, 1 << 62))))

    @routes.get("/block/hash/{block_id}")
    def block_of(block_id: str) -> Response:
        """Return the block with an id."""
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


def add_wallets(routes: APIRouter, store: ArweaveStore, layer1: Layer1) -> None:
    """Add the routes of wallets and arlocal's helpers."""

    @routes.get("/wallet/{address}/balance")
    def balance(address: str) -> Response:
        """Return the balance of a wallet, in winston."""
        return PlainTextResponse(str(layer1.balance(_address(address))))

    @routes.get("/wallet/{address}/last_tx")
    def last_tx(address: str) -> Response:
        """Return the id of the last transaction that a wallet signed."""
        return PlainTextResponse(layer1.last_tx(_address(address)))

    @routes.get("/mint/{address}/{amount}")
    def mint(address: str, amount: str) -> Response:
        """Give a wallet winston, and return its balance."""
        if not (amount.isascii() and amount.isdecimal() and len(amount) <= len(str(WINSTON_MAX))):
            raise MalformedInput("the amount is not a number of winston", field="amount")
        total = layer1.mint(_address(address), int(amount))
        return Response(str(total), media_type="application/json")

    @routes.get("/mine")
    @routes.get("/mine/{blocks}")
    def mine(blocks: int = 1) -> Response:
        """Add empty blocks. Uploads do not need them, since whatever is accepted is in a block."""
        layer1.mine(blocks, time.monotonic())
        return JSONResponse(_info(store.tip()))


def _address(address: str) -> str:
    if not is_id(address):
        raise MalformedInput(f"{address[:60]!r} is not an address", field="address", hint=ADDRESS_HINT)
    return address


def add_chunks(routes: APIRouter, layer1: Layer1, bodies: BodyBudget, turns: Turns, who: Who) -> None:
    """Add the routes of chunks. They must come before those of `/tx/{id}/{field}`."""

    @routes.post("/chunk")
    async def chunk(request: Request) -> Response:
        """Store a chunk of a transaction's data, with its proof."""
        reading = bodies.read(
            request,
            bytes_max=limits.CHUNK_BODY_BYTES_MAX,
            total_bytes_max=limits.UPLOADS_IN_FLIGHT_BYTES_MAX,
            seconds_max=limits.REQUEST_BODY_SECONDS_MAX,
        )
        async with reading as body:
            await run_in_threadpool(layer1.seed, json_of(body), who(request.scope))
        return PlainTextResponse("OK")

    @routes.get("/chunk/{offset}")
    async def chunk_at(offset: int, request: Request) -> Response:
        """Return the chunk at an offset of the weave. Its proof needs the whole upload, so addresses take
        turns."""
        asks = who(request.scope), lambda _: layer1.chunk_at(offset), new_budget(), request.is_disconnected
        return JSONResponse(await turns.run(*asks))

    @routes.get("/tx/pending")
    def pending() -> Response:
        """Return no transactions, since whatever is accepted is in a block."""
        return JSONResponse([])

    @routes.get("/tx/{item_id}/offset")
    def offset(item_id: str) -> Response:
        """Return where the data of an upload is in the weave."""
        return JSONResponse(layer1.offset(item_id))


def json_of(body: bytes) -> dict[str, Any]:
    """Return a body that is a JSON object. Raises `ClientError` or `MalformedInput` if it is not one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ClientError("the body is not a JSON object")
    return found
