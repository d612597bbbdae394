"""What a process actor works with: the log, the results, modules, and a way to call other actors."""

from __future__ import annotations

from typing import NamedTuple

from aoray.actors.loading import Loader
from aoray.actors.modules import ModuleStore
from aoray.actors.results import Results
from aoray.arweave.client import ArweaveClient
from aoray.calls import Call, RayCalls
from aoray.modules.lua import LUA_WASM
from aoray.scheduler.reader import ShardedReader, open_readers
from aoray.settings import Settings
from aoray.wasm import Engine


class Parts(NamedTuple):
    """What an actor works with; tests put their own in."""

    log: ShardedReader
    results: Results
    loader: Loader
    call: Call
    built_in: bytes = b""  # a module to have ready before anybody asks for it


def parts_of(settings: Settings) -> Parts:
    """The parts of a real actor."""
    modules = ModuleStore(settings.data / "modules", ArweaveClient(settings.arweave_url).item)
    return Parts(
        open_readers(settings),
        Results(settings.data / "results.sqlite"),
        Loader(modules, Engine(settings.data / "compiled")),
        RayCalls(),
        LUA_WASM.read_bytes(),
    )
