"""How much one address or one wallet may ask for in a time. Pure: no clock, no I/O.

The first thing at the door, when a setting asks for it. Each key (an address, a wallet) has a bucket: `rate`
tokens flow in a second, up to `burst` of them; a message takes one, and where there is none the answer is how
long to wait. Only when a bucket will be full again is kept (the generic cell rate algorithm): one number.

Invariants: within any time t a key gets at most `burst + rate * t`, whatever is forgotten meanwhile. Memory
is bounded. A full bucket says nothing and is forgotten for free; if all `keys_max` are in use the oldest
goes, and from then on whoever is unknown begins where that one stood: so nobody gains by being forgotten,
and newcomers lose a part of their burst, for the time of a burst at most.

An address is the socket's peer; what a proxy says of the one before it counts only if that proxy is
trusted. IPv6 addresses count by their /64, since who has one address of it has them all.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aoray import limits
from aoray.errors import ClientError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
IPV6_PREFIX_BITS = 64


class Rates:
    """One bucket a key. Times are seconds of any clock that does not go back."""

    def __init__(self, rate: float, burst: float, *, keys_max: int = limits.RATE_KEYS_MAX) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a rate is positive, and a burst holds one at least")
        self.rate = rate
        self._window_s = burst / rate
        self._keys_max = keys_max
        # By key, the one that took longest ago first. (A dict is slow to find its first after many went.)
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._floor = -math.inf  # of whom we know nothing

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, now_s: float) -> float:
        """Take a token: 0 if there was one, else the seconds until there will be, and nothing is taken."""
        full_at = max(self._full_at.get(key, self._floor), now_s) + 1 / self.rate
        # A part of a token may be lost in rounding: it is not held against anyone.
        wait_s = full_at - now_s - self._window_s
        if wait_s > 1e-9 * max(1.0, abs(now_s)):
            return wait_s
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        self._forget(now_s)
        return 0.0

    def _forget(self, now_s: float) -> None:
        """Drop what is full, a few at a time; and beyond the bound the oldest, which raises the floor."""
        for key in list(itertools.islice(self._full_at, 2)):
            if self._full_at[key] <= now_s:
                del self._full_at[key]
        while len(self._full_at) > self._keys_max:
            self._floor = max(self._floor, self._full_at.popitem(last=False)[1])


def networks(text: str) -> tuple[Network, ...]:
    """The trusted proxies of the settings: addresses and networks (`10.0.0.0/8`), separated by commas."""
    try:
        return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ClientError(
            f"AORAY_TRUSTED_PROXIES is {text!r}: {error}", hint="Like 127.0.0.1,10.0.0.0/8"
        ) from error


def address_of(scope: Mapping[str, Any], trusted: tuple[Network, ...]) -> str:
    """Whom a request is from: the peer; behind trusted proxies the last one that is none of them."""
    client = scope.get("client")
    peer = _address(client[0]) if client else None
    if peer is None:  # a Unix socket
        return str(client[0]) if client else ""
    for text in reversed(_forwarded(scope) if trusted else []):
        if not any(peer in network for network in trusted):
            break
        before = _address(text)
        if before is None:  # a proxy's nonsense counts for that proxy
            break
        peer = before
    return _key(peer)


def _forwarded(scope: Mapping[str, Any]) -> list[str]:
    values = (value for name, value in scope["headers"] if name == b"x-forwarded-for")
    return [part.strip() for part in b",".join(values).decode("latin-1").split(",")]


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _key(address: Address) -> str:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_PREFIX_BITS), strict=False))
    return str(address)
