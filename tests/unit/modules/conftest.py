"""The built-in module, compiled once for all of these tests, and fresh processes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lua_process import LuaProcess

from aoray.modules.lua import LUA_WASM
from aoray.vm.wasm import WasmEngine, WasmModule


@pytest.fixture(scope="session")
def lua_engine(compiled: Path) -> WasmEngine:
    return WasmEngine(compiled)


@pytest.fixture(scope="session")
def lua_module(lua_engine: WasmEngine) -> WasmModule:
    return lua_engine.load(LUA_WASM.read_bytes())


@pytest.fixture
def process(lua_module: WasmModule) -> LuaProcess:
    return LuaProcess(lua_module)


@pytest.fixture(scope="module")
def calculator(lua_module: WasmModule) -> Callable[[str], str]:
    """Shows what an expression gives, in a process that a file's tests share: for what leaves no trace."""
    return LuaProcess(lua_module).run
