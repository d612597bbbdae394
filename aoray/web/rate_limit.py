"""Whom a request is from: the address that a rate counts. Pure: no I/O.

An address is the socket's peer; what a proxy says of the one before it counts only if that proxy is
trusted. IPv6 addresses count by their /64, since who has one address of it has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aoray import limits
from aoray.errors import ClientError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
IPV6_PREFIX_BITS = 64
LOCAL = "local"  # who comes by a Unix socket


def networks(text: str) -> tuple[Network, ...]:
    """Return the trusted proxies of the settings: addresses and networks (`10.0.0.0/8`), separated by
    commas."""
    try:
        return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ClientError(
            f"AORAY_TRUSTED_PROXIES is {text!r}: {error}", hint="Like 127.0.0.1,10.0.0.0/8"
        ) from error


def address_of(scope: Mapping[str, Any], trusted: tuple[Network, ...] = ()) -> str:
    """Return the address that a request is from: the peer, or behind trusted proxies the last one that is
    not one of them."""
    client = scope.get("client")
    if not trusted:
        return key_of(client[0]) if client else LOCAL
    peer_address = _address(client[0]) if client else None
    if peer_address is None:  # a Unix socket
        return str(client[0]) if client else LOCAL
    for text in reversed(_forwarded(scope)):
        if not any(peer_address in network for network in trusted):
            break
        before = _address(text)
        if before is None:  # a proxy's nonsense counts for that proxy
            break
        peer_address = before
    return _key(peer_address)


@lru_cache(maxsize=limits.RATE_KEYS_MAX)
def key_of(host: str) -> str:
    """Return the key under which an address is counted; what is not an address (a Unix socket, a driver)
    is its own key."""
    address = _address(host)
    return host if address is None else _key(address)


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
