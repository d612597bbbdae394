"""The messenger unit's routes: items and assignments in, monitors, pushing again (docs/wire-contract.md §1).

`POST /` is a hot route, so it is a plain Starlette endpoint. It answers 202 once the scheduler has the item
on disk; evaluation and the push of what it sends go on behind.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aoray import limits
from aoray.contracts.shard import Receipt
from aoray.errors import ClientError, MalformedInput
from aoray.gateway.gateway import Gateway
from aoray.protocol.decisions import decision_of
from aoray.protocol.signed import ANS104, parse, verify
from aoray.protocol.tags import first
from aoray.web.application import body_of_request, json_response
from aoray.web.shares import WHO

ORDER_HINT = (
    "Sign a data item for this request alone: its target is the process, its Action Monitor or Unmonitor."
)
# The answer to what is ordered: what it was, and the id of the message or the assignment.
PROCESSING = b'{"message":"Processing %b","id":"%b"}'
METHODS = {"Monitor": "POST", "Unmonitor": "DELETE"}  # by the Action of an item that says which it is for


async def receive(gateway: Gateway, request: Request) -> tuple[Receipt, bool]:
    """Order what a `POST /` asks for: an item or an assignment. Says whether it was an assignment."""
    query = request.query_params if request.scope["query_string"] else {}
    process_id, message_id = query.get("process-id", ""), query.get("assign", "")
    if process_id and message_id:
        excluded = tuple(name.strip() for name in query.get("exclude", "").split(",") if name.strip())
        who = str(request.scope.get(WHO, ""))
        return await gateway.ingress.assign(process_id, message_id, excluded, who), True
    if process_id or message_id:
        raise MalformedInput(
            "You must set both process-id and assign to send an assignment, not just one",
            field="query",
            hint="To send a message, leave both out and post a signed data item.",
        )
    async with body_of_request(request, gateway.in_flight) as raw:
        return await gateway.ingress.take(raw), False


def post_route(gateway: Gateway) -> Route:
    """Return the route of `POST /`."""

    async def post(request: Request) -> Response:
        receipt, assigned = await receive(gateway, request)
        ordered = (
            (b"Assignment", receipt.assignment_id.encode())
            if assigned
            else (b"DataItem", receipt.message_id.encode())
        )
        return Response(PROCESSING % ordered, 202, media_type="application/json")

    return Route("/", post, methods=["POST"])


def router(gateway: Gateway) -> APIRouter:
    """Return the routes of the messenger (docs/wire-contract.md §4) except `POST /`."""
    routes = APIRouter(tags=["messenger"])

    @routes.post("/monitor/{process_id}")
    async def monitor(process_id: str, request: Request) -> Response:
        order = await _order(gateway, process_id, request)
        await gateway.shards.of(process_id).monitor(process_id, order)
        return PlainTextResponse("Monitoring process")

    @routes.delete("/monitor/{process_id}")
    async def unmonitor(process_id: str, request: Request) -> Response:
        order = await _order(gateway, process_id, request)
        await gateway.shards.of(process_id).unmonitor(process_id, order)
        return PlainTextResponse("Process deleted")

    @routes.get("/monitor/{process_id}")
    async def monitored(process_id: str) -> Response:
        await gateway.lookups.process(process_id)
        return json_response(await gateway.shards.of(process_id).monitored(process_id))

    @routes.post("/decision/{process_id}")
    async def decide(process_id: str, request: Request) -> Response:
        await gateway.lookups.process(process_id)
        async with body_of_request(request, gateway.in_flight) as raw:
            decided = decision_of(raw, gateway.addresses.scheduler)
        if decided.process_id != process_id:
            raise MalformedInput(
                "the decision names another process than the URL",
                field="tags.Process",
                hint="Post it to /decision/ and the id of its process.",
            )
        return json_response(await gateway.shards.of(process_id).decide(raw))

    @routes.get("/decision/{process_id}")
    async def decided(process_id: str) -> Response:
        await gateway.lookups.process(process_id)
        return json_response(await gateway.shards.of(process_id).decided(process_id))

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
    a log is not an order: everybody has those, and they say something else. Everybody who saw an order has it
    too: an item is good for one start or stop (storage/crontab.py), and if its tag Action says which of the
    two it is, for that.
    """
    owner = await _owner(gateway, process_id)
    async with body_of_request(request, gateway.in_flight) as raw:
        if not raw:
            raise MalformedInput("Signed data item is required", field="body", hint=ORDER_HINT)
        item = parse(raw, ANS104)
        verify(item)
    if item.target_id != process_id:
        raise MalformedInput("the item has another target than the URL", field="target", hint=ORDER_HINT)
    if item.address != owner:
        raise ClientError(
            f"only the owner {owner} can start and stop the crons of {process_id}", process_id=process_id
        )
    said = first(item.tags, "Action", "")
    if said in METHODS and METHODS[said] != request.method:
        raise MalformedInput(
            f"the item has the Action {said}, and the request is a {request.method}",
            field="tags.Action",
            hint=ORDER_HINT,
        )
    if await gateway.store_executor(gateway.lookups.reader.find_message, item.id) is not None:
        raise ClientError(
            f"message {item.id} was sent before",
            process_id=process_id,
            hint=ORDER_HINT,
        )
    return item.id


async def _owner(gateway: Gateway, process_id: str) -> str:
    """The wallet that a process belongs to."""
    await gateway.lookups.process(process_id)
    owner = await gateway.wallets.of(process_id)
    if owner == gateway.addresses.authority:
        raise ClientError(
            f"nobody can start and stop the crons of {process_id}: its chain of spawns is longer than"
            f" {limits.SPAWN_CHAIN_MAX}, or does not end at a wallet",
            process_id=process_id,
        )
    return owner
