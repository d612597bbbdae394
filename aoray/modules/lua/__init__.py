"""The built-in process module: Lua 5.3 as WASM, with the library that AO programs expect (see README.md).

The binary is committed; `build.py` makes it, and a test makes it again and compares. It imports nothing, so a
process of this module can't reach anything outside.

The module's item is the same on every computer, and so is its id: the part before the data (signature, owner,
tags) is committed beside the binary. It was signed once, with a key that was then destroyed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from aoray.limits import UPLOAD_BYTES_MAX
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_decode
from aoray.protocol.signed import ANS104, parse

LUA_MODULE_FORMAT = "wasm32-wasi"
LUA_COMPUTE_LIMIT = 7_000_000_000
"""The fuel of a message to a process that states no Compute-Limit. A load takes Lua more instructions than it
takes plain WASM, so no Lua program runs longer than other modules do with `FUEL_DEFAULT` (docs/fuel.md)."""
LUA_WASM = Path(__file__).parent / "module.wasm"
INFO = Path(__file__).parent / "module.json"


@cache
def lua_item() -> DataItem:
    """Return the built-in module as the item that is published."""
    head = b64url_decode(json.loads(INFO.read_text())["head"])
    return parse(head + LUA_WASM.read_bytes(), ANS104, bytes_max=UPLOAD_BYTES_MAX)


@cache
def lua_module_id() -> str:
    """Return the id of the built-in module of this version of aoray."""
    return str(json.loads(INFO.read_text())["id"])
