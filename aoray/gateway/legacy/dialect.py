"""The dialect of legacynet: a messenger, a scheduler and a compute unit (docs/wire-contract.md §1 to §3).

All three answer on the computer's port by method and path; each is alone on a port of its own, too: AO's
clients are told where they are by three URLs.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aoray.gateway.dialect import Dialect, Unit
from aoray.gateway.gateway import Gateway
from aoray.gateway.legacy import compute, messenger, openapi, scheduler
from aoray.gateway.legacy.fast_path import LegacyFastPath
from aoray.web.application import AdmissionMiddleware

READ_COSTS = {
    "state": 100,
    "results": 1,
    "cron": 1,
    "monitor": 1,  # these two are calls of the shard, in the thread that orders messages
    "decision": 1,
}


def _all_hot(gateway: Gateway) -> list[Route]:
    return [messenger.post_route(gateway), compute.result_route(gateway)]


def _who_schedules(gateway: Gateway, request: Request) -> Response | None:
    """Tools find out who schedules a process by `GET /?process-id=`; people get an overview."""
    return scheduler.address(gateway) if request.query_params else None


def _all_fast(gateway: Gateway, admission: AdmissionMiddleware) -> LegacyFastPath:
    return LegacyFastPath(gateway, admission, posts=True, results=True)


def _last(gateway: Gateway, alone: bool) -> list[Route]:
    return [scheduler.read_route(gateway, alone)]


MESSENGER = Unit(
    title="aoray messenger unit",
    hot=lambda gateway: [messenger.post_route(gateway)],
    first_page=lambda gateway, request: PlainTextResponse("ao messenger unit"),
    routers=(messenger.router,),
    fast_path=lambda gateway, admission: LegacyFastPath(gateway, admission, posts=True, results=False),
    shows_outboxes=True,
)
SCHEDULER = Unit(
    title="aoray scheduler unit",
    hot=lambda gateway: [scheduler.post_route(gateway)],
    first_page=lambda gateway, request: scheduler.address(gateway),
    routers=(scheduler.router,),
    last=_last,
)
COMPUTE = Unit(
    title="aoray compute unit",
    hot=lambda gateway: [compute.result_route(gateway)],
    first_page=lambda gateway, request: compute.info(gateway),
    routers=(compute.router,),
    fast_path=lambda gateway, admission: LegacyFastPath(gateway, admission, posts=False, results=True),
)
DIALECT = Dialect(
    name="legacy",
    everywhere=Unit(
        hot=_all_hot,
        first_page=_who_schedules,
        routers=(compute.router, messenger.router, scheduler.router),
        last=_last,
        fast_path=_all_fast,
    ),
    alone={2: MESSENGER, 3: SCHEDULER, 4: COMPUTE},
    table=openapi.TABLE,
    read_costs=READ_COSTS,
)
