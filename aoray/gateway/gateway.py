"""One gateway: what its routes share. Knows no Ray (`Call` is given), so tests run it over fakes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from aoray import limits
from aoray.arweave.local.graphql_routes import searches
from aoray.cluster.calls import Call
from aoray.cluster.names import gateway_actor, gateway_of, pool_actor
from aoray.contracts.actor import ActorCaller
from aoray.contracts.process_actor import ProcessActorCaller
from aoray.errors import AorayError
from aoray.gateway.core.admission import Admission
from aoray.gateway.core.halted import Halted
from aoray.gateway.core.ingress import Ingress
from aoray.gateway.core.locations import ProcessLocations
from aoray.gateway.core.lookups import Arweave, LogView, Lookups
from aoray.gateway.core.pending_results import PendingResults
from aoray.gateway.core.store_executor import StoreExecutor
from aoray.gateway.push.deliverer import OutboxDeliverer
from aoray.gateway.push.pusher import Outboxes, Pusher
from aoray.outbox.push_quota import PushQuota
from aoray.settings import Settings
from aoray.storage.factory import store_of
from aoray.storage.key_files import load_key
from aoray.storage.records import Divergence, ResultRow, Sort
from aoray.util.batcher import Sleep
from aoray.web.application import InFlight

log = logging.getLogger(__name__)


class Addresses(NamedTuple):
    """The addresses that sign: assignments, pushed messages, and attestations."""

    scheduler: str
    authority: str
    compute: str


class ResultStore(Outboxes, Protocol):
    """The results, as `storage.results` keeps them."""

    def get(self, process_id: str, any_id: str) -> ResultRow | None:
        """Return the result of a message, by the id of the message or of its assignment; None if it is not
        stored."""

    def page(
        self,
        process_id: str,
        *,
        after: int | None,
        to: int | None,
        sort: Sort,
        limit: int,
        ticks: bool = False,
    ) -> tuple[Sequence[ResultRow], bool]:
        """Return up to `limit` results with nonces above `after` and up to `to`, and whether others follow;
        with `ticks`, those of cron messages only."""

    def last_nonce(self, process_id: str) -> int:
        """Return the highest nonce of a process that has a result; -1 if none has."""

    def diverged(self) -> dict[str, Divergence]:
        """Return the processes whose second evaluation differed from what is stored, by process id."""

    def has_error(self, process_id: str, nonce: int) -> bool | None:
        """Return whether the result of a slot is an error; None if it is not stored."""


class Gateway:
    """Everything that the dialects of one gateway share: what it reads, whom it calls, and what it counts."""

    def __init__(
        self,
        settings: Settings,
        index: int,
        *,
        call: Call,
        reader: LogView,
        results: ResultStore,
        arweave: Arweave,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        authority = load_key(settings, "authority")
        self.settings = settings
        self.name = gateway_actor(index)
        self.addresses = Addresses(
            load_key(settings, "scheduler").address,
            authority.address,
            load_key(settings, "compute").address,
        )
        self.call = call
        self.results = results
        self.in_flight = InFlight(settings.data)
        self.under_way: Counter[str] = Counter()  # what is bounded beside requests
        self.results_served_total = 0
        self.admission = Admission(settings)
        self.searches = searches()
        self.gauges: dict[str, Callable[[], int]] = {}  # of the embedded Arweave, where it is
        self.store_executor = StoreExecutor(far=store_of(settings).is_shared)
        self.lookups = Lookups(reader, arweave, self.store_executor)
        self.locations = ProcessLocations(settings.shards, call)
        self.shards = self.locations.shards
        self.pool = [ProcessActorCaller(call, pool_actor(index)) for index in range(settings.pool)]
        self.pending_results = PendingResults(self.name, call, self.locations)
        self.halted = Halted(results, self.store_executor, call, self.locations)
        self.ingress = Ingress(
            self.name,
            self.locations,
            self.lookups,
            self.admission,
            self.pending_results,
            self.halted,
            sleep=sleep,
        )
        deliverer = OutboxDeliverer(self.ingress, self.lookups, arweave, authority, settings)
        self.wallets = deliverer.wallets
        self.pusher = Pusher(
            deliverer,
            results,
            lambda process_id: gateway_of(process_id, settings.gateways) == index,
            self.store_executor,
            PushQuota(settings, time.monotonic),
            sleep=sleep,
            name=self.name,
        )
        self.stages = (self.ingress.stage, self.pusher.stage)

    def actors(self) -> list[ActorCaller]:
        """Return the actors that must answer before this computer accepts work."""
        return [*self.shards, *self.pool]

    async def watch_stopped(self) -> None:
        """Keep up with which processes the operator stopped, so that what they sent waits too. A shard
        that does not answer leaves what was known of all."""
        while True:
            try:
                found = await asyncio.gather(*(shard.stopped() for shard in self.shards))
                self.pusher.stopped = frozenset(itertools.chain.from_iterable(found))
            except AorayError as error:
                log.info("which processes are stopped is as it was: %s", error)
            await asyncio.sleep(limits.STOPPED_WATCH_S)

    def counts(self) -> dict[str, int]:
        """Return the figures for `/metrics`."""
        return {
            "requests_total": self.in_flight.requests_total,
            "requests_in_flight": self.in_flight.requests,
            **self.in_flight.crowd.counts(),
            "refused_by_address_total": self.admission.addresses.refused_total,
            "refused_reads_total": self.admission.reads.refused_total,
            "refused_by_wallet_total": self.admission.wallets.refused_total,
            "pages_waiting": len(self.store_executor.pages),
            "pages_refused_total": self.store_executor.pages.refused_total,
            "searches_waiting": len(self.searches),
            "searches_refused_total": self.searches.refused_total,
            "searches_cancelled_total": self.searches.cancelled_total,
            **{name: read() for name, read in self.gauges.items()},
            "items_refused_total": self.ingress.refused_total,
            "items_accepted_total": self.ingress.accepted_total,
            "items_queued": self.ingress.queued,
            "submit_calls_total": self.ingress.calls_total,
            "watch_calls_total": self.pending_results.calls_total,
            "deliver_calls_total": self.pending_results.deliveries_total,
            "results_served_total": self.results_served_total,
            "results_awaited": len(self.pending_results),
            "outboxes_pushed_total": self.pusher.pushed_total,
            "outboxes_waiting": len(self.pusher),
            "outboxes_held_total": self.pusher.quota.held_total,
            "processes_held": len(self.pusher.quota.held()),
            "processes_diverged": len(self.halted),
        }
