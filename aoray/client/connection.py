"""`aoray.connect_async`: a person's program and a computer, typed and patient.

    async with aoray.connect_async("http://127.0.0.1:4000") as ao:
        process = await ao.spawn("Handlers.add('double', 'Double', function(m) print(2 * m.N) end)")
        print((await ao.ask(process, "Double", tags={"N": "21"})).output)
        async for result in ao.send_many(Message(process, "Double", tags={"N": str(n)}) for n in range(1000)):
            print(result.index, result.output)

Every call has `timeout_s` seconds in all: within them what the computer refuses for now (429, 503 with
`Retry-After`) or misses because it restarts is sent again, the same signed item, so it is scheduled once.
After them the last refusal is raised. Other refusals are raised at once. All are classes of `aoray.errors`,
with `code`, `message`, `hint` and ids and status in `details`. What a process makes of a message is never
raised: it is the result's `error`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aoray.client.answers import Message, Result, Spawn, Spawned, TagsGiven, result_of, tags_of
from aoray.client.columns import batches, schema
from aoray.client.flow import Items, OnRefusal, flow
from aoray.client.patience import patiently
from aoray.client.roads import closed
from aoray.client.slots import Slot, following
from aoray.client.wallets import Wallet, wallet_of
from aoray.client.wire import Client
from aoray.errors import ClientError
from aoray.protocol.items import DataItem
from aoray.protocol.signatures import ARWEAVE

if TYPE_CHECKING:
    import pyarrow as pa

TIMEOUT_S = 120.0
IN_FLIGHT = 64

T = TypeVar("T")


class AsyncConnection:
    """One computer, spoken to as the owner of one wallet. `aoray.connect_async` makes it."""

    def __init__(self, client: Client, timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.url = client.url
        self.address = client.signer.address
        """Whom the computer knows this wallet as: the `Owner` of what it sends and spawns."""
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.url} as {self.address}{', closed' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        if self._closed:
            raise closed(self.url)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.health()  # without patience: a wrong address is said at once
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the computer; what was sent goes on there. Every later call is a `ClientError`."""
        self._closed = True
        await self._client.__aexit__()

    async def health(self) -> Mapping[str, Any]:
        """`version`, the addresses `scheduler`, `authority`, `compute`, and `module`, the built-in Lua."""
        return await self._try(self._client.health)

    async def status(self) -> Mapping[str, Any]:
        """Whether the computer takes work, and what of its log waits for Arweave."""
        return await self._try(self._client.status)

    async def spawn(
        self, data: str | bytes = "", *, tags: TagsGiven = (), module: str = "", on_boot: bool | None = None
    ) -> str:
        """Make a process, and give its id once it is ordered and durable. Of the built-in Lua unless a module
        is named; `data` is then the Lua source that it evaluates as it boots."""
        return await self._spawn(Spawn(data, tags, module, on_boot))

    async def send(
        self, process: str, action: str = "", data: str | bytes = "", *, tags: TagsGiven = ()
    ) -> str:
        """Sign and send a message, and give its id once it is ordered and durable."""
        return await self._send(Message(process, action, data, tags))

    async def result(self, process: str, message: str) -> Result:
        """The result of a message; waits until it is evaluated. A process's own id: how it booted."""
        return result_of(await self._try(lambda: self._client.result(process, message)), process, message)

    async def ask(
        self, process: str, action: str = "", data: str | bytes = "", *, tags: TagsGiven = ()
    ) -> Result:
        """Send a message, and give its result."""
        return await self._ask(0, Message(process, action, data, tags))

    async def eval(self, process: str, code: str) -> Result:
        """Evaluate Lua in a process that this wallet owns."""
        return await self.ask(process, "Eval", code)

    async def dryrun(self, process: str, action: str = "", data: str = "", *, tags: TagsGiven = ()) -> Result:
        """What a message would give, without sending it."""
        named = tags_of(tags)
        raw = await self._try(lambda: self._client.dryrun(process, action=action, tags=named, data=data))
        return result_of(raw, process)

    async def assign(self, process: str, message: str) -> str:
        """Assign a message that is there to one more process; gives the assignment's id, by which its result
        can be asked for."""
        return await self._try(lambda: self._client.assign(process, message))

    async def monitor(self, process: str) -> None:
        """Start the crons of a process that this wallet owns."""
        await self._try(lambda: self._client.monitor(process))

    async def unmonitor(self, process: str) -> None:
        """Stop them."""
        await self._try(lambda: self._client.unmonitor(process))

    async def monitored(self, process: str) -> Mapping[str, Any]:
        """The crons of a process: `monitored`, and when each is due `next` (ms, or block height)."""
        return await self._try(lambda: self._client.monitored(process))

    async def trace(self, message: str, *, process: str = "") -> Mapping[str, Any]:
        """What caused a message, and what it caused."""
        return await self._try(lambda: self._client.trace(message, process=process))

    async def publish_module(
        self, wasm: bytes | Path, module_format: str = "wasm32-wasi", *, tags: TagsGiven = ()
    ) -> str:
        """Put a module on Arweave, and give its id."""
        content = await asyncio.to_thread(wasm.read_bytes) if isinstance(wasm, Path) else wasm
        item = await self._signed(lambda: self._client.module(content, module_format, tags_of(tags)))
        return await self._try(lambda: self._client.upload(item))

    async def spawn_many(
        self,
        spawns: int | Items[Spawn],
        *,
        in_flight: int = IN_FLIGHT,
        progress: str = "",
        on_refusal: OnRefusal | None = None,
    ) -> AsyncIterator[Spawned]:
        """Make many processes (a number: so many of the built-in Lua), at most `in_flight` at once; their ids
        as they come. `progress` names a bar on standard error. A refusal is raised and ends it, unless
        `on_refusal(index, error)` takes it."""

        async def spawn(index: int, wanted: Spawn) -> Spawned:
            return Spawned(index, await self._spawn(wanted))

        wanted = [Spawn()] * spawns if isinstance(spawns, int) else spawns
        found = flow(wanted, spawn, in_flight=in_flight, progress=progress, on_refusal=on_refusal)
        async for spawned in found:
            yield spawned

    async def send_many(
        self,
        messages: Items[Message],
        *,
        in_flight: int = IN_FLIGHT,
        progress: str = "",
        on_refusal: OnRefusal | None = None,
    ) -> AsyncIterator[Result]:
        """Send many messages, at most `in_flight` of them unanswered; their results as they come, each with
        the `index` of its message. Two that are under way to one process may overtake each other on the way:
        to order them, wait for the first (or `in_flight=1`). The rest as for `spawn_many`."""
        found = flow(messages, self._ask, in_flight=in_flight, progress=progress, on_refusal=on_refusal)
        async for result in found:
            yield result

    async def slots(self, process: str, *, after: int = -1, follow: bool = False) -> AsyncIterator[Slot]:
        """The log of a process in its order, from the nonce behind `after`. With `follow` it never ends, and
        goes on as messages come."""
        async for slot in following(self._client, self._try, process, after, follow):
            yield slot

    async def results(self, process: str, *, after: int = -1, follow: bool = False) -> AsyncIterator[Result]:
        """The results of a process in the order of its log, each when it is evaluated; errors too. `index` is
        the nonce: go on from it with `after`. With `follow` it never ends."""
        async for slot in self.slots(process, after=after, follow=follow):
            raw = await self._try(partial(self._client.result, process, slot.message))
            yield result_of(raw, process, slot.message, index=slot.nonce)

    async def log_batches(
        self, processes: str | Iterable[str], *, after: int = -1, data: bool = False
    ) -> AsyncIterator[pa.RecordBatch]:
        """The logs of one or more processes as Arrow record batches, from the nonce behind `after`, with the
        messages' `data` if that is asked for. The columns are those of `aoray.client.columns`."""
        asked = [processes] if isinstance(processes, str) else processes
        async for batch in batches(self._client, self._try, asked, after=after, data=data):
            yield batch

    async def log(self, processes: str | Iterable[str], *, after: int = -1, data: bool = False) -> pa.Table:
        """The same as one Arrow table, in memory."""
        import pyarrow as pa

        found = [batch async for batch in self.log_batches(processes, after=after, data=data)]
        return pa.Table.from_batches(found, schema())

    async def _spawn(self, wanted: Spawn) -> str:
        health = await self._try(self._client.health)
        item = await self._signed(
            lambda: self._client.process(
                health,
                module=wanted.module,
                tags=tags_of(wanted.tags),
                data=wanted.data,
                on_boot=wanted.boots,
            )
        )
        return await self._try(lambda: self._client.post(item))

    async def _send(self, message: Message) -> str:
        item = await self._signed(
            lambda: self._client.message(
                message.process, action=message.action, tags=tags_of(message.tags), data=message.data
            )
        )
        return await self._try(lambda: self._client.post(item))

    async def _ask(self, index: int, message: Message) -> Result:
        sent = await self._send(message)
        raw = await self._try(lambda: self._client.result(message.process, sent))
        return result_of(raw, message.process, sent, index=index)

    async def _signed(self, make: Callable[[], DataItem]) -> DataItem:
        """An RSA signature takes 8 ms: others may go on meanwhile."""
        if self._client.signer.signature_type == ARWEAVE:
            return await asyncio.to_thread(make)
        return make()

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._closed:
            raise closed(self.url)
        return await patiently(call, self._timeout_s)


def connect_async(
    url: str | None = None,
    *,
    wallet: Wallet | None = None,
    timeout_s: float = TIMEOUT_S,
    ray_address: str | None = None,
    namespace: str | None = None,
) -> AsyncConnection:
    """A connection for `async with` (see `aoray.connect`, which has the same arguments)."""
    return AsyncConnection(client_of(url, wallet, ray_address, namespace), timeout_s)


def client_of(
    url: str | None, wallet: Wallet | None, ray_address: str | None, namespace: str | None
) -> Client:
    """The client that the arguments of `connect` ask for."""
    signer = wallet_of(wallet)
    if ray_address is None and namespace is None:
        return Client(url or os.environ.get("AORAY_URL", "http://127.0.0.1:4000"), signer)
    if url is not None:
        raise ClientError("a computer is reached by HTTP (url) or by Ray (ray_address), not by both")
    from aoray.client.ray_road import ray_road

    road = ray_road(ray_address or "auto", namespace)
    return Client(road.url, signer, road)
