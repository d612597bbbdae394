"""No message can brick a process or a node.

Whatever the guest does becomes an `Error` result, the state goes back to before it, the next message works,
and other processes do not notice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from aoray.client import Client
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

HOSTILE_WAT = Path(__file__).parents[1] / "modules/hostile.wat"
SMALL = (Tag("Memory-Limit", "64-mb"), Tag("Compute-Limit", "1000000000"))

LUA = {
    "endless loop": "while true do end",
    "endless loop that catches errors": "while true do pcall(function() while true do end end) end",
    "endless allocation": "local t = {} while true do t[#t + 1] = string.rep('x', 100000) .. #t end",
    "one huge allocation": "return #string.rep('x', 1 << 40)",
    "doubling without end": "local s = 'x' while true do s = s .. s end",
    "endless recursion": "local function f() return 1 + f() end return f()",
    "recursion through C": "local function f() return (string.gsub('x', 'x', f)) end return f()",
    "recursion through metatables": "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k)"
    " return t[k .. 'x'] end return t.x",
    "recursion through coroutines": "local function f() return coroutine.wrap(f)() end return f()",
    "backtracking": "return string.find(string.rep('a', 400), string.rep('a?', 400) .. string.rep('a', 400))",
    "an error that is a table": "error({code = 5})",
    "an error without a value": "error(nil)",
}
WASM = ["trap", "loop", "recurse", "grow", "garbage", "far", "endless", "divide", "deep", "list"]


async def ask(client: Client, process: str, action: str, data: str = "") -> dict[str, Any]:
    return await client.result(process, await client.send(process, action=action, data=data))


def check_error(found: dict[str, Any]) -> None:
    assert isinstance(found["Error"], str)
    assert found["Error"]
    assert (found["Messages"], found["Spawns"], found["Assignments"]) == ([], [], [])


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in LUA.items()])
async def test_lua_that_goes_wrong_leaves_its_process_as_it_was(client: Client, code: str) -> None:
    process = await client.spawn(tags=SMALL)
    assert (await ask(client, process, "Eval", "Kept = 1"))["Output"]["data"] == ""
    check_error(await ask(client, process, "Eval", f"Kept = 2\n{code}"))
    assert (await ask(client, process, "Eval", "Kept = Kept + 10 return Kept"))["Output"]["data"] == "11"


@pytest.fixture
async def hostile(client: Client) -> str:
    """A process that misbehaves on demand."""
    wasm = bytes(wasmtime.wat2wasm(HOSTILE_WAT.read_text()))
    module = await client.publish_module(wasm, "wasm32-wasi")
    return await client.spawn(module=module, tags=SMALL)


@pytest.mark.parametrize("fault", WASM)
async def test_wasm_that_goes_wrong_leaves_its_process_as_it_was(
    client: Client, hostile: str, fault: str
) -> None:
    before = [int(n) for n in (await ask(client, hostile, "Count"))["Output"].split()]
    check_error(await ask(client, hostile, "Misbehave", f"!{fault}"))
    assert (await ask(client, hostile, "Count"))["Output"] == "{:03d} {:03d}".format(*(n + 1 for n in before))


async def test_the_default_limits_end_an_endless_loop_too(client: Client) -> None:
    process = await client.spawn()
    check_error(await ask(client, process, "Eval", "while true do end"))
    assert (await ask(client, process, "Eval", "1 + 1"))["Output"]["data"] == "2"


async def test_other_processes_do_not_notice(client: Client, hostile: str) -> None:
    neighbours = await asyncio.gather(*(client.spawn() for _ in range(4)))
    wild = await client.spawn(tags=SMALL)
    troubles = [ask(client, hostile, "Misbehave", f"!{fault}") for fault in WASM]
    troubles += [ask(client, wild, "Eval", code) for code in LUA.values()]
    trouble = asyncio.gather(*troubles)
    for number in range(20):
        code = f"N = (N or 0) + {number} return N"
        said = await asyncio.gather(*(ask(client, each, "Eval", code) for each in neighbours))
        assert [found["Output"]["data"] for found in said] == [str(sum(range(number + 1)))] * len(neighbours)
    for found in await trouble:
        check_error(found)


async def test_no_actor_died_of_it(computer: LocalComputer, client: Client, hostile: str) -> None:
    actors = computer.actors("ProcessActor")
    for fault in WASM:
        check_error(await ask(client, hostile, "Misbehave", f"!{fault}"))
    assert computer.actors("ProcessActor") == actors
