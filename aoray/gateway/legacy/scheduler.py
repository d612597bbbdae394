"""The scheduler unit's routes: the order of a process as others read it (docs/wire-contract.md §2).

All are answered from the log's files directly; the shards, which write them, are not asked. Pages are read
in a thread, since they may be long; single slots are not, since a thread would cost more than they do (but
see `store_executor`).
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from aoray import limits
from aoray.errors import ClientError, MalformedInput, UnknownMessage
from aoray.gateway.gateway import Gateway
from aoray.gateway.legacy import schedule_json
from aoray.gateway.legacy.messenger import receive
from aoray.protocol.ids import ID_HINT, is_id
from aoray.util.clock import clock_ms
from aoray.web.application import json_response

PAGE_LIMIT_DEFAULT = 100
QUERIES = frozenset({"process-id", "from", "to", "limit", "from-nonce", "to-nonce"})
NO_END = 2**62
NUMBER_HINT = "Name nonces or milliseconds in digits; -1 is before the first."


def post_route(gateway: Gateway) -> Route:
    """Return the route of the scheduler unit's `POST /`."""

    async def post(request: Request) -> Response:
        receipt, assigned = await receive(gateway, request)
        id = receipt.assignment_id if assigned else receipt.message_id
        return json_response({"timestamp": receipt.timestamp, "id": id})

    return Route("/", post, methods=["POST"])


def read_route(gateway: Gateway, alone: bool) -> Route:
    """Return the route of `GET /{id}`. Unless it is alone, what asks for no schedule is for the routes
    that follow."""

    async def answer(request: Request) -> Response:
        return await read(gateway, request.path_params["any_id"], request)

    return (Route if alone else ScheduleRoute)("/{any_id}", answer, methods=["GET"])


class ScheduleRoute(Route):
    """A route that leaves requests without a query of the scheduler unit to the routes that follow."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as `Route` does, and only requests whose query is the scheduler unit's."""
        match, child = super().matches(scope)
        if match is not Match.NONE and not asks_schedule(QueryParams(scope["query_string"])):
            return Match.NONE, {}
        return match, child


def address(gateway: Gateway) -> Response:
    """Return the response of the scheduler unit's `GET /`: its address and the time in ms."""
    return json_response({"timestamp": str(clock_ms()), "address": gateway.addresses.scheduler})


def asks_schedule(query: Mapping[str, str]) -> bool:
    """Return whether `GET /{id}` is for the scheduler unit, where Arweave answers the same path."""
    return not QUERIES.isdisjoint(query)


def router(gateway: Gateway) -> APIRouter:
    """Return the routes of the scheduler unit (docs/wire-contract.md §2) except `POST /` and `GET /{id}`."""
    routes = APIRouter(tags=["scheduler"])

    @routes.get("/timestamp")
    async def timestamp() -> Response:
        height = await gateway.lookups.block_height()
        return json_response({"timestamp": str(clock_ms()), "block_height": f"{height:012d}"})

    @routes.get("/processes/{process_id}")
    async def process(process_id: str) -> Response:
        await gateway.lookups.process(process_id)
        [entry] = await gateway.store_executor(gateway.lookups.reader.entries, process_id, -1, 1, 0)
        return json_response(schedule_json.process(entry))

    @routes.get("/{process_id}/latest")
    async def latest(process_id: str) -> Response:
        await gateway.lookups.process(process_id)
        entry = await gateway.store_executor(gateway.lookups.reader.latest, process_id)
        if entry is None or entry.nonce == 0:
            raise ClientError("Latest message not available", process_id=process_id)
        return json_response(schedule_json.node(entry))

    return routes


async def read(gateway: Gateway, any_id: str, request: Request) -> Response:
    """Answer `GET /{id}`: a page of a process, or one slot of it by the id of its message or assignment."""
    query = request.query_params
    process_id = query.get("process-id", "")
    if not process_id or process_id == any_id:
        await gateway.lookups.process(any_id)
        return await gateway.store_executor.long(request, _page, gateway, any_id, query)
    if not is_id(process_id) or not is_id(any_id):
        raise MalformedInput(
            f"{(process_id if is_id(any_id) else any_id)[:60]!r} is not an id",
            field="process-id" if is_id(any_id) else "id",
            hint=ID_HINT,
        )
    entry = await gateway.store_executor(gateway.lookups.reader.entry, process_id, any_id)
    if entry is None:
        await gateway.lookups.process(process_id)
        raise UnknownMessage("Message or Process not found", process_id=process_id, message_id=any_id)
    return json_response(schedule_json.node(entry))


def _page(gateway: Gateway, process_id: str, query: Mapping[str, str]) -> Response:
    limit = _number(query, "limit", PAGE_LIMIT_DEFAULT)
    if limit < 0:
        raise MalformedInput(f"limit is {limit}", field="limit", hint=f"1 to {limits.PAGE_ENTRIES_MAX}.")
    limit = max(1, min(limit, limits.PAGE_ENTRIES_MAX))
    by_nonce = "from-nonce" in query or "to-nonce" in query
    reader = gateway.lookups.reader
    if by_nonce:
        after, to = _number(query, "from-nonce", -1), _number(query, "to-nonce", NO_END)
        entries = reader.entries(process_id, after, limit, to)
    else:
        after, to = _number(query, "from", -1), _number(query, "to", NO_END)
        entries = reader.entries_by_time(process_id, after, to, limit)
    return json_response(schedule_json.page(entries, more=entries.more, by_nonce=by_nonce))


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    """A number of the query; clients send `undefined` for what they leave out."""
    text = query.get(name, "")
    if text in ("", "undefined", "null"):
        return default
    try:
        number = int(text)
    except ValueError as error:
        raise MalformedInput(
            f"{name} is {text[:40]!r}, not a number", field=name, hint=NUMBER_HINT
        ) from error
    return max(-1, min(number, NO_END))
