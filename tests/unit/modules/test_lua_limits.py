"""Nothing that a program does breaks its process: it gets an error, and the next message works."""

from __future__ import annotations

import pytest
from lua_process import LuaProcess

from aoray.limits import MIB
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmModule
from aoray.vm.wasm.instance import WasmInstance

HOSTILE = {
    "local function f() return 1 + f() end return f()": "stack overflow",
    "local function f() return ('x'):gsub('.', f) end return f()": "C stack overflow",
    "return load('return ' .. ('('):rep(300) .. '1' .. (')'):rep(300))": "too many C levels",
    "local t = setmetatable({}, {__index = function(t, k) return t[k] end}) return t.x": "C stack overflow",
    "local function f() return coroutine.wrap(f)() end return f()": "C stack overflow",
    "local t = {} for i = 1, 5000 do t = {t} end return require('json').encode(t)": "too deeply nested",
    "return require('json').decode(('['):rep(100000))": "too deeply nested",
    "while true do end": "out of compute",
    "coroutine.wrap(function() while true do end end)()": "out of compute",
    "return ('x'):rep(5e6):find(('x*'):rep(30) .. 'y')": "out of compute",
    "local s = 'x' while true do s = s .. s end": "not enough memory",
    "for i = 1, 1e9 do Inbox[i] = i end": "not enough memory",
    "os.exit()": "unreachable",
    "error(setmetatable({}, {__tostring = function() error('x') end}))": "an error that has no text",
    "local t = {} t.t = t return require('json').encode(t)": "circular reference",
    "Send({Target = 'x', Tag = 0 / 0})": "unexpected number value",
}


@pytest.fixture(scope="module")
def process(lua_module: WasmModule) -> LuaProcess:
    small = LuaProcess(lua_module)
    small.instance.close()
    small.instance = WasmInstance.boot(lua_module, Limits(memory_bytes_max=128 * MIB, fuel=7_000_000_000))
    small.nonce = 0
    small.run("X = 1")
    return small


@pytest.mark.parametrize(("source", "text"), HOSTILE.items())
def test_a_hostile_program_gets_an_error_and_the_next_message_works(
    process: LuaProcess, source: str, text: str
) -> None:
    error = process.eval(source).error
    assert error is not None
    assert text in error
    assert process.run("return X + 1") == "2"


@pytest.mark.parametrize(
    "source",
    [
        "Handlers = nil ao = nil Inbox = nil Errors = nil Name = nil Prompt = nil",
        "HANDLER_PRINT_LOGS = 5",
        "Handlers.list = nil",
        "ao.outbox = nil",
        "Inbox = 5",
        "Prompt = function() error('no prompt') end",
        "Prompt = function() return {} end",
        "setmetatable(_G, {__index = function() error('no such global') end})",
        "getmetatable('').__index = nil",
        "collectgarbage('stop')",
        "os = nil math = nil coroutine = nil debug = nil package = nil",
        "print = nil",
    ],
)
def test_a_spoiled_global_does_not_cost_the_process(lua_module: WasmModule, source: str) -> None:
    process = LuaProcess(lua_module)
    process.eval(source)
    assert process.send("Unhandled").error is None
    assert process.run("return 1 + 1") == "2"


def test_an_error_that_is_caught_costs_little(process: LuaProcess) -> None:
    outcome = process.eval(
        "local n = 0 for i = 1, 5000 do if not pcall(error, 'x') then n = n + 1 end end return n"
    )
    assert outcome.error is None
    assert outcome.fuel < 100_000_000
