"""A client of any AO computer over HTTP: it signs data items, spawns, sends, and waits for results.

Where in a message's journey: at its beginning and its end. The client builds the item, gives it to the
messenger, and asks the compute unit for the result. It uses only the legacy contract, so it works with other
units too. Every call raises `ClientError` if the computer refuses (with the computer's own text), and
`Unavailable` if it does not answer.

    async with Client("http://127.0.0.1:4000", signer) as client:
        process = await client.spawn()
        message = await client.send(process, action="Eval", data="1 + 1")
        print((await client.result(process, message))["Output"]["data"])
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Self

import orjson

from aoray import limits
from aoray._version import __version__
from aoray.client.transports import HttpTransport, Transport, TransportResponse, json_object, refusal
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.modules import module_tags
from aoray.protocol.signatures.base import Signer
from aoray.protocol.tags import Tag, ao_tag, as_json
from aoray.vm.registry import check_module, name_of, virtual_machine

ACCEPTED = 202
SDK = Tag("SDK", f"aoray/{__version__}")
OCTET_STREAM = {"content-type": "application/octet-stream"}


class Client:
    """A client of the computer at `url`, which signs with `signer`; over HTTP, unless another transport is
    given."""

    def __init__(self, url: str, signer: Signer, transport: Transport | None = None) -> None:
        self.url = url.rstrip("/")
        self.signer = signer
        self._transport = transport or HttpTransport(url)
        self.waits = 0  # requests that wait for future slots (`slots.following`)
        self._health: Mapping[str, Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def health(self) -> Mapping[str, Any]:
        """Return `version`, the addresses `scheduler`, `authority` and `compute`, and the id `module`. The
        answer is cached."""
        if self._health is None:
            self._health = await self._json("GET", "/health")
        return self._health

    async def spawn(
        self, *, module: str = "", tags: Iterable[Tag] = (), data: str | bytes = "", on_boot: bool = False
    ) -> str:
        """Spawn a process (of the built-in Lua module unless another is named), and return its id.

        With `on_boot` the data is Lua source that the process evaluates as it boots.
        """
        item = self.process(await self.health(), module=module, tags=tags, data=data, on_boot=on_boot)
        return await self.post(item)

    def process(
        self,
        health: Mapping[str, Any],
        *,
        module: str = "",
        tags: Iterable[Tag] = (),
        data: str | bytes = "",
        on_boot: bool = False,
    ) -> DataItem:
        """Build the signed item of a process for the computer with this `health`, without sending it."""
        return build(
            self.signer,
            anchor=unique_anchor(),
            tags=[
                Tag("Data-Protocol", "ao"),
                Tag("Variant", "ao.TN.1"),
                Tag("Type", "Process"),
                Tag("Module", module or health["module"]),
                Tag("Scheduler", health["scheduler"]),
                Tag("Authority", health["authority"]),
                *([Tag("On-Boot", "Data")] if on_boot else []),
                *tags,
                SDK,
            ],
            data=_bytes(data) or b" ",
        )

    def message(
        self, process: str, *, action: str = "", tags: Iterable[Tag] = (), data: str | bytes = ""
    ) -> DataItem:
        """Build the signed item of a message, without sending it."""
        own = [Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"), Tag("Type", "Message")]
        named = [Tag("Action", action)] if action else []
        return build(
            self.signer,
            target=process,
            anchor=unique_anchor(),
            tags=[*own, *named, *tags, SDK],
            data=_bytes(data) or b" ",
        )

    async def send(
        self, process: str, *, action: str = "", tags: Iterable[Tag] = (), data: str | bytes = ""
    ) -> str:
        """Sign and send a message, and return its id once it is ordered and durable."""
        return await self.post(self.message(process, action=action, tags=tags, data=data))

    async def post(self, item: DataItem) -> str:
        """Post an item to the messenger, and return its id. It may be repeated, since an id is scheduled
        once."""
        await self._json("POST", "/", body=item.raw)
        return item.id

    async def assign(self, process: str, message: str, *, exclude: Iterable[str] = ()) -> str:
        """Assign an existing message to a process, and return the assignment's id."""
        params = {"process-id": process, "assign": message} | (
            {"exclude": ",".join(exclude)} if exclude else {}
        )
        return str((await self._json("POST", "/", params=params))["id"])

    async def result(self, process: str, message: str) -> dict[str, Any]:
        """Return the result of a message, waiting until it is evaluated."""
        while True:
            answer = await self._request("GET", f"/result/{message}", params={"process-id": process})
            if answer.status != ACCEPTED:
                return json_object(answer, self.url)

    async def result_nowait(self, process: str, message: str) -> dict[str, Any] | None:
        """Return the result of a message, or None if there is none yet. (Other compute units may wait for
        it.)"""
        params = {"process-id": process, "wait": "0"}
        answer = await self._request("GET", f"/result/{message}", params=params)
        return None if answer.status == ACCEPTED else json_object(answer, self.url)

    async def result_at(self, process: str, nonce: int, wait_ms: int) -> dict[str, Any]:
        """Return the result of a slot, which may not exist yet; after `wait_ms`, return how far the process
        is instead."""
        params = {"process-id": process, "wait": str(wait_ms)}
        return await self._json("GET", f"/result/{nonce}", params=params)

    async def eval(self, process: str, code: str) -> dict[str, Any]:
        """Evaluate Lua in a process that this signer owns, and return the result."""
        return await self.result(process, await self.send(process, action="Eval", data=code))

    async def results(
        self, process: str, *, after: str = "", sort: str = "ASC", limit: int = 25
    ) -> dict[str, Any]:
        """Return a page of results: `edges` with `node` and `cursor`, and `pageInfo`."""
        params = {"sort": sort, "limit": str(limit)} | ({"from": after} if after else {})
        return await self._json("GET", f"/results/{process}", params=params)

    async def schedule(self, process: str, *, after: int = -1, limit: int = 100) -> dict[str, Any]:
        """Return a page of a process's log after the nonce `after`: `edges`, and `page_info`."""
        params = {"process-id": process, "from-nonce": str(after), "limit": str(limit)}
        return await self._json("GET", f"/{process}", params=params)

    async def dryrun(
        self, process: str, *, action: str = "", tags: Iterable[Tag] = (), data: str = ""
    ) -> dict[str, Any]:
        """Evaluate a message on the current state of a process, without sending it."""
        named = [Tag("Action", action)] if action else []
        sent = [*named, *tags, Tag("Data-Protocol", "ao"), Tag("Type", "Message"), Tag("Variant", "ao.TN.1")]
        body = {
            "Id": "0" * 43,
            "Target": process,
            "Owner": self.signer.address,
            "Anchor": "0",
            "Data": data,
            "Tags": as_json(tuple(sent)),
        }
        return await self._json(
            "POST",
            "/dry-run",
            params={"process-id": process},
            body=orjson.dumps(body),
            content_type="application/json",
        )

    async def outbox(
        self, process: str, *, nonce: int | None = None, state: str = "", after: str = "", limit: int = 100
    ) -> dict[str, Any]:
        """Return a page of the deliveries of a process's outbox messages: `outbox`, and `next` if there are
        more."""
        asked = {"nonce": "" if nonce is None else str(nonce), "state": state, "after": after}
        params = {name: value for name, value in asked.items() if value} | {"limit": str(limit)}
        return await self._json("GET", f"/outbox/{process}", params=params)

    async def push(self, process: str, nonce: int, index: int) -> None:
        """Push an outbox message again. It may be repeated, since an id is scheduled once."""
        await self._json("POST", f"/push/{nonce}/{index}", params={"process-id": process})

    async def monitor(self, process: str) -> None:
        """Start the crons of a process that this signer owns."""
        await self._request("POST", f"/monitor/{process}", body=self._order(process, "Monitor"))

    async def unmonitor(self, process: str) -> None:
        """Stop the crons of a process that this signer owns."""
        await self._request("DELETE", f"/monitor/{process}", body=self._order(process, "Unmonitor"))

    async def monitored(self, process: str) -> dict[str, Any]:
        """Return the crons of a process: `monitored`, and when each is due `next` (ms, or block height)."""
        return await self._json("GET", f"/monitor/{process}")

    async def decide(self, process: str, decision: bytes) -> dict[str, Any]:
        """Post the operator's signed decision (`protocol.decisions`) to stop or resume a process."""
        return await self._json("POST", f"/decision/{process}", body=decision)

    async def decided(self, process: str) -> dict[str, Any]:
        """Return whether the operator stopped a process, and since when."""
        return await self._json("GET", f"/decision/{process}")

    def _order(self, process: str, action: str) -> bytes:
        """Return an item that states its purpose and is different each time, since it is valid once."""
        tags = [Tag("Action", action)]
        return build(self.signer, target=process, anchor=unique_anchor(), tags=tags, data=b" ").raw

    async def trace(self, message: str, *, process: str = "") -> dict[str, Any]:
        """Return what caused a message, and what it caused."""
        return await self._json("GET", f"/trace/{message}", params={"process-id": process} if process else {})

    async def status(self) -> dict[str, Any]:
        """Return whether the computer accepts work, and how much of its log waits for Arweave."""
        return await self._json("GET", "/status")

    async def publish_module(self, data: bytes, module_format: str, tags: Iterable[Tag] = ()) -> str:
        """Publish a module on Arweave, and return its id. Raises `UnsupportedModule` if no process could run
        it."""
        await asyncio.to_thread(partial(check_module, data, module_format, thoroughly=True))
        return await self.upload(self.module(data, module_format, tags))

    def module(self, data: bytes, module_format: str, tags: Iterable[Tag] = ()) -> DataItem:
        """Build the signed item of a module. Without a tag Compute-Limit it gets FUEL_PUBLISHED, with which
        aos can process the largest message."""
        stated = list(tags)
        if ao_tag(stated, "Compute-Limit") is None:
            stated.append(Tag("Compute-Limit", str(limits.FUEL_PUBLISHED)))
        content_type = virtual_machine(name_of(module_format, data)).content_type
        return build(self.signer, tags=module_tags(module_format, stated, content_type), data=data)

    async def upload(self, item: DataItem) -> str:
        """Upload an item to Arweave, and return its id."""
        await self._json("POST", "/tx", body=item.raw)
        return item.id

    async def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return json_object(await self._request(method, path, **request), self.url)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/octet-stream",
    ) -> TransportResponse:
        answer = await self._transport.ask(method, path, params or {}, body, content_type if body else "")
        if answer.status >= 400:
            raise refusal(answer)
        return answer


def unique_anchor() -> bytes:
    """Return 32 random characters that make an item unique. Without them, two equal messages signed by
    Ed25519 would be one item, which is scheduled once."""
    return secrets.token_hex(16).encode()


def _bytes(data: str | bytes) -> bytes:
    if not isinstance(data, str | bytes | bytearray | memoryview):
        raise TypeError(f"data must be text or bytes, not {type(data).__name__}")
    return data.encode() if isinstance(data, str) else bytes(data)
