"""The applications: one in which all units answer by method and path, and one for each unit alone
(design.md §7).

The hot routes come first, as plain Starlette routes, since routes are tried in order; then FastAPI's; last
`GET /{id}`, which is the scheduler unit's when the query asks for a schedule, and Arweave's otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, FastAPI
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from aoray.gateway import compute, messenger, outboxes, schedule, status, trace
from aoray.gateway.direct import Direct
from aoray.gateway.gateway import Gateway
from aoray.gateway.web import Door, application


def all_units(gateway: Gateway, arweave: APIRouter | None) -> ASGIApp:
    app = application("aoray")
    hot = [messenger.add_post(app, gateway), compute.add_result(app, gateway)]
    _add_get(app, "/", lambda request: _first_page(gateway, request))
    for routes in (status, compute, messenger, outboxes, trace, schedule):
        app.include_router(routes.router(gateway))
    _add_read(app, gateway, only_schedules=arweave is not None)
    if arweave is not None:
        app.include_router(arweave)
    return _door(app, gateway, hot, posts=True, results=True)


def messenger_unit(gateway: Gateway) -> ASGIApp:
    app = application("aoray messenger unit")
    hot = [messenger.add_post(app, gateway)]
    messenger.add_health_text(app)
    app.include_router(status.router(gateway))
    for routes in (messenger, outboxes, trace):
        app.include_router(routes.router(gateway))
    return _door(app, gateway, hot, posts=True)


def scheduler_unit(gateway: Gateway) -> ASGIApp:
    app = application("aoray scheduler unit")
    schedule.add_post(app, gateway)
    _add_get(app, "/", lambda _: schedule.address(gateway))
    app.include_router(status.router(gateway))
    app.include_router(schedule.router(gateway))
    _add_read(app, gateway, only_schedules=False)
    return Door(app, gateway.load, admit=gateway.admission.request, who=gateway.admission.address)


def compute_unit(gateway: Gateway) -> ASGIApp:
    app = application("aoray compute unit")
    hot = [compute.add_result(app, gateway)]
    _add_get(app, "/", lambda _: compute.info(gateway))
    app.include_router(status.router(gateway))
    app.include_router(compute.router(gateway))
    return _door(app, gateway, hot, results=True)


def arweave_unit(gateway: Gateway, arweave: APIRouter) -> ASGIApp:
    """Without rates: our own uploads come by this port. The same routes are where all units are."""
    app = application("aoray embedded Arweave")
    app.include_router(status.router(gateway))
    app.include_router(arweave)
    return Door(app, gateway.load, who=gateway.admission.address, own=True)


def _door(
    app: FastAPI, gateway: Gateway, hot: Sequence[Route], *, posts: bool = False, results: bool = False
) -> Door:
    door = Door(app, gateway.load, hot, gateway.admission.request, gateway.admission.address)
    door.direct = Direct(gateway, door, posts=posts, results=results)
    return door


def _add_get(app: FastAPI, path: str, answer: Callable[[Request], Response]) -> None:
    async def get(request: Request) -> Response:
        return answer(request)

    app.router.routes.append(Route(path, get, methods=["GET"]))


def _first_page(gateway: Gateway, request: Request) -> Response:
    """Tools find out who schedules a process by `GET /?process-id=`; people get an overview."""
    return schedule.address(gateway) if request.query_params else status.landing(gateway)


def _add_read(app: FastAPI, gateway: Gateway, *, only_schedules: bool) -> None:
    async def read(request: Request) -> Response:
        return await schedule.read(gateway, request.path_params["any_id"], request)

    route = ScheduleRoute if only_schedules else Route
    app.router.routes.append(route("/{any_id}", read, methods=["GET"]))


class ScheduleRoute(Route):
    """Leaves a request without a query of the scheduler unit's to the routes that follow."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE and not schedule.asks_schedule(QueryParams(scope["query_string"])):
            return Match.NONE, {}
        return match, child
