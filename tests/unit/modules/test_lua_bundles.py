"""A program and the files that it requires from beside it, as one source that the real module evaluates."""

from __future__ import annotations

from pathlib import Path

import pytest
from lua_process import LuaProcess, process_tags, shown

from aoray.cli.bundling import bundle, required
from aoray.vm.wasm import WasmModule


def write(folder: Path, **files: str) -> Path:
    """Files by name (`lib__words` is lib/words.lua); gives `main`."""
    for name, text in files.items():
        file = folder / (name.replace("__", "/") + ".lua")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "main.lua"


def booted(module: WasmModule, program: Path) -> LuaProcess:
    return LuaProcess(module, process_tags(On_Boot="Data"), data=bundle(program).decode())


def test_files_that_are_required_come_along_with_those_that_they_require(
    lua_module: WasmModule, tmp_path: Path
) -> None:
    main = write(
        tmp_path,
        main='local w = require(".lib.words")\nlocal d = require "data"\nText = w.say() .. d.x',
        lib__words="local deep = require('lib.deep') return {say = function() return deep .. \"…\\n\" end}",
        lib__deep='return "from \\\\ \\"deep\\" "',
        data__init="return {x = require([[json]]).encode({1})}",
    )
    process = booted(lua_module, main)
    assert process.booted.error is None, process.booted.error
    assert process.run("Text") == 'from \\ "deep" …\n[1]'


def test_a_file_that_two_require_is_one_module_and_one_named_as_a_library_takes_its_place(
    lua_module: WasmModule, tmp_path: Path
) -> None:
    main = write(
        tmp_path,
        main='require("a") require("b") N = require("count").n Mine = require("json").mine',
        a='require("count").n = 1',
        b='local c = require("count") c.n = c.n + 1',
        count="return {}",
        json="return {mine = 'mine'}",
    )
    assert booted(lua_module, main).run("N .. Mine") == "2mine"


def test_lines_in_errors_are_those_of_the_files(lua_module: WasmModule, tmp_path: Path) -> None:
    main = write(tmp_path, main='local a = require("lib.a")\n\na()', lib__a="\nreturn function() oops() end")
    assert "lib/a.lua:2: " in str(booted(lua_module, main).booted.error)
    main.write_text('require("lib.a")\nlocal x = nil + 1')
    assert '[string "aos"]:2: ' in str(booted(lua_module, main).booted.error)
    write(tmp_path, lib__a="this is not lua")
    assert "lib/a.lua:1: syntax error" in str(booted(lua_module, main).booted.error)


def test_a_file_that_is_evaluated_again_is_loaded_again(lua_module: WasmModule, tmp_path: Path) -> None:
    process = LuaProcess(lua_module)
    main = write(tmp_path, main='return require("a")', a="return 1")
    assert shown(process.eval(bundle(main).decode())) == "1"
    write(tmp_path, a="return 2")
    assert shown(process.eval(bundle(main).decode())) == "2"


def test_a_file_of_any_bytes_comes_as_it_is(lua_module: WasmModule, tmp_path: Path) -> None:
    main = write(tmp_path, main='return require("a")')
    (tmp_path / "a.lua").write_bytes(b"#!/usr/bin/lua\nreturn (#'\xff\xfe\t\x01')")
    assert shown(LuaProcess(lua_module).eval(bundle(main).decode())) == "4"


def test_only_calls_count_and_only_files_beside_the_program(tmp_path: Path) -> None:
    source = b"""
        -- require("comment")
        --[[ require("block") ]] --[==[ require("level") ]] ]==]
        local s = 'require("quoted")' .. "require('other')" .. [[require("long")]]
        mine.require("field") not_require("name") require(variable)
        require("one") require'two' require [[three]]
    """
    assert list(required(source)) == [b"one", b"two", b"three"]
    (tmp_path / "secret.lua").write_text("return 1")
    main = write(
        tmp_path / "in", main='require("../secret") require("/etc/hosts") require(".") require("main")'
    )
    (tmp_path / "in" / "link.lua").symlink_to(tmp_path / "secret.lua")
    main.write_text(main.read_text() + ' require("link") require("...secret")')
    assert b"return 1" not in bundle(main)


@pytest.mark.parametrize("text", ["", "return 1", "x = 1 -- nothing"])
def test_a_program_that_requires_nothing_stays_as_it_is(text: str, tmp_path: Path) -> None:
    assert bundle(write(tmp_path, main=text)) == text.encode()
