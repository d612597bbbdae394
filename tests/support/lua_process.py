"""A process of the built-in Lua module, driven without a computer around it: messages in, results out.

Ids are the ones of the scenarios: the process, its owner, its authority, and three strangers.
"""

from __future__ import annotations

import json
from typing import Any

from aoray.modules.lua import LUA_COMPUTE_LIMIT
from aoray.vm.interface import Limits, Outcome
from aoray.vm.wasm import WasmModule
from aoray.vm.wasm.instance import WasmInstance

PROCESS, OWNER, MODULE, AUTHORITY = "P" * 43, "O" * 43, "M" * 43, "A" * 43
BOB, ALICE, CAROL = "B" * 43, "C" * 43, "D" * 43
PROTOCOL = {"Data-Protocol": "ao", "Variant": "ao.TN.1"}
FIXED_TAGS = {"Message": 4, "Process": 7}


def tag_list(tags: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in tags.items()]


def process_tags(**more: str) -> list[dict[str, Any]]:
    given = {name.replace("_", "-"): value for name, value in more.items()}
    return tag_list({**PROTOCOL, "Type": "Process", "Module": MODULE, "Authority": AUTHORITY, **given})


def to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def tags_of(item: dict[str, Any]) -> dict[str, Any]:
    """An outbox item's tags by name (tests use no name twice where they call this)."""
    return {tag["name"]: tag.get("value") for tag in item["Tags"]}


class LuaProcess:
    """A process, booted, with Timestamps and Nonces that count up by themselves."""

    def __init__(
        self,
        module: WasmModule,
        tags: list[dict[str, Any]] | None = None,
        data: str = "",
        signer: str = OWNER,
        fuel: int = LUA_COMPUTE_LIMIT,
    ) -> None:
        self.instance = WasmInstance.boot(module, Limits(fuel=fuel))
        self.nonce = 0
        self.tags = tags or process_tags(Name="tester")
        module_info = {"Id": MODULE, "Owner": OWNER, "Tags": []}
        self.env = {"Process": {"Id": PROCESS, "Owner": signer, "Tags": self.tags}, "Module": module_info}
        parent = next((tag["value"] for tag in self.tags if tag["name"] == "From-Process"), signer)
        self.booted = self.evaluate(
            {**self._host_fields(PROCESS, parent, signer), "Data": data, "Tags": self.tags}
        )

    def _host_fields(self, message_id: str, sender: str, signer: str) -> dict[str, Any]:
        times = {"Timestamp": 1_700_000_000_000 + self.nonce, "Block-Height": 1_600_000, "Nonce": self.nonce}
        host = {"Epoch": 0, "Cron": False, "Hash-Chain": "chain", "Module": MODULE, "Anchor": "0"}
        return {"Id": message_id, "Target": PROCESS, "Owner": signer, "From": sender, **times, **host}

    def evaluate(self, message: dict[str, Any]) -> Outcome:
        return self.instance.evaluate(to_json(message), to_json(self.env))

    def send(
        self,
        action: str = "",
        data: str | None = "",
        sender: str = BOB,
        signer: str = "",
        tags: dict[str, Any] | list[tuple[str, str]] | None = None,
        **host: Any,
    ) -> Outcome:
        """A message by `sender`; `host` are fields that the host would set. A list of tags is all of them."""
        self.nonce += 1
        message = self._host_fields(f"{self.nonce:043}", sender, signer or sender) | host
        named = {"Action": action} if action else {}
        if isinstance(tags, list):
            message["Tags"] = [{"name": name, "value": value} for name, value in tags]
        else:
            message["Tags"] = tag_list({**PROTOCOL, "Type": "Message", **named, **(tags or {})})
        if data is not None:
            message["Data"] = data
        return self.evaluate(message)

    def eval(self, source: str, sender: str = OWNER) -> Outcome:
        return self.send("Eval", source, sender)

    def run(self, source: str) -> str:
        """What the prompt shows for `source`; it must not fail."""
        outcome = self.eval(source)
        assert outcome.error is None, outcome.error
        return shown(outcome)


def shown(outcome: Outcome) -> str:
    assert outcome.error is None, outcome.error
    data = outcome.response["Output"]["data"]
    assert isinstance(data, str)
    return data


def sent(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.error is None, outcome.error
    messages = outcome.response["Messages"]
    assert isinstance(messages, list)
    return messages
