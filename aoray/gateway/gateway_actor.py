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
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import Heights
from aoray.arweave.local.indexer import Indexer
from aoray.arweave.local.pieces import Pieces
from aoray.arweave.local.recent import Recent
from aoray.arweave.local.routes import PIECES
from aoray.arweave.local.routes import router as arweave_router
from aoray.arweave.local.store import ArweaveStore
from aoray.arweave.local.wallets import read_balances
from aoray.arweave.own_way import own_client
from aoray.cluster import nodes
from aoray.cluster.calls import RayCalls, wire_host
from aoray.cluster.rpc import RpcAddress, RpcServer
from aoray.contracts.gateway import Answered, Ask, Reference, ResultDelivery
from aoray.errors import ClientError
from aoray.gateway import apps
from aoray.gateway.core.arweave_via_shard import Outgoing
from aoray.gateway.driver_calls import Drivers
from aoray.gateway.gateway import Gateway
from aoray.settings import Settings
from aoray.storage.factory import open_readers, open_results
from aoray.storage.key_files import schedulers
from aoray.storage.records import ResultRow
from aoray.util import heap, log_setup
from aoray.util.metrics import ExportsMetrics
from aoray.web.crowd import raise_descriptors
from aoray.web.server import listen, serve

log = logging.getLogger(__name__)

# Threads compute (uploads, pages): with Python's 5 ms the event loop waits so long each time it lets go.
SWITCH_SECONDS = 0.0005
# Objects more than before. Requests leave no cycles, and at Python's 700 a tenth of the time went there; at
# 50,000 all requests waited 25 to 35 ms each time.
COLLECT_AFTER = 5_000


class GatewayActor(ExportsMetrics):
    """The Ray actor of one gateway."""

    def __init__(self, settings: Settings, index: int) -> None:
        log_setup.begin(settings.log_level)
        settings = nodes.localized_settings(settings)
        self._fault: ClientError | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._wire = RpcServer(self, wire_host(settings))
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
            self._keep(self.export_forever(), "the export of metrics")
            self._keep(heap.give_back_forever(), "the return of memory")
        sys.setswitchinterval(SWITCH_SECONDS)
        heap.prepare((COLLECT_AFTER, 200, 100))
        gc.freeze()  # what is there now stays: it is not looked at again

    async def wire(self) -> RpcAddress:
        """Return the address where other actors call this one without Ray."""
        return await self._wire.address()

    async def ready(self) -> dict[str, Any]:
        """Answer once the ports are open. Raises what kept one from opening."""
        if self._fault:
            raise self._fault
        return {"gateway": self._gateway.name, "incarnation": os.getpid(), "node": nodes.own_node()}

    async def deliver(self, results: list[ResultDelivery]) -> None:
        """Take results that this gateway waits for."""
        self._gateway.pending_results.deliver(results)

    async def push(self, announced: list[Reference | ResultRow]) -> None:
        """Take results with outboxes, of processes whose gateway this is."""
        self._gateway.pusher.push(announced)

    async def exchange(self, driver: str, asks: list[Ask]) -> list[Answered]:
        """Take requests of a driver on the cluster (`gateway.driver_calls`), and return the answers that
        are ready for it."""
        if self._fault:
            raise self._fault
        return await self._drivers.exchange(driver, asks)

    async def stats(self) -> dict[str, int]:
        """Return the gateway's counters, for people and metrics."""
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
        made = apps.applications(self._gateway, arweave)
        sockets = {port: listen(settings.host, port, shared=settings.gateways > 1) for port in made}
        self._drivers = Drivers(made[settings.port])
        for port, app in made.items():
            self._keep(serve(app, sockets[port]), f"the server on port {port}")

    def _keep(self, running: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_event_loop().create_task(running)
        self._running.add(task)
        task.add_done_callback(lambda ended: _say_why(name, ended))


def arweave_of(settings: Settings) -> ArweaveClient:
    """Return the Arweave that a gateway reads from and posts to; heights are checked, unless it is the
    embedded one."""
    return own_client(settings, Heights() if settings.gateway_url else None)


def recent_of(settings: Settings, gateway: Gateway) -> Recent:
    """Return what the embedded Arweave's readers see of the logs."""
    readers = open_readers(settings)
    return Recent(
        readers.find_item,
        lambda: gateway.store_executor(readers.unposted),
        lambda shard: gateway.shards[shard].flush(),
    )


def _say_why(name: str, ended: asyncio.Task[None]) -> None:
    """None of them ends while the actor lives; without it the actor is of no use, so Ray makes a new one."""
    error = None if ended.cancelled() else ended.exception()
    log.critical("%s ended", name, exc_info=error)
    os._exit(1)
