"""Modules that our own tools publish may use enough fuel for messages of any size."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from lua_process import BOB, LuaProcess
from programs import AOS

from aoray import limits
from aoray.client import Client
from aoray.execution.asked_limits import check_limits
from aoray.execution.loader import limits_of
from aoray.protocol.modules import module_tags
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag, Tags, all_of
from aoray.settings import Settings
from aoray.vm.wasm import WasmEngine

MESSAGE_BYTES = 4_000_000
FORMAT = "wasm64-unknown-emscripten-draft_2024_02_15"


async def published(*tags: Tag) -> Tags:
    """The tags of a module that aoray ships."""
    async with Client("http://127.0.0.1:9", generate_ed25519()) as client:
        return client.module(b"\0asm", FORMAT, tags).tags


@pytest.mark.parametrize(
    ("given", "stated"),
    [
        ((), [str(limits.FUEL_PUBLISHED)]),
        ((Tag("Compute-Limit", "5"),), ["5"]),
    ],
)
async def test_a_module_states_a_compute_limit(given: Sequence[Tag], stated: list[str]) -> None:
    tags = await published(*given)
    assert list(all_of(tags, "Compute-Limit")) == stated
    default = Settings()
    check_limits((), tags, compute_max=default.compute_limit_max, memory_max=default.memory_limit_max)


@pytest.mark.node
async def test_aos_as_we_publish_it_takes_a_message_of_4_mb(lua_engine: WasmEngine) -> None:
    module = lua_engine.load(AOS.read_bytes())
    for tags, error in ((module_tags(FORMAT), "out of compute"), (await published(), None)):
        process = LuaProcess(module, fuel=limits_of((), tuple(tags)).fuel)
        assert process.send("", "x" * MESSAGE_BYTES, BOB, "", [("Action", "A")]).error == error
