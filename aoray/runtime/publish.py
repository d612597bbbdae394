"""What a computer publishes on Arweave when it starts: the built-in module, its location record, its
hand-overs."""

from __future__ import annotations

import httpx
import orjson
import ray

from aoray import limits
from aoray.client import OCTET_STREAM
from aoray.cluster.names import shard_actor
from aoray.errors import Unavailable
from aoray.modules.lua import LUA_WASM, lua_item
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.forms import AO
from aoray.protocol.ids import b64url_decode
from aoray.protocol.signed import ANS104, parse
from aoray.protocol.tags import Tag
from aoray.settings import Settings
from aoray.storage import durable_files
from aoray.storage.factory import open_files
from aoray.storage.key_files import load_key, units_of
from aoray.storage.modules import store_module
from aoray.vm.registry import VirtualMachines

LOCATION_TTL_MS = str(3_600_000)


def compile_lua(settings: Settings) -> None:
    """Compile the built-in module into the cache while the actors start, so that no message waits for it."""
    VirtualMachines(settings.data / "compiled").load(LUA_WASM.read_bytes())


def publish_lua(settings: Settings) -> None:
    """Publish the built-in Lua module on Arweave, and write its id to the file that gateways read."""
    item = lua_item()
    store_module(open_files(settings, "modules"), item)  # a real Arweave shows the item only after a while
    note = settings.data / "lua-module.json"
    content = orjson.dumps({"id": item.id})
    if note.exists() and note.read_bytes() == content:
        return
    _upload(settings, item)
    durable_files.write_atomic(note, content)


def publish_hand_overs(settings: Settings) -> None:
    """Publish the hand-overs of each unit on Arweave, for those who verify older statements.

    Each start publishes the same items, which Arweave accepts once.
    """
    for held in units_of(settings.data).values():
        for each in held:
            if each.hand_over:
                _upload(settings, parse(b64url_decode(each.hand_over, field="hand_over"), ANS104))


def publish_location(settings: Settings) -> None:
    """Publish a location record on Arweave: where the scheduler can be reached, for clients that look up its
    address, and its compute unit, for those who verify attestations (docs/wire-contract.md §2.5,
    protocol/forms.py).

    The record has no data. Earlier versions signed one space as data, and then a stranger's tick could pass
    for a newer location. The present record is a different item, and so it is the newest even where there are
    such ticks.
    """
    tags = [
        *AO,
        Tag("Type", "Scheduler-Location"),
        Tag("Url", f"http://{settings.host}:{settings.port + 3}"),
        Tag("Time-To-Live", LOCATION_TTL_MS),
        Tag("Compute-Unit", load_key(settings, "compute").address),
    ]
    _upload(settings, build(load_key(settings, "scheduler"), tags=tags))


def _upload(settings: Settings, item: DataItem) -> None:
    if settings.publishes:
        ray.get(ray.get_actor(shard_actor(0)).publish.remote([item.raw]), timeout=limits.START_SECONDS_MAX)
        return
    try:
        response = httpx.post(
            f"{settings.arweave_url}/tx", content=item.raw, headers=OCTET_STREAM, timeout=60
        )
    except httpx.TransportError as error:
        raise Unavailable(
            f"{settings.arweave_url} does not answer: {error}", hint="Check that Arweave can be reached."
        ) from error
    if response.is_error:
        raise Unavailable(
            f"{settings.arweave_url} did not take {item.id}: {response.status_code} {response.text[:200]}",
            hint="An Arweave that does not accept data items needs --bundler-url or --arweave-wallet too.",
        )
