"""The gateway's Ray actor: all its applications on their ports, in one process and one event loop.

It serves from `__init__` on, so one that Ray restarted serves again by itself: the log, the results and the
outboxes not yet pushed are on disk, and what was in memory is only a cache. Other actors call `deliver`
(results that were waited for) and `push` (results with outboxes); to lose such a call is harmless. Drivers on
the cluster call `exchange`. A port in use is said by `ready`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter
from starlette.types import ASGIApp

from aoray import logs, nodes
from aoray.actors.results import ResultRow
from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import Heights
from aoray.arweave.indexer import Indexer
from aoray.arweave.pieces import Pieces
from aoray.arweave.recent import Recent
from aoray.arweave.routes import PIECES
from aoray.arweave.routes import router as arweave_router
from aoray.arweave.store import ArweaveStore
from aoray.arweave.wallets import read_balances
from aoray.calls import RayCalls, wire_host
from aoray.errors import ClientError
from aoray.gateway import apps
from aoray.gateway.connections import BoundedProtocol
from aoray.gateway.crowd import raise_descriptors
from aoray.gateway.drivers import Answered, Ask, Drivers
from aoray.gateway.gateway import Gateway
from aoray.gateway.outgoing import Outgoing
from aoray.gateway.pusher import Reference
from aoray.gateway.waiting import Delivery
from aoray.keyfiles import schedulers
from aoray.metrics import Counted
from aoray.scheduler.stores import open_readers, open_results
from aoray.settings import Settings
from aoray.wire import Address, Wire

log = logging.getLogger(__name__)

# Threads compute (uploads, pages): with Python's 5 ms the event loop waits so long each time it lets go.
SWITCH_SECONDS = 0.0005
# Objects more than before. Requests leave no cycles, and at Python's 700 a tenth of the time went there; at
# 50,000 all requests waited 25 to 35 ms each time.
COLLECT_AFTER = 5_000
BACKLOG = 2048
KEEP_ALIVE_S = 75


class GatewayActor(Counted):
    """Made by name (`gateway-<index>`), without Ray's own retries."""

    def __init__(self, settings: Settings, index: int) -> None:
        logs.begin(settings.log_level)
        settings = nodes.here(settings)
        self._fault: ClientError | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._wire = Wire(self, wire_host(settings))
        call = RayCalls()
        self._gateway = Gateway(
            settings,
            index,
            call=call,
            reader=open_readers(settings),
            results=open_results(settings),
            arweave=Outgoing(settings, call) if settings.publishes else arweave_of(settings),
        )
        self.counted = self._gateway.stages
        try:
            self._serve(settings)
        except ClientError as error:
            self._fault = error
        else:
            self._keep(self._gateway.pusher.scan_forever(), "the scan for outboxes")
            self._keep(self._gateway.watch_stopped(), "the watch of stopped processes")
            self._keep(self._gateway.halted.look_forever(), "the look for processes that diverged")
            self._keep(self.export_for_ever(), "the export of metrics")
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.set_threshold(COLLECT_AFTER, 200, 100)
        gc.freeze()  # what is there now stays: it is not looked at again

    async def wire(self) -> Address:
        """Where other actors call this one without Ray in between."""
        return await self._wire.address()

    async def ready(self) -> dict[str, Any]:
        """Answers once the ports are open; raises what kept one from it."""
        if self._fault:
            raise self._fault
        return {"gateway": self._gateway.name, "incarnation": os.getpid(), "node": nodes.own_node()}

    async def deliver(self, results: list[Delivery]) -> None:
        """Results that this gateway watches for."""
        self._gateway.waiting.deliver(results)

    async def push(self, announced: list[Reference | ResultRow]) -> None:
        """Results with outboxes, of processes whose gateway this is."""
        self._gateway.pusher.push(announced)

    async def exchange(self, driver: str, asks: list[Ask]) -> list[Answered]:
        """Requests of a driver on the cluster (`gateway.drivers`), and answers that are ready for it."""
        if self._fault:
            raise self._fault
        return await self._drivers.exchange(driver, asks)

    async def stats(self) -> dict[str, int]:
        return self._gateway.counts()

    def _serve(self, settings: Settings) -> None:
        arweave = None
        if not settings.gateway_url and nodes.is_head(settings):
            # What our own scheduler bundles was verified at the door; nobody else's bundle is trusted.
            trusted = {held.address for held in schedulers(settings)}
            trusted.add(self._gateway.addresses.scheduler)
            path = settings.data / "arweave.sqlite"
            recent = recent_of(settings, self._gateway)
            store = ArweaveStore(path, trusted=trusted, later=lambda: indexer.wake(), recent=recent.find)
            indexer = Indexer(path)
            balances = read_balances(Path(settings.balances)) if settings.balances else None
            gateway = self._gateway
            who = gateway.admission.address
            pieces = Pieces(settings.data / PIECES)
            arweave = arweave_router(store, recent, gateway.searches, who, pieces, balances)
            gateway.gauges |= {
                "pieces_bytes": lambda: pieces.held,
                "pieces_refused_total": lambda: pieces.refused_total,
                "searches_without_recent_total": lambda: recent.cut_total,
            }
        raise_descriptors()
        made = applications(self._gateway, arweave)
        sockets = {port: listen(settings.host, port, shared=settings.gateways > 1) for port in made}
        self._drivers = Drivers(made[settings.port])
        for port, app in made.items():
            self._keep(serve(app, sockets[port]), f"the server on port {port}")

    def _keep(self, running: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_event_loop().create_task(running)
        self._running.add(task)
        task.add_done_callback(lambda ended: _say_why(name, ended))


def arweave_of(settings: Settings) -> ArweaveClient:
    """Where a gateway reads and posts; heights are judged, unless it is the embedded Arweave."""
    return ArweaveClient(settings.arweave_url, heights=Heights() if settings.gateway_url else None)


def recent_of(settings: Settings, gateway: Gateway) -> Recent:
    """What the embedded Arweave's readers see of the logs."""
    readers = open_readers(settings)
    return Recent(
        readers.find_item,
        lambda: gateway.look(readers.unposted),
        lambda shard: gateway.call(f"shard-{shard}", "flush"),
    )


def applications(gateway: Gateway, arweave: APIRouter | None) -> dict[int, ASGIApp]:
    """What answers on which port."""
    port = gateway.settings.port
    made = {
        port: apps.all_units(gateway, arweave),
        port + 2: apps.messenger_unit(gateway),
        port + 3: apps.scheduler_unit(gateway),
        port + 4: apps.compute_unit(gateway),
    }
    return made if arweave is None else made | {port + 1: apps.arweave_unit(gateway, arweave)}


def listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """A listening socket. `shared` lets several gateways of one machine listen on it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        raise ClientError(
            f"can't listen on {host}:{port}: {error.strerror}",
            hint="Is another computer running? Give this one its own --port (five in a row are used)."
            " Or is --host no address of this machine?",
            host=host,
            port=port,
        ) from error


async def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Run one application on its socket."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",  # at warnings each connection that speaks no HTTP is one
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
    )
    await uvicorn.Server(config).serve(sockets=[listening])


def _say_why(name: str, ended: asyncio.Task[None]) -> None:
    """None of them ends while the actor lives; without it the actor is of no use, so Ray makes a new one."""
    error = None if ended.cancelled() else ended.exception()
    log.critical("%s ended", name, exc_info=error)
    os._exit(1)
