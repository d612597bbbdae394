"""The scheduler unit's routes: the order of a process as others read it (wire-contract §2).

All are answered from the log's files directly; the shards, which write them, are not asked. Pages are read
in a thread, since they may be long; single slots are not, since a thread would cost more than they do (but
see `look`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aoray import limits
from aoray.errors import ClientError, MalformedInput, UnknownMessage
from aoray.gateway import shapes
from aoray.gateway.gateway import Gateway
from aoray.gateway.messenger import receive
from aoray.gateway.web import json_response
from aoray.protocol.ids import is_id

PAGE_LIMIT_DEFAULT = 100
QUERIES = frozenset({"process-id", "from", "to", "limit", "from-nonce", "to-nonce"})
NO_END = 2**62


def add_post(app: FastAPI, gateway: Gateway) -> None:
    async def post(request: Request) -> Response:
        receipt, assigned = await receive(gateway, request)
        id = receipt.assignment_id if assigned else receipt.message_id
        return json_response({"timestamp": receipt.timestamp, "id": id})

    app.router.routes.append(Route("/", post, methods=["POST"]))


def address(gateway: Gateway) -> Response:
    return json_response({"timestamp": str(now_ms()), "address": gateway.addresses.scheduler})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def asks_schedule(query: Mapping[str, str]) -> bool:
    """Whether `GET /{id}` is for the scheduler unit, where Arweave answers the same path."""
    return not QUERIES.isdisjoint(query)


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(tags=["scheduler"])

    @routes.get("/timestamp")
    async def timestamp() -> Response:
        height = await gateway.knowledge.block_height()
        return json_response({"timestamp": str(now_ms()), "block_height": f"{height:012d}"})

    @routes.get("/processes/{process_id}")
    async def process(process_id: str) -> Response:
        await gateway.knowledge.process(process_id)
        [entry] = await gateway.look(gateway.knowledge.reader.entries, process_id, -1, 1, 0)
        return json_response(shapes.process(entry))

    @routes.get("/{process_id}/latest")
    async def latest(process_id: str) -> Response:
        await gateway.knowledge.process(process_id)
        entry = await gateway.look(gateway.knowledge.reader.latest, process_id)
        if entry is None or entry.nonce == 0:
            raise ClientError("Latest message not available", process_id=process_id)
        return json_response(shapes.node(entry))

    return routes


async def read(gateway: Gateway, any_id: str, request: Request) -> Response:
    """`GET /{id}`: a page of a process, or one slot of it by the id of its message or assignment."""
    query = request.query_params
    process_id = query.get("process-id", "")
    if not process_id or process_id == any_id:
        await gateway.knowledge.process(any_id)
        return await gateway.look.long(request, _page, gateway, any_id, query)
    if not is_id(process_id) or not is_id(any_id):
        raise MalformedInput("not an id", field="process-id" if is_id(any_id) else "id")
    entry = await gateway.look(gateway.knowledge.reader.entry, process_id, any_id)
    if entry is None:
        await gateway.knowledge.process(process_id)
        raise UnknownMessage("Message or Process not found", process_id=process_id, message_id=any_id)
    return json_response(shapes.node(entry))


def _page(gateway: Gateway, process_id: str, query: Mapping[str, str]) -> Response:
    limit = _number(query, "limit", PAGE_LIMIT_DEFAULT)
    if limit < 0:
        raise MalformedInput("limit is negative", field="limit")
    limit = max(1, min(limit, limits.PAGE_ENTRIES_MAX))
    by_nonce = "from-nonce" in query or "to-nonce" in query
    reader = gateway.knowledge.reader
    if by_nonce:
        after, to = _number(query, "from-nonce", -1), _number(query, "to-nonce", NO_END)
        entries = reader.entries(process_id, after, limit, to)
    else:
        after, to = _number(query, "from", -1), _number(query, "to", NO_END)
        entries = reader.entries_by_time(process_id, after, to, limit)
    return json_response(shapes.page(entries, more=entries.more, by_nonce=by_nonce))


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    """A number of the query; clients send `undefined` for what they leave out."""
    text = query.get(name, "")
    if text in ("", "undefined", "null"):
        return default
    try:
        number = int(text)
    except ValueError as error:
        raise MalformedInput(f"{name} {text[:40]!r} is not a number", field=name) from error
    return max(-1, min(number, NO_END))
