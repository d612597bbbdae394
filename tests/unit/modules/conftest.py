"""The built-in module, compiled once for all of these tests, and fresh processes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lua_process import LuaProcess

from aoray.modules.lua import LUA_WASM
from aoray.wasm import Engine, Module


@pytest.fixture(scope="session")
def lua_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("compiled-lua"))


@pytest.fixture(scope="session")
def lua_module(lua_engine: Engine) -> Module:
    return lua_engine.load(LUA_WASM.read_bytes())


@pytest.fixture
def process(lua_module: Module) -> LuaProcess:
    return LuaProcess(lua_module)


@pytest.fixture(scope="module")
def calculator(lua_module: Module) -> Callable[[str], str]:
    """Shows what an expression gives, in a process that a file's tests share: for what leaves no trace."""
    return LuaProcess(lua_module).run
