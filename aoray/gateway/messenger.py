"""The messenger unit's routes: items and assignments in, monitors, pushing again (wire-contract §1).

`POST /` is a hot route, so it is a plain Starlette endpoint. It answers 202 once the scheduler has the item
on disk; evaluation and the push of what it sends go on behind.
"""

from __future__ import annotations

import orjson
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aoray import limits
from aoray.errors import ClientError, MalformedInput
from aoray.gateway.gateway import Gateway
from aoray.gateway.web import body_of_request, json_response
from aoray.protocol.decisions import decision_of
from aoray.protocol.items import parse, verify
from aoray.protocol.tags import first
from aoray.scheduler.rules import Receipt

METHODS = {"Monitor": "POST", "Unmonitor": "DELETE"}  # by the Action of an item that says which it is for


async def receive(gateway: Gateway, request: Request) -> tuple[Receipt, bool]:
    """What any `POST /` asks for: an item or an assignment to order. Says whether it was an assignment."""
    query = request.query_params if request.scope["query_string"] else {}
    process_id, message_id = query.get("process-id", ""), query.get("assign", "")
    if process_id and message_id:
        excluded = tuple(name.strip() for name in query.get("exclude", "").split(",") if name.strip())
        return await gateway.ingress.assign(process_id, message_id, excluded), True
    if process_id or message_id:
        raise MalformedInput(
            "You must set both process-id and assign to send an assignment, not just one", field="query"
        )
    async with body_of_request(request, gateway.load) as raw:
        return await gateway.ingress.accept(raw), False


def processing(what: str, id: str) -> bytes:
    """The answer to what is ordered."""
    return orjson.dumps({"message": f"Processing {what}", "id": id})


def add_post(app: FastAPI, gateway: Gateway) -> Route:
    async def post(request: Request) -> Response:
        receipt, assigned = await receive(gateway, request)
        answer = (
            processing("Assignment", receipt.assignment_id)
            if assigned
            else processing("DataItem", receipt.message_id)
        )
        return Response(answer, 202, media_type="application/json")

    route = Route("/", post, methods=["POST"])
    app.router.routes.append(route)
    return route


def add_health_text(app: FastAPI) -> None:
    async def greet(request: Request) -> Response:
        return PlainTextResponse("ao messenger unit")

    app.router.routes.append(Route("/", greet, methods=["GET"]))


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(tags=["messenger"])

    @routes.post("/monitor/{process_id}")
    async def monitor(process_id: str, request: Request) -> Response:
        order = await _order(gateway, process_id, request)
        await gateway.places.at_shard(process_id, "monitor", process_id, order)
        return PlainTextResponse("Monitoring process")

    @routes.delete("/monitor/{process_id}")
    async def unmonitor(process_id: str, request: Request) -> Response:
        order = await _order(gateway, process_id, request)
        await gateway.places.at_shard(process_id, "unmonitor", process_id, order)
        return PlainTextResponse("Process deleted")

    @routes.get("/monitor/{process_id}")
    async def monitored(process_id: str) -> Response:
        await gateway.knowledge.process(process_id)
        return json_response(await gateway.places.at_shard(process_id, "monitored", process_id))

    @routes.post("/decision/{process_id}")
    async def decide(process_id: str, request: Request) -> Response:
        await gateway.knowledge.process(process_id)
        async with body_of_request(request, gateway.load) as raw:
            decided = decision_of(raw, gateway.addresses.scheduler)
        if decided.process_id != process_id:
            raise MalformedInput("the decision is about another process than the URL's", field="tags.Process")
        return json_response(await gateway.places.at_shard(process_id, "decide", raw))

    @routes.get("/decision/{process_id}")
    async def decided(process_id: str) -> Response:
        await gateway.knowledge.process(process_id)
        return json_response(await gateway.places.at_shard(process_id, "decided", process_id))

    @routes.post("/push/{any_id}/{number}")
    async def push(any_id: str, number: int, request: Request) -> Response:
        process_id = request.query_params.get("process-id", "")
        await gateway.pusher.push_again(process_id, any_id, number)
        return json_response({"message": "Processing Message Result", "id": any_id}, 202)

    return routes


async def _order(gateway: Gateway, process_id: str, request: Request) -> str:
    """The id of the item in a monitor request, if it is one for that process by the wallet that owns it.

    Ticks cost something, and to end them as well. Of a process that another spawned, that is the wallet at
    the end of the chain of spawns: the messenger's key, which signed the spawn, gives no orders. A message in
    a log is no order: everybody has those, and they say something else. Everybody who saw an order has it
    too: an item is good for one start or stop (scheduler/crontab.py), and if its tag Action says which of the
    two it is, for that.
    """
    owner = await _owner(gateway, process_id)
    async with body_of_request(request, gateway.load) as raw:
        if not raw:
            raise MalformedInput("Signed data item is required", field="body")
        item = parse(raw)
        verify(item)
    if item.target_id != process_id:
        raise MalformedInput("the item's target is another process than the URL's", field="target")
    if item.address != owner:
        raise ClientError(
            f"only its owner {owner} starts and stops the crons of {process_id}", process_id=process_id
        )
    said = first(item.tags, "Action", "")
    if said in METHODS and METHODS[said] != request.method:
        raise MalformedInput(
            f"the item says {said}, and the request is a {request.method}", field="tags.Action"
        )
    if await gateway.look(gateway.knowledge.reader.find_message, item.id) is not None:
        raise ClientError(
            f"{item.id} is a message that was sent",
            process_id=process_id,
            hint="Sign an item for this alone.",
        )
    return item.id


async def _owner(gateway: Gateway, process_id: str) -> str:
    """The wallet that a process belongs to."""
    await gateway.knowledge.process(process_id)
    owner = await gateway.wallets.of(process_id)
    if owner == gateway.addresses.authority:
        raise ClientError(
            f"nobody starts and stops the crons of {process_id}: its chain of spawns is longer than"
            f" {limits.SPAWN_CHAIN_MAX}, or does not end at a wallet",
            process_id=process_id,
        )
    return owner
