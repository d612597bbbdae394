"""What a process actor works with: the log, the results, modules, and a way to call other actors."""

from __future__ import annotations

from typing import NamedTuple

from aoray.arweave.own_way import own_client
from aoray.cluster.calls import Call, RayCalls
from aoray.execution.loader import Loader
from aoray.modules.lua import LUA_WASM
from aoray.settings import Settings
from aoray.storage.checkpoints import Checkpoints
from aoray.storage.factory import open_files, open_index, open_readers, open_results
from aoray.storage.log_reader import ShardedReader
from aoray.storage.modules import ModuleStore
from aoray.storage.results import Results
from aoray.vm.registry import VirtualMachines


class Dependencies(NamedTuple):
    """What an actor works with; tests give it others."""

    log: ShardedReader
    results: Results
    loader: Loader
    call: Call
    built_in: bytes = b""  # a module to have ready before anybody asks for it


def dependencies_of(settings: Settings) -> Dependencies:
    """Return the dependencies of a real actor."""
    modules = ModuleStore(open_files(settings, "modules"), own_client(settings).signed)
    return Dependencies(
        open_readers(settings),
        open_results(settings),
        Loader(modules, VirtualMachines(settings.data / "compiled")),
        RayCalls(),
        LUA_WASM.read_bytes(),
    )


def open_checkpoints(settings: Settings) -> Checkpoints:
    """Open the checkpoints: their files, and their index beside the results."""
    return Checkpoints(open_files(settings, "checkpoints"), open_index(settings))
