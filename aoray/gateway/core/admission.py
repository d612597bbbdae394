"""Who may come in now: the rates of the settings, by address and by wallet.

The door charges the address of each request that writes or computes (all but GET and HEAD, and two GETs that
write), if a setting says so. GETs that cost more than a look at a row are charged by what they cost
(`READ_COSTS`), generously, also without a setting; the others are free: AO's clients take whatever JSON
answers a `GET /result` for the result, so those are never refused here, and wait instead (`crowd`). `ingress`
charges the wallet of each message or spawn, once its signature is verified: nobody can use up another's rate
with forgeries, nor by sending again what is scheduled already. What our own messenger pushes comes in behind
the door, and our own actors are known at the door of the Arweave port (own_way.py). A spawn is looked at for
the limits that it and its module state.

Each gateway counts for itself, and begins again when it is restarted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aoray.errors import RateLimited
from aoray.execution.asked_limits import check_limits
from aoray.protocol.tags import Tags
from aoray.settings import Settings
from aoray.util.rates import rates_of
from aoray.web.rate_limit import address_of, networks

ID_CHARACTERS = 43
BUNDLERS = "v1/"  # before the paths that are bundlers', once more
FREE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What a GET costs, by the first part of its path, in looks at a page; each dialect has its own beside these.
READ_COSTS: Mapping[str, int] = {
    "graphql": 10,
    "trace": 10,
    "outbox": 1,
    "raw": 1,
    "tx": 1,
    "block": 1,
    "chunk": 10,  # its proof takes all of the upload
    "chunks": 1,
    "mint": 10,
    "mine": 10,
}
GETS_THAT_WRITE = frozenset({"mint", "mine"})
QUERY_COST = 1  # of pages of a log (`/{process}?…`)


class Limiter:
    """A rate of the settings; it is off at 0, and otherwise raises `RateLimited` with the time to wait."""

    def __init__(self, setting: str, rate: float, burst_seconds: float, unit: str = "messages") -> None:
        self._what = setting.rpartition("_")[2]
        self._unit = unit
        self._rates = rates_of(rate, burst_seconds)
        self.on = self._rates is not None
        self.refused_total = 0

    def charge(self, key: str, now_s: float, tokens: float = 1) -> None:
        """Charge a key for one message, or for so much of what it reads."""
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


def writes(scope: Mapping[str, Any]) -> bool:
    """Return whether a request may change what is stored, or compute."""
    return scope["method"] not in FREE_METHODS or _parts(scope)[0] in GETS_THAT_WRITE


def _parts(scope: Mapping[str, Any]) -> tuple[str, str]:
    """The first part of a path, and the rest."""
    first, _, rest = scope.get("path", "").lstrip("/").removeprefix(BUNDLERS).partition("/")
    return first, rest


def read_cost(scope: Mapping[str, Any], costs: Mapping[str, int]) -> int:
    """Return the cost of a GET."""
    first, rest = _parts(scope)
    if first in costs:
        return costs[first]
    return QUERY_COST if not rest and len(first) == ID_CHARACTERS else 0


class Admission:
    """The limits of one gateway."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._compute_max, self._memory_max = settings.compute_limit_max, settings.memory_limit_max
        trusted = networks(settings.trusted_proxies)
        # Whom a request, by its scope, is from; and the same where that is not simply the peer.
        self.address = partial(address_of, trusted=trusted)
        self.address_by_proxies = self.address if trusted else None
        self.addresses = Limiter("rate_per_address", settings.rate_per_address, settings.rate_burst_seconds)
        self.reads = Limiter(
            "rate_reads_per_address", settings.rate_reads_per_address, settings.rate_burst_seconds, "reads"
        )
        self.wallets = Limiter("rate_per_wallet", settings.rate_per_wallet, settings.rate_burst_seconds)

    def request(self, scope: Any, read_costs: Mapping[str, int] = READ_COSTS) -> None:
        """Charge the address that a request is from."""
        if self.addresses.on and writes(scope):
            self.addresses.charge(self.address(scope), self._clock())
        is_read = self.reads.on and scope["method"] in FREE_METHODS
        if is_read and (tokens := read_cost(scope, read_costs)):
            self.reads.charge(self.address(scope), self._clock(), tokens)

    def limits(self, process: Tags, module: Tags) -> None:
        """Refuse a spawn that asks for more than a process may use here."""
        check_limits(process, module, compute_max=self._compute_max, memory_max=self._memory_max)

    def wallet(self, address: str) -> None:
        """Charge the signer of a verified item."""
        self.wallets.charge(address, self._clock())
