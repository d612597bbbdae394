"""The committed binary is what its sources give, byte for byte, wherever that is; and it needs no host."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

from aoray.modules.lua import LUA_COMPUTE_LIMIT, LUA_MODULE_FORMAT, LUA_WASM, build, lua_item, lua_module_id
from aoray.protocol.ans104.items import verify
from aoray.protocol.modules import module_tags
from aoray.protocol.tags import Tag


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.fetch_source(tmp_path_factory.mktemp("source"))


def test_the_hash_beside_the_binary_is_its_own() -> None:
    info = json.loads(build.INFO.read_text())
    assert info["sha256"] == hashlib.sha256(LUA_WASM.read_bytes()).hexdigest()
    assert info["source_sha256"] == build.SOURCE_SHA256


def test_the_module_has_one_item_which_is_committed_and_signed() -> None:
    item = lua_item()
    verify(item)
    assert item.id == lua_module_id() == json.loads(build.INFO.read_text())["id"]
    assert item.data == LUA_WASM.read_bytes()
    own = [Tag("Name", "aoray-lua"), Tag("Compute-Limit", str(LUA_COMPUTE_LIMIT))]
    assert sorted(item.tags) == sorted(module_tags(LUA_MODULE_FORMAT, own))


def test_the_same_bytes_keep_their_item_and_others_get_another() -> None:
    known = json.loads(build.INFO.read_text())
    assert build._info(LUA_WASM.read_bytes()) == known
    other = build._info(LUA_WASM.read_bytes() + b"x")
    assert {other["id"], other["head"], other["sha256"]}.isdisjoint(map(str, known.values()))


@pytest.mark.timeout(600)  # a compiler without a cache builds its C library first
@pytest.mark.long
def test_the_sources_give_the_committed_bytes_in_another_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All the sources are compiled; the compiler keeps its own C library.
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(build._default_cache().parent / "zig"))
    elsewhere = tmp_path / "another place" / "lua"
    shutil.copytree(build.HERE, elsewhere)
    (elsewhere / "module.wasm").unlink()
    (tmp_path / "cache" / "aoray").mkdir(parents=True)
    shutil.copy(source, tmp_path / "cache" / "aoray")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("ZIG_LOCAL_CACHE_DIR", str(tmp_path / "zig"))
    subprocess.run([sys.executable, str(elsewhere / "build.py")], check=True)
    assert (elsewhere / "module.wasm").read_bytes() == LUA_WASM.read_bytes()
    assert (elsewhere / "module.json").read_bytes() == build.INFO.read_bytes()


def test_a_changed_source_is_refused(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / source.name
    copy.write_bytes(source.read_bytes() + b"x")
    with pytest.raises(ValueError, match="sha256"):
        build.fetch_source(tmp_path)


def test_it_imports_nothing_and_exports_the_plain_abi() -> None:
    config = wasmtime.Config()
    config.wasm_exceptions = True
    module = wasmtime.Module(wasmtime.Engine(config), LUA_WASM.read_bytes())
    assert not module.imports
    exported = {export.name for export in module.exports}
    assert exported == {"memory", "_initialize", "malloc", "free", "handle"}
