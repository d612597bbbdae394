"""The state of a gateway: health, the landing page, metrics. The actors behind it are asked at most once a
second, however many clients ask."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeVar

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from aoray import limits
from aoray._version import __version__
from aoray.cluster import nodes
from aoray.cluster.names import gateway_actor
from aoray.contracts.actor import ActorCaller
from aoray.contracts.gateway import GatewayCaller
from aoray.errors import AorayError, InfrastructureError, Unavailable
from aoray.gateway.core.halted import Shown
from aoray.gateway.gateway import Gateway
from aoray.gateway.observability import metrics_page
from aoray.modules.lua import lua_module_id
from aoray.util.clock import clock_ms
from aoray.util.metrics import Snapshot, snapshots
from aoray.web.application import json_response

SUMS = ("entries", "publications", "bytes", "unconfirmed", "bundles", "settled", "reposts", "failures")
FIGURES = ("live", "asleep", "resident_bytes", "resident_bytes_max", "evicted", "long", "long_waiting")
ANSWER_SECONDS = 1.0  # actors are asked once in this time, however many ask here

Answer = TypeVar("Answer")


class Shared(Generic[Answer]):
    """The actors' answers, or the failure of asking them, shared by all callers within one second."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[Answer] | None = None
        self._asked_at = float("-inf")

    async def __call__(self) -> Answer:
        now = time.monotonic()
        if self._asking is None or now - self._asked_at > ANSWER_SECONDS:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)


class Health:
    """Whether every shard and every actor of the pool accepts work. They are asked at most once a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._answered = Shared(self._ask)

    async def body(self) -> tuple[dict[str, Any], int]:
        """Return the JSON of `GET /health` and its HTTP status."""
        fault, waiting = await self._answered()
        module = self._module()
        if not fault and not module:
            fault = "the built-in module is not published yet"
        body = {"status": "starting" if fault else "ok", **about(self._gateway), "module": module}
        body |= {"processes_waiting": waiting, "processes_diverged": len(self._gateway.halted)}
        return (body | {"error": fault}, 503) if fault else (body, 200)

    async def _ask(self) -> tuple[str, int]:
        """Return what is wrong ('' if nothing is), and how many processes wait for the machine."""
        try:
            async with asyncio.timeout(limits.HEALTH_SECONDS_MAX):
                said = await asyncio.gather(*(actor.ready() for actor in self._gateway.actors()))
        except TimeoutError:
            return "an actor does not answer", 0
        except AorayError as error:
            return error.message, 0
        return "", sum(each.get("waiting", 0) for each in said)

    def _module(self) -> str:
        settings = self._gateway.settings
        if settings.cluster is not None and not nodes.is_head(settings):
            return lua_module_id()
        path = settings.data / "lua-module.json"
        try:
            return str(orjson.loads(path.read_bytes())["id"])
        except FileNotFoundError:
            return ""


async def of_shards(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the figures of each shard. Raises `Unavailable` while one of them does not answer."""
    try:
        async with asyncio.timeout(limits.STATS_SECONDS_MAX):
            return list(await asyncio.gather(*(shard.stats() for shard in gateway.shards)))
    except TimeoutError as error:
        raise Unavailable("a scheduler shard does not answer") from error


def own_actors(stats: Sequence[Mapping[str, Any]], pool: Collection[str]) -> list[str]:
    """Return the actors of single processes that the shards know, at most OWN_ACTORS_MAX for each shard."""
    return [name for each in stats for name in each["lanes"] if name not in pool]


async def of_actors(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the figures of each process actor of the pool; one that does not answer in time is left out."""

    async def asked(actor: ActorCaller) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(limits.STATS_SECONDS_MAX):
                return [await actor.stats()]
        except (TimeoutError, AorayError):
            return []

    return [stats for found in await asyncio.gather(*map(asked, gateway.pool)) for stats in found]


async def stages_of_all(gateway: Gateway) -> list[Snapshot]:
    """Return the snapshots of each actor's stages; an actor that does not answer in time is left out."""
    names = map(gateway_actor, range(gateway.settings.gateways))
    others = [GatewayCaller(gateway.call, name) for name in names if name != gateway.name]

    async def asked(actor: ActorCaller) -> list[Snapshot]:
        try:
            async with asyncio.timeout(limits.STATS_SECONDS_MAX):
                return await actor.stages()
        except (TimeoutError, AorayError):
            return []

    found = await asyncio.gather(*map(asked, [*gateway.actors(), *others]))
    return snapshots(gateway.stages) + [stage for each in found for stage in each]


def flushing(stats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how the shards' logs get to Arweave, summed over all shards, with one of their errors."""
    shards = [each["arweave"] for each in stats]
    worst = max(shards, key=lambda each: int(each["failures"]))
    return {
        **{name: sum(each[name] for each in shards) for name in SUMS},
        "oldest_seconds": max(each["oldest_seconds"] for each in shards),
        **{name: worst[name] for name in ("way", "last_error", "hint")},
        "height": max(each["height"] for each in shards),
        "height_error": next((each["height_error"] for each in shards if each["height_error"]), ""),
    }


def ticking(stats: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the figures of the crons of all shards. Lags, from when a tick was due to its slot, are those of
    the worst shard."""
    shards = [each["cron"] for each in stats]
    counted = {
        name: sum(each[name] for each in shards) for name in ("monitored", "crons", "skipped", "over_quota")
    }
    lags = [each["lag_ms"] for each in shards]
    ticks = {"ticks": sum(each["count"] for each in lags)}
    return counted | ticks | {f"lag_{at}_ms": max(each[at] for each in lags) for at in ("p50", "p99", "max")}


def held(gateway: Gateway) -> dict[str, float]:
    """Return the processes over their quota of outbox messages, with the seconds that they still wait, the
    longest first."""
    waits = sorted(gateway.pusher.quota.held().items(), key=lambda each: -each[1])
    return {process_id: round(wait_s, 1) for process_id, wait_s in waits[: limits.HELD_SHOWN_MAX]}


def about(gateway: Gateway) -> dict[str, Any]:
    """Return the version, the addresses and the URLs of the computer, as `GET /health` shows them."""
    settings, addresses = gateway.settings, gateway.addresses
    host, port = settings.host, settings.port
    return {
        "version": __version__,
        "scheduler": addresses.scheduler,
        "authority": addresses.authority,
        "compute": addresses.compute,
        "url": settings.url,
        "urls": {
            "arweave": settings.arweave_url,
            "messenger": f"http://{host}:{port + 2}",
            "scheduler": f"http://{host}:{port + 3}",
            "compute": f"http://{host}:{port + 4}",
        },
    }


def router(gateway: Gateway) -> APIRouter:
    """Return the routes `GET /health`, `/status` and `/metrics`."""
    routes = APIRouter(tags=["status"])
    health = Health(gateway)
    shards = Shared(lambda: of_shards(gateway))
    stages = Shared(lambda: stages_of_all(gateway))
    actors = Shared(lambda: of_actors(gateway))
    pool = [actor.name for actor in gateway.pool]
    waits = Shared(lambda: gateway.halted.waiting(pool))

    async def waits_of_own() -> Shown:
        return await gateway.halted.waiting(own_actors(await shards(), pool))

    waits_apart = Shared(waits_of_own)

    @routes.get("/health")
    async def healthy() -> Response:
        """Return whether the computer accepts work, and its addresses."""
        body, status = await health.body()
        if status == 503 and body["error"]:
            response = json_response(body | {"code": Unavailable.code}, status)
            response.headers["retry-after"] = "1"
            return response
        return json_response(body)

    @routes.get("/status")
    async def status() -> Response:
        """Return health, what waits for Arweave, actors' figures, and processes that can't continue."""
        body, _ = await health.body()
        body["actors"] = {each["actor"]: {name: each[name] for name in FIGURES} for each in await actors()}
        body |= {"waits": await waits(), "diverged": gateway.halted.shown()}
        try:
            apart = await waits_apart()
            body |= {"waits": body["waits"] | apart}
            body["processes_waiting"] += len(apart)
            waiting = {"held": held(gateway), "stopped": sorted(gateway.pusher.stopped)}
            return json_response(body | waiting | {"arweave": flushing(await shards())})
        except InfrastructureError as error:  # the rest is shown all the same
            return json_response(body | {"arweave": None, "error": error.message})

    @routes.get("/metrics")
    async def metrics() -> Response:
        """Return the metrics in Prometheus's text format."""
        counted = await actors()
        waiting = sum(each.get("waiting", 0) for each in counted)
        with contextlib.suppress(InfrastructureError):
            waiting += len(await waits_apart())
        families = [
            *metrics_page.of_counts("gateway", gateway.counts(), metrics_page.GATEWAY),
            *metrics_page.of_stages(await stages()),
            *metrics_page.of_actors(counted),
            metrics_page.of_waiting(waiting),
        ]
        with contextlib.suppress(InfrastructureError):  # a shard is being restarted
            stats = await shards()
            families += metrics_page.of_counts("cron", ticking(stats), metrics_page.CRON)
            families += metrics_page.of_counts("arweave", flushing(stats), metrics_page.ARWEAVE)
        return Response(metrics_page.render(families), media_type=metrics_page.CONTENT_TYPE)

    return routes


def landing(gateway: Gateway) -> Response:
    """Return the answer to `GET /` on the port of all units: what each unit would answer, and links."""
    links = {"health": "/health", "api": "/docs", "graphql": "/graphql", "metrics": "/metrics"}
    return json_response(
        {
            "name": "aoray",
            "address": gateway.addresses.compute,
            "timestamp": clock_ms(),
            **about(gateway),
            "links": links,
        }
    )
