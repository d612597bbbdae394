"""A token as a guest, in Python in place of WASM: deterministic, and small enough to be believed.

Each process begins with `MINT`. `Transfer` (from anyone) takes from the balance and sends a `Credit-Notice`
through the outbox; a `Credit-Notice` (from a process, signed by the authority) adds to it, and goes on to the
next of its `Route`, if it has one.
"""

from __future__ import annotations

from typing import Any

import orjson
from fake_arweave import MODULE

from aoray.execution.guest_input import environment_of
from aoray.execution.loader import SpawnedProcess
from aoray.protocol.ans104.items import parse
from aoray.protocol.modules import ModuleInfo
from aoray.vm.interface import Instance, Limits, Outcome, Program
from aoray.vm.registry import PreparedProgram

MINT = 1000


class TokenProgram(Program):
    """The module of all simulated processes."""

    def boot(self, limits: Limits) -> Token:
        return Token()


class Token(Instance):
    """A process of it."""

    def __init__(self) -> None:
        self.balance = MINT
        self.seen = 0

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        given = orjson.loads(message)
        tags = {tag["name"]: tag["value"] for tag in given["Tags"]}
        self.seen += 1
        action, quantity = tags.get("Action"), int(tags.get("Quantity", "0"))
        if action == "Credit-Notice":
            if given["Owner"] != tags_of(env)["Authority"]:
                return Outcome({}, "not from a process", 1)
            self.balance += quantity
            route = tags["Route"].split(",") if tags.get("Route") else []
            return self._send(given, quantity, route)
        if action == "Transfer":
            return self._send(given, quantity, tags["Route"].split(","))
        return self._said(given, [])

    def _send(self, given: Any, quantity: int, route: list[str]) -> Outcome:
        if not route:
            return self._said(given, [])
        if quantity > self.balance:
            return Outcome({}, f"only {self.balance} left", 1)
        self.balance -= quantity
        tags = {"Action": "Credit-Notice", "Quantity": str(quantity), "Route": ",".join(route[1:])}
        entry = {"Target": route[0], "Tags": [{"name": name, "value": value} for name, value in tags.items()]}
        return self._said(given, [entry])

    def _said(self, given: Any, messages: list[Any]) -> Outcome:
        output = f"{self.seen} {self.balance} {given['Timestamp']} {given['Hash-Chain']}"
        return Outcome({"Output": output, "Messages": messages, "Assignments": [], "Spawns": []}, None, 1)

    def dry_run(self, message: bytes, env: bytes) -> Outcome:
        raise NotImplementedError

    def memory(self) -> bytes:
        return b"%d" % self.balance


def tags_of(env: bytes) -> dict[str, str]:
    return {tag["name"]: tag["value"] for tag in orjson.loads(env)["Process"]["Tags"]}


class SimLoader:
    """Stands for `loading.Loader`: every process is a token."""

    def ready(self, process_id: str, spawned: SpawnedProcess) -> PreparedProgram | None:
        """Every second process finds its module loaded."""
        return None if sum(spawned.item) % 2 else self._prepared(process_id, spawned.item)

    async def prepared(self, process_id: str, spawned: SpawnedProcess) -> PreparedProgram:
        return self._prepared(process_id, spawned.item)

    def _prepared(self, process_id: str, item: bytes) -> PreparedProgram:
        info = ModuleInfo(MODULE, MODULE, ())
        return PreparedProgram(TokenProgram(), Limits(), environment_of(process_id, parse(item), info))
