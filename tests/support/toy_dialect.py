"""A dialect as a stranger would add one: two routes, and a fast path for a third kind of request."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aoray.errors import AorayError, MalformedInput
from aoray.gateway.dialect import Dialect, Unit
from aoray.gateway.gateway import Gateway
from aoray.web.application import body_of_request, json_response
from aoray.web.connection import FastRequest, Handler
from aoray.web.fast_path import FastPathBase
from aoray.web.openapi import NUMBER, OCTETS, STRING, RouteSpec, an_object, ok


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(tags=["toy"])

    @routes.get("/toy/{name}")
    async def greet(name: str) -> Response:
        if name == "nobody":
            raise MalformedInput("nobody can't be greeted", field="name")
        if name == "bug":
            raise ZeroDivisionError(name)
        return json_response({"hello": name})

    @routes.post("/toy")
    async def measure(request: Request) -> Response:
        async with body_of_request(request, gateway.in_flight) as raw:
            return json_response({"bytes": len(raw)})

    return routes


class ToyFastPath(FastPathBase):
    """Answers `GET /toy-fast/{name}`."""

    taken_total = 0

    def handler(self, method: bytes, url: bytes) -> Handler | None:
        """What answers this request, if it may take the fast path."""
        if method != b"GET" or not url.startswith(b"/toy-fast/"):
            return None

        def answer(exchange: FastRequest, _body: bytes) -> None:
            ToyFastPath.taken_total += 1
            if not self.admits(exchange, "GET"):
                return
            try:
                name = url.removeprefix(b"/toy-fast/").decode("ascii")
                if name == "nobody":
                    raise AorayError("nobody is fast")
                self.json(exchange, 200, orjson.dumps({"hello": name}))
            except Exception as error:  # noqa: BLE001 - it is answered
                self.fail(exchange, error)

        return answer


UNIT = Unit(
    title="a toy unit",
    routers=(router,),
    fast_path=lambda gateway, admission: ToyFastPath(admission),
)
TOY = Dialect(
    name="toy",
    everywhere=UNIT,
    alone={5: UNIT},
    table={
        ("get", "/toy/{name}"): RouteSpec(ok(an_object(hello=STRING)), {"loudly": STRING}),
        ("post", "/toy"): RouteSpec(ok(an_object(bytes=NUMBER)), body=(OCTETS, STRING)),
    },
    read_costs={"toy": 10},
)
