"""The built-in process module: Lua 5.3 as WASM, with the library that AO programs expect (see README.md).

The binary is committed as it was built; `build.py` makes it, and a test makes it again and compares. A
process that is spawned on it evaluates each of its messages in there. It imports nothing, so it reaches out
to nothing.

Its item is the same on every computer, so its id is too: what is before the data (signature, owner, tags) is
committed beside the binary, signed once, by a key that was dropped then.
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
"""Fuel of a message to a process that states none itself. Lua spends more on a load than plain WASM does, so
that no program in it takes longer than other modules do with `FUEL_DEFAULT` (docs/fuel.md)."""
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
