"""One gateway: what its routes share. Knows no Ray (`Call` is given), so tests run it over fakes."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from aoray import limits
from aoray.actors.placement import gateway_of, pool_actor
from aoray.actors.push_quota import PushQuota
from aoray.actors.results import Divergence, ResultRow, Sort
from aoray.arweave.searching import searches
from aoray.batcher import Sleep
from aoray.calls import Call
from aoray.errors import AorayError
from aoray.gateway.admission import Admission
from aoray.gateway.courier import Courier
from aoray.gateway.halted import Halted
from aoray.gateway.ingress import Ingress
from aoray.gateway.knowledge import Arweave, Knowledge, Reader
from aoray.gateway.look import Look
from aoray.gateway.places import Places
from aoray.gateway.pusher import Outboxes, Pusher
from aoray.gateway.waiting import Waiting
from aoray.gateway.web import Load
from aoray.keyfiles import load_key
from aoray.settings import Settings

log = logging.getLogger(__name__)


class Addresses(NamedTuple):
    """Who signs: assignments, pushed messages, and what the compute unit attests."""

    scheduler: str
    authority: str
    compute: str


class ResultStore(Outboxes, Protocol):
    """The results, as `actors.results` keeps them."""

    def get(self, process_id: str, any_id: str) -> ResultRow | None: ...
    def page(
        self,
        process_id: str,
        *,
        after: int | None,
        to: int | None,
        sort: Sort,
        limit: int,
        ticks: bool = False,
    ) -> tuple[Sequence[ResultRow], bool]: ...
    def last_nonce(self, process_id: str) -> int: ...
    def diverged(self) -> dict[str, Divergence]: ...
    def has_error(self, process_id: str, nonce: int) -> bool | None: ...


class Gateway:
    def __init__(
        self,
        settings: Settings,
        index: int,
        *,
        call: Call,
        reader: Reader,
        results: ResultStore,
        arweave: Arweave,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        authority = load_key(settings, "authority")
        self.settings = settings
        self.name = f"gateway-{index}"
        self.addresses = Addresses(
            load_key(settings, "scheduler").address,
            authority.address,
            load_key(settings, "compute").address,
        )
        self.call = call
        self.results = results
        self.load = Load(settings.data)
        self.under_way: Counter[str] = Counter()  # what is bounded beside requests
        self.results_served_total = 0
        self.admission = Admission(settings)
        self.searches = searches()
        self.gauges: dict[str, Callable[[], int]] = {}  # of the embedded Arweave, where it is
        self.look = Look(far=bool(settings.store))
        self.knowledge = Knowledge(reader, arweave, self.look)
        self.places = Places(settings.shards, call)
        self.waiting = Waiting(self.name, call, self.places)
        self.halted = Halted(results, self.look, call, self.places)
        self.ingress = Ingress(
            self.name,
            settings.shards,
            call,
            self.knowledge,
            self.places,
            self.admission,
            self.waiting,
            self.halted,
            sleep=sleep,
        )
        courier = Courier(self.ingress, self.knowledge, arweave, authority, settings)
        self.wallets = courier.wallets
        self.pusher = Pusher(
            courier,
            results,
            lambda process_id: gateway_of(process_id, settings.gateways) == index,
            self.look,
            PushQuota(settings),
            sleep=sleep,
            name=self.name,
        )
        self.stages = (self.ingress.stage, self.pusher.stage)

    def actor_names(self) -> list[str]:
        """Everything that must answer before this computer takes work."""
        return [f"shard-{n}" for n in range(self.settings.shards)] + [
            pool_actor(n) for n in range(self.settings.pool)
        ]

    async def watch_stopped(self) -> None:
        """Know which processes the operator stopped, so that what they sent waits too. A shard that does not
        answer leaves what was known of all."""
        while True:
            try:
                shards = (f"shard-{n}" for n in range(self.settings.shards))
                found = await asyncio.gather(*(self.call(shard, "stopped") for shard in shards))
                self.pusher.stopped = frozenset(itertools.chain.from_iterable(found))
            except AorayError as error:
                log.info("which processes are stopped is as it was: %s", error)
            await asyncio.sleep(limits.STOPPED_WATCH_S)

    def counts(self) -> dict[str, int]:
        """For `/metrics`."""
        return {
            "requests_total": self.load.requests_total,
            "requests_in_flight": self.load.requests,
            **self.load.crowd.counts(),
            "refused_by_address_total": self.admission.addresses.refused_total,
            "refused_reads_total": self.admission.reads.refused_total,
            "refused_by_wallet_total": self.admission.wallets.refused_total,
            "pages_waiting": len(self.look.pages),
            "pages_refused_total": self.look.pages.refused_total,
            "searches_waiting": len(self.searches),
            "searches_refused_total": self.searches.refused_total,
            "searches_cancelled_total": self.searches.cancelled_total,
            **{name: read() for name, read in self.gauges.items()},
            "items_refused_total": self.ingress.refused_total,
            "items_accepted_total": self.ingress.accepted_total,
            "items_queued": self.ingress.queued,
            "submit_calls_total": self.ingress.calls_total,
            "watch_calls_total": self.waiting.calls_total,
            "deliver_calls_total": self.waiting.deliveries_total,
            "results_served_total": self.results_served_total,
            "results_awaited": len(self.waiting),
            "outboxes_pushed_total": self.pusher.pushed_total,
            "outboxes_waiting": len(self.pusher),
            "outboxes_held_total": self.pusher.quota.held_total,
            "processes_held": len(self.pusher.quota.held()),
            "processes_diverged": len(self.halted),
        }
