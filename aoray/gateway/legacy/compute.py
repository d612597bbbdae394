"""The compute unit's routes: results, pages of results, dry runs, memory (docs/wire-contract.md §3).

`GET /result` is a hot route: a plain endpoint over dictionaries, that serves a result's bytes as they were
stored. It blocks until the result is there, since AO's clients take any JSON that they get for the result;
after `limits.RESULT_WAIT_MS_MAX` it answers 202 with how far the process is. An id that is in no log is 404
at once. One by a nonce may be asked for before there is such a slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aoray import limits
from aoray.contracts.process_actor import ProcessActorCaller
from aoray.errors import AorayError, MalformedInput, Overloaded, UnknownMessage
from aoray.gateway.core.pending_results import Stored
from aoray.gateway.core.pressure import Key
from aoray.gateway.gateway import Gateway
from aoray.gateway.legacy import cursors, dry_runs
from aoray.protocol.ids import is_id
from aoray.storage.records import ResultRow, Sort
from aoray.storage.results import nonce_in
from aoray.util.clock import clock_ms
from aoray.web.application import body_of_request, json_response
from aoray.web.crowd import WHO

PAGE_LIMIT_DEFAULT = 25
CRON_LIMIT_DEFAULT = 500
PAGE_KEYS = ("Messages", "Assignments", "Spawns", "Output")
JSON = "application/json"
BODY_HINT = "Send the message as a JSON object, with `Tags`, `Data`, `Owner` and `Target`."


def result_route(gateway: Gateway) -> Route:
    """Return the route of `GET /result/{id}`."""

    async def result(request: Request) -> Response:
        any_id = request.path_params["message_id"]
        process_id = request.query_params.get("process-id", "")
        fresh = gateway.pending_results.fresh.get((process_id, any_id))
        found = fresh or await _result(gateway, request, process_id, any_id)
        if isinstance(found, Response):
            return found
        gateway.results_served_total += 1
        return Response(found, media_type=JSON)

    return Route("/result/{message_id}", result, methods=["GET"])


async def _result(gateway: Gateway, request: Request, process_id: str, any_id: str) -> bytes | Response:
    if not is_id(process_id):
        raise MalformedInput("'processId': Required.", field="process-id", hint="The id of the process.")
    wait_ms = _wait_ms(request.query_params.get("wait", ""))
    if (nonce := nonce_in(any_id)) is not None:
        who = request.scope[WHO]
        return await _result_at(gateway, process_id, nonce, wait_ms, request.is_disconnected, who)
    if not is_id(any_id):
        raise MalformedInput(
            f"{any_id[:60]!r} is not an id",
            field="message",
            hint="Name the id of a message or assignment, or a nonce.",
        )
    return await find_result(
        gateway, process_id, any_id, wait_ms, request.is_disconnected, request.scope[WHO]
    )


async def find_result(
    gateway: Gateway,
    process_id: str,
    any_id: str,
    wait_ms: int,
    is_gone: Callable[[], Awaitable[bool]],
    who: str,
    *,
    overdue: bool = False,
) -> bytes | Response:
    """Return a result from the store, or as soon as it is there; after `wait_ms`, and soon for an address
    (`who`) that waits for too many, 202 with how far the process is.

    `overdue`: it was waited for already, and did not come unasked.
    """
    stored = functools.partial(gateway.store_executor, _stored, gateway, process_id, any_id)
    found = await stored()
    if found is not None:
        gateway.pending_results.backpressure.forget(
            (process_id, any_id)
        )  # a caller that asks again need not wait for it first
        return found
    message_id, nonce = await gateway.store_executor(_slot, gateway, process_id, any_id)
    gateway.halted.check(process_id)
    key = (process_id, message_id)
    crowd = gateway.in_flight.crowd
    with crowd.held(crowd.waits, who) as roomy:
        wait_s = _wait_s(wait_ms, roomy=roomy)
        found = await gateway.pending_results.result(key, stored, wait_s, is_gone, overdue=overdue)
    if found is not None:
        gateway.pending_results.backpressure.forget(key)
    return found if found is not None else await _in_progress(gateway, process_id, nonce)


def _wait_s(wait_ms: int, *, roomy: bool) -> float:
    return wait_ms / 1000 if roomy else min(wait_ms / 1000, limits.WAIT_CROWDED_SECONDS)


async def _result_at(
    gateway: Gateway,
    process_id: str,
    nonce: int,
    wait_ms: int,
    is_gone: Callable[[], Awaitable[bool]],
    who: str,
) -> bytes | Response:
    """The result of a slot that need not be there yet: who follows a process waits for the next one so."""
    await gateway.lookups.process(process_id)

    async def stored() -> bytes | None:
        row = await gateway.store_executor(gateway.results.at, process_id, nonce)
        return row.result if row else None

    found = await stored()
    if found is None:
        gateway.halted.check(process_id)
        last = await gateway.store_executor(gateway.results.last_nonce, process_id)
        if nonce > last + limits.SLOTS_AHEAD_MAX:
            raise UnknownMessage(
                f"slot {nonce} of process {process_id} is far ahead",
                hint=f"The last slot with a result is {last}.",
                process_id=process_id,
                nonce=nonce,
                last=last,
            )
        found = await _coming(gateway, (process_id, str(nonce)), stored, wait_ms, is_gone, who)
    return found if found is not None else await _in_progress(gateway, process_id, nonce)


async def _coming(
    gateway: Gateway,
    key: Key,
    stored: Stored,
    wait_ms: int,
    is_gone: Callable[[], Awaitable[bool]],
    who: str,
) -> bytes | None:
    """Those who wait so are bounded: requests of people who compute must find room beside them."""
    if not wait_ms:
        return None
    crowd = gateway.in_flight.crowd
    with crowd.held(crowd.slots, who) as roomy:
        if roomy:
            return await gateway.pending_results.result(key, stored, wait_ms / 1000, is_gone)
        await asyncio.sleep(_wait_s(wait_ms, roomy=False))
        return await stored()


def _stored(gateway: Gateway, process_id: str, any_id: str) -> bytes | None:
    receipt = gateway.pending_results.receipts.get((process_id, any_id))
    results = gateway.results
    row = results.at(process_id, receipt.nonce) if receipt else results.get(process_id, any_id)
    return row.result if row else None


def _slot(gateway: Gateway, process_id: str, any_id: str) -> tuple[str, int]:
    """The message id and the nonce of what was asked for."""
    receipt = gateway.pending_results.receipts.get((process_id, any_id))
    if receipt is not None:
        return receipt.message_id, receipt.nonce
    entry = gateway.lookups.reader.entry(process_id, any_id)
    if entry is None:
        gateway.lookups.read_process(process_id)
        raise UnknownMessage(
            f"no message {any_id} in the log of {process_id}", process_id=process_id, message_id=any_id
        )
    return entry.message_id, entry.nonce


def _wait_ms(text: str) -> int:
    if not text:
        return limits.RESULT_WAIT_MS_MAX
    if not text.isdecimal() or len(text) > 9:
        raise MalformedInput(
            f"wait is {text[:40]!r}, not a number of milliseconds", field="wait", hint="0 answers at once."
        )
    return min(int(text), limits.RESULT_WAIT_MS_MAX)


async def _in_progress(gateway: Gateway, process_id: str, nonce: int) -> Response:
    progress: dict[str, Any] = {
        "message": f"Evaluation of process {process_id} is in progress.",
        "process": process_id,
        "current": await gateway.store_executor(gateway.results.last_nonce, process_id),
        "target": nonce,
    }
    if long := await _long(gateway, process_id):
        progress["evaluating"] = long
    if waits := await gateway.halted.waits(process_id):
        progress |= {"waiting": waits, "message": f"Process {process_id} waits for the machine."}
    response = json_response(progress, 202)
    response.headers["retry-after"] = "1"
    return response


async def _long(gateway: Gateway, process_id: str) -> dict[str, Any] | None:
    """How far the message is that the process's actor evaluates in slices, if it does and says so soon."""
    actor = gateway.locations.get(process_id)
    if not actor:
        return None
    with contextlib.suppress(TimeoutError, AorayError):
        async with asyncio.timeout(limits.STATS_SECONDS_MAX):
            return await ProcessActorCaller(gateway.call, actor).progress(process_id)
    return None


def info(gateway: Gateway) -> Response:
    """Return the response of the compute unit's `GET /`: its address and the time in ms."""
    return json_response({"address": gateway.addresses.compute, "timestamp": clock_ms()})


def router(gateway: Gateway) -> APIRouter:
    """Return the routes of the compute unit (docs/wire-contract.md §3), those of the fast path excepted."""
    routes = APIRouter(tags=["compute"])

    @routes.get("/results/{process_id}")
    async def results(process_id: str, request: Request) -> Response:
        await gateway.lookups.process(process_id)
        return await gateway.store_executor.long(request, _results, gateway, process_id, request.query_params)

    @routes.get("/cron/{process_id}")
    async def cron(process_id: str, request: Request) -> Response:
        await gateway.lookups.process(process_id)
        return await gateway.store_executor.long(request, _ticks, gateway, process_id, request.query_params)

    @routes.post("/dry-run")
    async def dry_run(request: Request) -> Response:
        process_id = request.query_params.get("process-id", "")
        if not process_id:
            raise MalformedInput("'processId': Required.", field="process-id", hint="The id of the process.")
        await gateway.lookups.process(process_id)
        async with body_of_request(request, gateway.in_flight) as raw:
            message = _json_object(raw)
            asks = process_id, message, request.scope[WHO], request.is_disconnected
            found = await dry_runs.dry_run(gateway, *asks)  # its body counts for as long
        return json_response(found)

    @routes.get("/state/{process_id}")
    async def state(process_id: str) -> Response:
        await gateway.lookups.process(process_id)
        async with _one_more(gateway, "memories", limits.MEMORIES_IN_FLIGHT_MAX):
            memory, nonce, timestamp, height = await gateway.locations.at_actor(
                process_id, lambda actor: actor.memory(process_id)
            )
        headers = {
            "last-timestamp": str(timestamp),
            "last-ordinate": str(nonce),
            "last-block-height": str(height),
        }
        return Response(memory, media_type="application/octet-stream", headers=headers)

    return routes


def _results(gateway: Gateway, process_id: str, query: Mapping[str, str]) -> Response:
    sort = cursors.sort_of(query.get("sort") or "ASC")
    after, to = _places(query)
    for place in (to, after):  # the sort inside `from` wins over that inside `to`, and both over the query's
        sort = (place and place.sort) or sort
    limit = _limit(query.get("limit", ""), PAGE_LIMIT_DEFAULT)
    return _page(gateway, process_id, after, to, sort, limit)


def _ticks(gateway: Gateway, process_id: str, query: Mapping[str, str]) -> Response:
    """Results of ticks alone, always rising. What the ticks sent was pushed like any other outbox."""
    limit = _limit(query.get("limit", ""), CRON_LIMIT_DEFAULT)
    return _page(gateway, process_id, *_places(query), "ASC", limit, ticks=True)


def _places(query: Mapping[str, str]) -> tuple[cursors.Position | None, cursors.Position | None]:
    """`from` and `to`."""
    after = cursors.parse_cursor(query["from"], "from") if query.get("from") else None
    return after, cursors.parse_cursor(query["to"], "to") if query.get("to") else None


def _page(
    gateway: Gateway,
    process_id: str,
    after: cursors.Position | None,
    to: cursors.Position | None,
    sort: Sort,
    limit: int,
    *,
    ticks: bool = False,
) -> Response:
    rows, more = gateway.results.page(
        process_id,
        after=after.timestamp if after else None,
        to=to.timestamp if to else None,
        sort=sort,
        limit=limit,
        ticks=ticks,
    )
    edges = [_edge(row, sort) for row in rows]
    return json_response({"pageInfo": {"hasNextPage": more}, "edges": edges})


def _edge(row: ResultRow, sort: Sort) -> dict[str, Any]:
    result = orjson.loads(row.result)
    node = {key: result.get(key) for key in PAGE_KEYS}
    return {"node": node, "cursor": cursors.cursor(row.timestamp, row.nonce, sort)}


def _limit(text: str, default: int) -> int:
    if text in ("", "undefined", "null"):
        return default
    if not text.isdecimal() or len(text) > 9:
        raise MalformedInput(
            f"limit is {text[:40]!r}, not a number", field="limit", hint=f"1 to {limits.PAGE_ENTRIES_MAX}."
        )
    return max(1, min(int(text), limits.PAGE_ENTRIES_MAX))


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the body is not JSON: {error}", field="body", hint=BODY_HINT) from error
    if not isinstance(found, dict):
        raise MalformedInput("the body is not a JSON object", field="body", hint=BODY_HINT)
    return found


@asynccontextmanager
async def _one_more(gateway: Gateway, what: str, count_max: int) -> AsyncIterator[None]:
    """One more of these under way, unless there are too many."""
    if gateway.under_way[what] >= count_max:
        raise Overloaded(f"too many {what} are under way", hint="Try again.", retry_after_s=1)
    gateway.under_way[what] += 1
    try:
        yield
    finally:
        gateway.under_way[what] -= 1
