"""Builds the Lua module: `python -m aoray.modules.lua.build [--check]`.

Upstream Lua 5.3.6 comes from a package of the Python index (its source distribution includes it), by name,
version and hash; the compiler is the package `ziglang`, pinned by the lock file. aoray's own C and Lua files
are beside this file. The same inputs give the same bytes on any machine and in any directory: the build has a
directory of its own with relative names, no time stamps, and no symbol names. `--check` compares with the
committed binary instead of replacing it. On failure nothing is written.

New bytes are signed as a module, with a key that is made for this and then destroyed; unchanged bytes keep
their signature, and so their id.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from aoray.modules.lua import LUA_COMPUTE_LIMIT, LUA_MODULE_FORMAT
from aoray.protocol.ans104.items import build as build_item
from aoray.protocol.ids import b64url_encode
from aoray.protocol.modules import module_tags
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag

HERE = Path(__file__).parent
WASM = HERE / "module.wasm"
INFO = HERE / "module.json"

SOURCE_PACKAGE = "lupa==2.5"
SOURCE_SHA256 = "69c6a89f2b7b08a3040d7ed2a1eeccba37a31ddc92fa199339c53a2ae3c48c34"
SOURCE_FOLDER = "lupa-2.5/third-party/lua53/"
UPSTREAM_FILES = (
    *("lapi", "lauxlib", "lbaselib", "lbitlib", "lcode", "lcorolib", "lctype", "ldblib", "ldebug", "ldo"),
    *("ldump", "lfunc", "lgc", "llex", "lmathlib", "lmem", "loadlib", "lobject", "lopcodes", "loslib"),
    *("lparser", "lstate", "lstring", "lstrlib", "ltable", "ltablib", "ltm", "lundump", "lutf8lib"),
    *("lvm", "lzio"),
)

FEATURES = "generic+exception_handling+bulk_memory+multivalue+reference_types+sign_ext+nontrapping_fptoint"
STACK_BYTES = (
    2 * 1024 * 1024
)  # Lua nests 200 C calls, which need about half; below it is nothing to overwrite
FLAGS = (
    *("-target", "wasm32-wasi", "-mexec-model=reactor", f"-mcpu={FEATURES}", "-std=gnu23", "-O3", "-DNDEBUG"),
    *("-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false"),  # setjmp without the host's help
    *("-Wall", "-Wno-string-plus-int", "-Wno-unused-but-set-variable", "-g0", "-s"),
    *("-Wl,--gc-sections", "-Wl,--strip-all", f"-Wl,-z,stack-size={STACK_BYTES}"),
    *("-Wl,--export=malloc", "-Wl,--export=free"),
    *("-include", "c/host.h", "-I.", "-Iupstream", "-Ic"),
)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fetch_source(folder: Path) -> Path:
    """Return the source distribution, downloaded into `folder` unless it is there; its hash is checked."""
    archive = folder / (SOURCE_PACKAGE.replace("==", "-") + ".tar.gz")
    if not archive.exists():
        wanted = folder / "source.txt"
        wanted.write_text(f"{SOURCE_PACKAGE} --hash=sha256:{SOURCE_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        command += ["--no-build-isolation", "--require-hashes", "--dest", str(folder), "-r", str(wanted)]
        subprocess.run(command, check=True)
    found = _digest(archive.read_bytes())
    if found != SOURCE_SHA256:
        raise ValueError(f"{archive} has sha256 {found}, not {SOURCE_SHA256}")
    return archive


def _unpack_lua(archive: Path, to: Path) -> None:
    """Extract only upstream Lua's files, without folders, so that nothing in the archive can choose a
    path."""
    to.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix(SOURCE_FOLDER)
            content = tar.extractfile(member) if member.name.startswith(SOURCE_FOLDER) else None
            if content is not None and "/" not in name and name.endswith((".c", ".h")):
                (to / name).write_bytes(content.read())


def _module_name(path: Path) -> str:
    return path.stem if path.stem in ("ao", "io") else "." + path.stem


def _embed(ours: Path) -> str:
    """Return a C header with every Lua file as bytes, under the name that `require` uses."""
    files = sorted((ours / "lua").glob("*.lua"))
    text = "/* made by build.py */\n#include <stddef.h>\n"
    for number, path in enumerate(files):
        text += f'static const unsigned char file_{number}[] = {{\n#embed "lua/{path.name}"\n}};\n'
    names = enumerate(map(_module_name, files))
    rows = [f'    {{"{name}", file_{number}, sizeof file_{number}}},\n' for number, name in names]
    kind = "struct { const char *name; const unsigned char *source; size_t size; }"
    return f"{text}static const {kind} embedded[] = {{\n{''.join(rows)}    {{NULL, NULL, 0}}}};\n"


def _lay_out(work: Path, archive: Path) -> None:
    """Make the build's directory, with the same contents wherever it is."""
    _unpack_lua(archive, work / "upstream")
    for folder, pattern in (("c", "*"), ("lua", "*.lua")):
        (work / folder).mkdir()
        for path in (HERE / folder).glob(pattern):
            (work / folder / path.name).write_bytes(path.read_bytes())
    (work / "embedded.h").write_text(_embed(work))


def compile_module(archive: Path) -> bytes:
    """Compile the module from the source distribution, and return its bytes."""
    with tempfile.TemporaryDirectory(prefix="aoray-lua-") as name:
        work = Path(name)
        _lay_out(work, archive)
        ours = [f"c/{path.name}" for path in sorted((work / "c").iterdir()) if path.suffix in (".c", ".S")]
        sources = ours + [f"upstream/{file}.c" for file in UPSTREAM_FILES]
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", "module.wasm", *sources]
        subprocess.run(command, cwd=work, check=True)
        return (work / "module.wasm").read_bytes()


def build(cache: Path) -> bytes:
    """Fetch the source into `cache` unless it is there, compile the module, and return its bytes."""
    cache.mkdir(parents=True, exist_ok=True)
    return compile_module(fetch_source(cache))


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aoray"


def main(arguments: list[str]) -> int:
    """Build the module and replace the committed one, or with `--check` compare them; return the exit
    status."""
    wasm = build(_default_cache())
    if "--check" in arguments:
        return 0 if wasm == WASM.read_bytes() else 1
    WASM.write_bytes(wasm)
    INFO.write_text(json.dumps(_info(wasm), indent=2) + "\n")
    return 0


def _info(wasm: bytes) -> dict[str, str | int]:
    digest = _digest(wasm)
    known = json.loads(INFO.read_text()) if INFO.exists() else {}
    signed = known if known.get("sha256") == digest and "head" in known else _signed(wasm)
    about = {"sha256": digest, "bytes": len(wasm), "id": signed["id"], "head": signed["head"]}
    return about | {"source": SOURCE_PACKAGE, "source_sha256": SOURCE_SHA256}


def _signed(wasm: bytes) -> dict[str, str]:
    """Return the id of a new item with these bytes, and the bytes before them in the item."""
    limit = Tag("Compute-Limit", str(LUA_COMPUTE_LIMIT))
    tags = module_tags(LUA_MODULE_FORMAT, [Tag("Name", "aoray-lua"), limit])
    item = build_item(generate_ed25519(), tags=tags, data=wasm)
    return {"id": item.id, "head": b64url_encode(item.raw[: -len(wasm)])}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
