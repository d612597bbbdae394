"""Who may come in now: the rates of the settings, by address and by wallet.

The door charges the address of each request that writes or computes (all but GET and HEAD), if a setting says
so. GETs that cost more than a look at a row are charged by what they cost (`READ_COSTS`), generously, also
without a setting; the others are free: AO's clients take whatever JSON answers a `GET /result` for the
result, so those are never refused here, and wait instead (`crowd`). `ingress` charges the
wallet of each message or spawn, once its signature is verified: nobody can use up another's rate with
forgeries, nor by sending again what is scheduled already. What our own messenger pushes comes in behind the
door, and our own uploads go to the Arweave port, which has no rate. A spawn is looked at for the limits that
it and its module state.

Each gateway counts for itself, and begins anew when it is restarted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from aoray.actors.asked import check_limits
from aoray.errors import ClientError, RateLimited
from aoray.gateway.rates import address_of, networks
from aoray.protocol.tags import Tags
from aoray.rates import rates_of
from aoray.settings import Settings

ID_CHARACTERS = 43
FREE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What a GET costs, by the first part of its path, in looks at a page.
READ_COSTS = {
    "graphql": 10,
    "trace": 10,
    "state": 100,
    "results": 1,
    "cron": 1,
    "raw": 1,
    "tx": 1,
    "block": 1,
}
QUERY_COST = 1  # of pages of a log (`/{process}?…`)


class Limiter:
    """A rate of the settings: off if it is 0, else raises `RateLimited` with the time to wait."""

    def __init__(self, setting: str, rate: float, burst_seconds: float, unit: str = "messages") -> None:
        if not (math.isfinite(rate) and rate >= 0 and math.isfinite(burst_seconds) and burst_seconds >= 0):
            raise ClientError(
                f"AORAY_{setting.upper()} is {rate!r} and AORAY_RATE_BURST_SECONDS {burst_seconds!r}",
                hint=f"{unit.capitalize()} a second (0: any number), and how many seconds' worth at once.",
            )
        self._what = setting.rpartition("_")[2]
        self._unit = unit
        self._rates = rates_of(rate, burst_seconds)
        self.refused_total = 0

    @property
    def on(self) -> bool:
        return self._rates is not None

    def charge(self, key: str, now_s: float, tokens: float = 1) -> None:
        """One message of this key; or so much of what it reads."""
        if self._rates is None:
            return
        wait_s = self._rates.take(key, now_s, tokens)
        if wait_s:
            self.refused_total += 1
            raise RateLimited(
                f"more than {self._rates.rate:g} {self._unit} a second from this {self._what}",
                hint="Wait, and send it again.",
                retry_after_s=math.ceil(wait_s),
                **{self._what: key},
            )


def read_cost(scope: Mapping[str, Any]) -> int:
    """What a GET costs; nothing on the short way, which has no path in its scope."""
    first, _, rest = scope.get("path", "").lstrip("/").partition("/")
    if first in READ_COSTS:
        return READ_COSTS[first]
    return QUERY_COST if not rest and len(first) == ID_CHARACTERS else 0


class Admission:
    """The limits of one gateway."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._compute_max, self._memory_max = settings.compute_limit_max, settings.memory_limit_max
        self._trusted = networks(settings.trusted_proxies)
        self.addresses = Limiter("rate_per_address", settings.rate_per_address, settings.rate_burst_seconds)
        self.reads = Limiter(
            "rate_reads_per_address", settings.rate_reads_per_address, settings.rate_burst_seconds, "reads"
        )
        self.wallets = Limiter("rate_per_wallet", settings.rate_per_wallet, settings.rate_burst_seconds)

    def request(self, scope: Any) -> None:
        """Charge whom a request is from."""
        if scope["method"] not in FREE_METHODS:
            if self.addresses.on:
                self.addresses.charge(self.address(scope), self._clock())
        elif self.reads.on and (tokens := read_cost(scope)):
            self.reads.charge(self.address(scope), self._clock(), tokens)

    def address(self, scope: Mapping[str, Any]) -> str:
        """Whom a request is from."""
        return address_of(scope, self._trusted)

    def limits(self, process: Tags, module: Tags) -> None:
        """Refuse a spawn that asks for more than a process may use here."""
        check_limits(process, module, compute_max=self._compute_max, memory_max=self._memory_max)

    def wallet(self, address: str) -> None:
        """Charge a verified signer."""
        self.wallets.charge(address, self._clock())
