"""What a process actor works with: the log, the results, modules, and a way to call other actors."""

from __future__ import annotations

from typing import NamedTuple

from aoray.actors.checkpoints import Checkpoints
from aoray.actors.loading import Loader
from aoray.actors.modules import ModuleStore
from aoray.actors.results import Results
from aoray.arweave.client import ArweaveClient
from aoray.calls import Call, RayCalls
from aoray.files import files_of
from aoray.modules.lua import LUA_WASM
from aoray.scheduler.reader import ShardedReader
from aoray.scheduler.stores import open_index, open_readers, open_results
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
    modules = ModuleStore(files_of(settings, "modules"), ArweaveClient(settings.arweave_url).signed)
    return Parts(
        open_readers(settings),
        open_results(settings),
        Loader(modules, Engine(settings.data / "compiled")),
        RayCalls(),
        LUA_WASM.read_bytes(),
    )


def open_checkpoints(settings: Settings) -> Checkpoints:
    """The checkpoints: their files, and their index beside the results."""
    return Checkpoints(files_of(settings, "checkpoints"), open_index(settings))
