"""Spawns over HTTP: what could never run is refused in words; modules and their owners are looked at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import pytest
import wasmtime
from actor_rig import ECHO
from fake_computer import AO, NOWHERE, Computer

from aoray import limits
from aoray.errors import UnsupportedModule
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.tags import Tag

_HANDLE = '(func (export "handle") (param i32 i32) (result i32) (i32.const 0))'
_MALLOC = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'
_MEMORY = '(memory (export "memory") 1)'
CANNOT_RUN = {
    "does not begin with": b"print('hello')",
    "cut short": b"\0asm\1\0\0\0\1\x70",
    "does not export the function handle": _MEMORY + _MALLOC,
    "does not export a memory": _HANDLE + _MALLOC,
    "imports env.launch, which is not known": '(import "env" "launch" (func))' + _MEMORY + _HANDLE + _MALLOC,
    "imports env.memory, which is not a function": '(import "env" "memory" (memory 1))' + _HANDLE + _MALLOC,
    "garbage-collected types": "(type (struct))" + _MEMORY + _HANDLE + _MALLOC,
    "mutable global that is not a number": "(global (mut funcref) (ref.null func))"
    + _MEMORY + _HANDLE + _MALLOC,
    "at most 1073741824 are granted": '(memory (export "memory") 60000)' + _HANDLE + _MALLOC,
}  # fmt: skip


@pytest.mark.parametrize("reason", [*CANNOT_RUN, ""])
async def test_a_module_that_cannot_run_is_refused_at_the_spawn_in_words(
    computer: Computer, every: httpx.AsyncClient, reason: str
) -> None:
    content = CANNOT_RUN.get(reason, _MEMORY + _HANDLE + _MALLOC)
    wasm = wasmtime.wat2wasm(f"(module {content})") if isinstance(content, str) else content
    module = build(computer.user, tags=[*AO, Tag("Type", "Module")], data=bytes(wasm))
    computer.arweave.items[module.id] = module
    tags = [*AO, Tag("Type", "Process"), Tag("Module", module.id), Tag("Scheduler", computer.signer.address)]
    response = await every.post("/", content=build(computer.user, tags=tags, data=b"x").raw)
    if reason:
        assert (response.status_code, response.json()["code"]) == (422, "unsupported_module")
        assert reason in response.json()["error"]
    else:
        assert response.status_code == 202


async def test_a_spawn_with_a_target_is_assigned_to_it(computer: Computer, every: httpx.AsyncClient) -> None:
    parent = await computer.spawn()
    child = computer.process_item(Tag("N", "2"), target=parent)
    assert (await every.post("/", content=child.raw)).status_code == 202
    entry = computer.gateway.lookups.reader.entry(parent, child.id)
    assert entry is not None
    assert entry.nonce == 1
    orphan = computer.process_item(Tag("N", "3"), target=NOWHERE)
    assert (await every.post("/", content=orphan.raw)).status_code == 202


async def test_a_module_is_looked_at_once_however_many_spawn_it_and_whatever_comes_of_it(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' spawns wait for it: a look takes as long as a gateway takes to send 64 MiB."""
    tags = [*AO, Tag("Type", "Module")]
    wasm = bytes(wasmtime.wat2wasm(ECHO.read_text()))
    good, bad = (build(computer.user, tags=tags, data=data) for data in (wasm, b"no wasm"))
    computer.arweave.items |= {good.id: good, bad.id: bad}
    asked, right = list[str](), computer.arweave.item

    async def item(module_id: str, bytes_max: int = 0) -> DataItem:
        asked.append(module_id)
        return await right(module_id)

    monkeypatch.setattr(computer.arweave, "item", item)
    require = computer.gateway.lookups.require_module
    for module in (good, bad):
        for _ in range(2):
            together = (require(module.id) for _ in range(5))
            found = await asyncio.gather(*together, return_exceptions=True)
            assert {isinstance(each, UnsupportedModule) for each in found} == {module is bad}
    assert asked == [good.id, bad.id]


async def test_what_a_module_is_its_owner_says_and_not_the_gateway(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of its limits. Without its data nothing can be verified: then the gateway is believed for a
    moment."""
    wasm, now_s = bytes(wasmtime.wat2wasm(ECHO.read_text())), 1_000.0
    signed = (*AO, Tag("Type", "Module"), Tag("Compute-Limit", "7"))
    true, none, later = (
        build(computer.user, tags=tags, data=wasm)
        for tags in (signed, [*AO, Tag("Type", "Message")], [*signed, Tag("N", "2")])
    )
    computer.arweave.items |= {true.id: true, none.id: none}
    lie = (Tag("Type", "Module"), Tag("Compute-Limit", "9000000000000"))

    async def lies(_: str) -> tuple[Tag, ...]:
        return lie

    monkeypatch.setattr(computer.arweave, "tags", lies)
    monkeypatch.setattr("aoray.gateway.core.lookups.time", SimpleNamespace(monotonic=lambda: now_s))
    require = computer.gateway.lookups.require_module
    assert await require(true.id) == true.tags
    for _ in range(2):
        with pytest.raises(UnsupportedModule):
            await require(none.id)
    assert await require(later.id) == lie
    computer.arweave.items[later.id] = later
    assert await require(later.id) == lie
    now_s += limits.MODULE_WORD_SECONDS_MAX
    assert await require(later.id) == later.tags


@pytest.mark.parametrize(
    "limit",
    [
        ("Compute-Limit", "9000000000001"),
        ("Compute-Limit", "lots"),
        ("Memory-Limit", "2-gb"),
        ("Memory-Limit", "0"),
    ],
)
async def test_a_spawn_whose_limits_cannot_be_granted_is_refused_in_words(
    computer: Computer, every: httpx.AsyncClient, limit: tuple[str, str]
) -> None:
    response = await every.post("/", content=computer.process_item(Tag(*limit)).raw)
    assert response.status_code == 400
    said = response.json()
    assert limit[0] in said["error"]
    assert said["field"] == f"tags.{limit[0]}"
    assert str(limits.FUEL_MAX if limit[0] == "Compute-Limit" else limits.MEMORY_BYTES_MAX) in said["hint"]
    assert (
        await every.post("/", content=computer.process_item(Tag("Compute-Limit", "9000000000000")).raw)
    ).is_success
