"""The AO computer, on Ray.

These are the names for programs: `aoray.connect` (or `aoray.connect_async`) and what belongs to it. Each is
imported when it is first used, and neither Ray nor wasmtime with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aoray._version import __version__ as __version__

if TYPE_CHECKING:
    from aoray import errors
    from aoray.client.blocking import Connection, connect, log
    from aoray.client.connection import AsyncConnection, connect_async
    from aoray.client.models import Message, Result, Sent, Spawn, Spawned
    from aoray.client.wallets import new_wallet

__all__ = [
    "AsyncConnection",
    "Connection",
    "Message",
    "Result",
    "Sent",
    "Spawn",
    "Spawned",
    "connect",
    "connect_async",
    "errors",
    "log",
    "new_wallet",
]

_ROOMS = {
    "models": ("Message", "Result", "Sent", "Spawn", "Spawned"),
    "blocking": ("Connection", "connect", "log"),
    "connection": ("AsyncConnection", "connect_async"),
    "wallets": ("new_wallet",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("aoray.errors")
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"aoray.client.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
