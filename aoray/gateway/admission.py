"""Who may come in now: the rates of the settings, by address and by wallet. Off unless a setting says so.

The door charges the address of each request that writes or computes (all but GET and HEAD: AO's clients take
whatever JSON answers a `GET /result` for the result, so those are never refused here). `ingress` charges the
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
from aoray.rates import Rates
from aoray.settings import Settings

FREE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Limiter:
    """A rate of the settings: off if it is 0, else raises `RateLimited` with the time to wait."""

    def __init__(self, what: str, rate: float, burst_seconds: float) -> None:
        if not (math.isfinite(rate) and rate >= 0 and math.isfinite(burst_seconds) and burst_seconds >= 0):
            raise ClientError(
                f"AORAY_RATE_PER_{what.upper()} is {rate!r} and AORAY_RATE_BURST_SECONDS {burst_seconds!r}",
                hint="Messages a second (0: as many as come), and how many seconds' worth may come at once.",
            )
        self._what = what
        self._rates = Rates(rate, max(1.0, rate * burst_seconds)) if rate else None
        self.refused_total = 0

    @property
    def on(self) -> bool:
        return self._rates is not None

    def charge(self, key: str, now_s: float) -> None:
        """One message of this key."""
        if self._rates is None:
            return
        wait_s = self._rates.take(key, now_s)
        if wait_s:
            self.refused_total += 1
            raise RateLimited(
                f"more than {self._rates.rate:g} messages a second from this {self._what}",
                hint="Wait, and send it again.",
                retry_after_s=math.ceil(wait_s),
                **{self._what: key},
            )


class Admission:
    """The limits of one gateway."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._compute_max, self._memory_max = settings.compute_limit_max, settings.memory_limit_max
        self._trusted = networks(settings.trusted_proxies)
        self.addresses = Limiter("address", settings.rate_per_address, settings.rate_burst_seconds)
        self.wallets = Limiter("wallet", settings.rate_per_wallet, settings.rate_burst_seconds)

    def request(self, scope: Any) -> None:
        """Charge whom a request is from."""
        if self.addresses.on and scope["method"] not in FREE_METHODS:
            self.addresses.charge(self.address(scope), self._clock())

    def address(self, scope: Mapping[str, Any]) -> str:
        """Whom a request is from."""
        return address_of(scope, self._trusted)

    def limits(self, process: Tags, module: Tags) -> None:
        """Refuse a spawn that asks for more than a process may use here."""
        check_limits(process, module, compute_max=self._compute_max, memory_max=self._memory_max)

    def wallet(self, address: str) -> None:
        """Charge a verified signer."""
        self.wallets.charge(address, self._clock())
