"""The built-in process module: Lua 5.3 as WASM, with the library that AO programs expect (see README.md).

The binary is committed as it was built; `build.py` makes it, and a test makes it again and compares. A
process that is spawned on it evaluates each of its messages in there. It imports nothing, so it reaches out
to nothing.
"""

from __future__ import annotations

from pathlib import Path

LUA_MODULE_FORMAT = "wasm32-wasi"
LUA_WASM = Path(__file__).parent / "module.wasm"
