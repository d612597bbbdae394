"""The applications: one in which all dialects answer by method and path, and one for each unit of them alone.

Hot routes come first, as plain Starlette routes, since routes are tried in order; then the routers: how the
gateway is, what it sends, and those of each dialect in the order of the list; then what a dialect has last,
and the embedded Arweave. All of an application is behind one `AdmissionMiddleware`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from aoray.arweave.local import openapi as arweave_openapi
from aoray.arweave.own_way import own_word
from aoray.gateway.core.admission import READ_COSTS
from aoray.gateway.dialect import Dialect, Unit
from aoray.gateway.gateway import Gateway
from aoray.gateway.legacy.dialect import DIALECT as LEGACY
from aoray.gateway.observability import openapi, outbox, status, trace
from aoray.web.application import AdmissionMiddleware, application
from aoray.web.fast_path import first_of
from aoray.web.openapi import RouteTable, merged

DIALECTS: tuple[Dialect, ...] = (LEGACY,)
"""Those that there are; where two have the same route, the first one answers."""


def applications(
    gateway: Gateway, arweave: APIRouter | None, dialects: Sequence[Dialect] = DIALECTS
) -> dict[int, ASGIApp]:
    """Return the application of each port."""
    port = gateway.settings.port
    made: dict[int, ASGIApp] = {port: all_units(gateway, arweave, dialects)}
    if arweave is not None:
        made[port + 1] = arweave_unit(gateway, arweave)
    for dialect in dialects:
        made |= {port + at: unit_alone(gateway, dialect, unit) for at, unit in dialect.alone.items()}
    return made


def all_units(gateway: Gateway, arweave: APIRouter | None, dialects: Sequence[Dialect] = DIALECTS) -> ASGIApp:
    """Return the application in which all dialects answer, and Arweave."""
    units = [dialect.everywhere for dialect in dialects]
    app = application("aoray", table(dialects))
    hot = _add_routes(app, gateway, units, arweave, shows_outboxes=True)
    return _admitted(app, gateway, hot, dialects, units)


def unit_alone(gateway: Gateway, dialect: Dialect, unit: Unit) -> ASGIApp:
    """Return the application in which one unit of a dialect answers alone."""
    app = application(unit.title, table([dialect]))
    hot = _add_routes(app, gateway, [unit], None, shows_outboxes=unit.shows_outboxes)
    return _admitted(app, gateway, hot, [dialect], [unit])


def arweave_unit(gateway: Gateway, arweave: APIRouter) -> ASGIApp:
    """Return the application of the embedded Arweave's own port, by which this computer uploads. The same
    routes are where all units are."""
    app = application("aoray embedded Arweave", table([]))
    app.include_router(status.router(gateway))
    app.include_router(arweave)
    admission, word = gateway.admission, own_word(gateway.settings)
    return AdmissionMiddleware(
        app, gateway.in_flight, admit=admission.request, who=admission.address_by_proxies, own_word=word
    )


def table(dialects: Sequence[Dialect]) -> RouteTable:
    """Return the descriptions of the routes of these dialects, of the gateway and of Arweave."""
    return merged([*(dialect.table for dialect in dialects), openapi.TABLE, arweave_openapi.TABLE])


def _add_routes(
    app: FastAPI,
    gateway: Gateway,
    units: Sequence[Unit],
    arweave: APIRouter | None,
    *,
    shows_outboxes: bool,
) -> list[Route]:
    """Add all routes of an application; gives those that are hot."""

    async def first_page(request: Request) -> Response:
        found = (unit.first_page(gateway, request) for unit in units)
        return next((each for each in found if each is not None), None) or status.landing(gateway)

    hot = [route for unit in units for route in unit.hot(gateway)]
    app.router.routes.extend([*hot, Route("/", first_page, methods=["GET"])])
    own = (status.router, outbox.router, trace.router) if shows_outboxes else (status.router,)
    for router in (*own, *(each for unit in units for each in unit.routers)):
        app.include_router(router(gateway))
    alone = arweave is None and len(units) == 1
    app.router.routes.extend(route for unit in units for route in unit.last(gateway, alone))
    if arweave is not None:
        app.include_router(arweave)
    return hot


def _admitted(
    app: FastAPI, gateway: Gateway, hot: Sequence[Route], dialects: Sequence[Dialect], units: Sequence[Unit]
) -> AdmissionMiddleware:
    costs = dict(READ_COSTS)
    for dialect in reversed(dialects):
        costs |= dialect.read_costs
    admit = partial(gateway.admission.request, read_costs=costs)
    admitted = AdmissionMiddleware(app, gateway.in_flight, hot, admit, gateway.admission.address_by_proxies)
    admitted.fast_path = first_of([unit.fast_path(gateway, admitted) for unit in units if unit.fast_path])
    return admitted
