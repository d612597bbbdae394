"""`aoray.connect_async`: the connection of a program to a computer, typed and with retries.

    async with aoray.connect_async("http://127.0.0.1:4000") as ao:
        process = await ao.spawn("Handlers.add('double', 'Double', function(m) print(2 * m.N) end)")
        print((await ao.ask(process, "Double", tags={"N": "21"})).output)
        async for result in ao.send_many(Message(process, "Double", tags={"N": str(n)}) for n in range(1000)):
            print(result.index, result.output)

Every call may take `timeout_s` seconds. Within this time, a request that the computer refuses for now (429,
503 with `Retry-After`), or that fails because the computer restarts, is sent again with the same signed item,
so it is scheduled once. When the time is over, the last refusal is raised. Other refusals are raised at once.
All errors are classes of `aoray.errors`, with `code`, `message`, `hint`, and with ids and status in
`details`. An error of a process is never raised: it is the `error` of the result.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aoray.client.arrow import batches, schema
from aoray.client.concurrency import Items, OnRefusal, map_concurrently
from aoray.client.models import Message, Result, Spawn, Spawned, TagsInput, result_of, tags_of
from aoray.client.retry import patiently
from aoray.client.slots import LogSlot, following
from aoray.client.transports import closed
from aoray.client.unit_client import Client
from aoray.client.wallets import Wallet, wallet_of
from aoray.errors import ClientError
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.base import ARWEAVE

if TYPE_CHECKING:
    import pyarrow as pa

TIMEOUT_S = 120.0
IN_FLIGHT = 64

T = TypeVar("T")


class AsyncConnection:
    """A connection to one computer, with one wallet, for asyncio.

    `aoray.connect_async` makes it, for `async with`. A call takes at most `timeout_s` seconds. Within this
    time, a request that the computer refuses for now (429, 503), or that fails while it restarts, is sent
    again with the same signed item. Other refusals are raised at once, as a class of `aoray.errors`.
    """

    def __init__(self, client: Client, timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.url = client.url
        self.address = client.signer.address
        """The address of the wallet: the `Owner` of what it sends and spawns."""
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.url} as {self.address}{', closed' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        if self._closed:
            raise closed(self.url)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.health()  # without retries, so a wrong address is reported at once
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; what was sent continues on the computer.

        Every later call raises `ClientError`.
        """
        self._closed = True
        await self._client.__aexit__()

    async def health(self) -> Mapping[str, Any]:
        """Return the computer's `version`, its addresses, and the id of its built-in module.

        The addresses are `scheduler`, `authority` (the messenger) and `compute`; `module` is the built-in
        Lua.
        """
        return await self._try(self._client.health)

    async def status(self) -> Mapping[str, Any]:
        """Return whether the computer accepts work, and how much of its log waits for Arweave."""
        return await self._try(self._client.status)

    async def spawn(
        self, data: str | bytes = "", *, tags: TagsInput = (), module: str = "", on_boot: bool | None = None
    ) -> str:
        """Spawn a process, and return its id once it is ordered and durable.

        Args:
            data: Data of the process item. For the built-in module this is the Lua source that it evaluates
                as it boots.
            tags: Tags of the process item, beside those of the protocol.
            module: Id of the module; by default the built-in Lua.
            on_boot: Whether the process evaluates `data` as it boots; by default it does if there is data
                and no `module`.

        Raises:
            UnknownModule: No such module is on Arweave.
            MalformedInput: A tag has a value that a process can't have, such as a limit beyond the
                computer's.
        """
        return await self._spawn(Spawn(data, tags, module, on_boot))

    async def send(
        self, process: str, action: str = "", data: str | bytes = "", *, tags: TagsInput = ()
    ) -> str:
        """Sign and send a message, and return its id once it is ordered and durable.

        Args:
            process: Id of the process.
            action: Value of the tag `Action`; none if it is empty.
            data: Data of the message, at most 10 MiB with the tags.
            tags: More tags.

        Raises:
            UnknownProcess: The computer has no such process.
            TooLarge: The message is beyond a bound (docs/limits.md).
        """
        return await self._send(Message(process, action, data, tags))

    async def result(self, process: str, message: str) -> Result:
        """Return the result of a message, waiting until it is evaluated.

        Args:
            process: Id of the process.
            message: Id of the message or of its assignment; the process's own id is the result of its boot.

        Raises:
            UnknownMessage: The process's log has no such message.
        """
        return result_of(await self._try(lambda: self._client.result(process, message)), process, message)

    async def ask(
        self, process: str, action: str = "", data: str | bytes = "", *, tags: TagsInput = ()
    ) -> Result:
        """Send a message, and return its result. The arguments are those of `send`."""
        return await self._ask(0, Message(process, action, data, tags))

    async def eval(self, process: str, code: str) -> Result:
        """Evaluate Lua in a process that this wallet owns, and return the result."""
        return await self.ask(process, "Eval", code)

    async def dryrun(self, process: str, action: str = "", data: str = "", *, tags: TagsInput = ()) -> Result:
        """Evaluate a message on the current state of a process, without sending it. The arguments are
        those of `send`."""
        named = tags_of(tags)
        raw = await self._try(lambda: self._client.dryrun(process, action=action, tags=named, data=data))
        return result_of(raw, process)

    async def assign(self, process: str, message: str) -> str:
        """Assign an existing message to one more process, and return the id of the assignment, by which its
        result can be read."""
        return await self._try(lambda: self._client.assign(process, message))

    async def monitor(self, process: str) -> None:
        """Start the crons of a process that this wallet owns."""
        await self._try(lambda: self._client.monitor(process))

    async def unmonitor(self, process: str) -> None:
        """Stop the crons of a process that this wallet owns."""
        await self._try(lambda: self._client.unmonitor(process))

    async def monitored(self, process: str) -> Mapping[str, Any]:
        """Return the crons of a process: `monitored`, and when each is due `next` (ms, or block height)."""
        return await self._try(lambda: self._client.monitored(process))

    async def trace(self, message: str, *, process: str = "") -> Mapping[str, Any]:
        """Return what caused a message, and what it caused."""
        return await self._try(lambda: self._client.trace(message, process=process))

    async def publish_module(
        self, data: bytes | Path, module_format: str = "wasm32-wasi", *, tags: TagsInput = ()
    ) -> str:
        """Publish a module on Arweave, and return its id.

        Args: data: The bytes of the module, or the path of its file. module_format: Value of the tag
        `Module-Format`. tags: More tags. Without a `Compute-Limit` among them, the module gets one of 2 ×
        10^11 units of fuel for a message (docs/fuel.md).

        Raises: UnsupportedModule: No process could run the module.
        """
        content = await asyncio.to_thread(data.read_bytes) if isinstance(data, Path) else data
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
        """Spawn many processes, at most `in_flight` at once, and yield their ids as they are made.

        Args: spawns: The processes; a number means this many of the built-in Lua. in_flight: How many
        requests may be in progress. progress: The name of a progress bar on standard error; none if it is
        empty. on_refusal: Called with the index and the error of a refusal; without it, the first refusal is
        raised.
        """

        async def spawn(index: int, wanted: Spawn) -> Spawned:
            return Spawned(index, await self._spawn(wanted))

        wanted = [Spawn()] * spawns if isinstance(spawns, int) else spawns
        found = map_concurrently(wanted, spawn, in_flight=in_flight, progress=progress, on_refusal=on_refusal)
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
        """Send many messages, at most `in_flight` of them unanswered, and yield their results as they arrive.

        Each result has the `index` of its message. Two messages in progress to one process may overtake each
        other: to order them, wait for the first result, or use `in_flight=1`. The arguments are those of
        `spawn_many`.
        """
        found = map_concurrently(
            messages, self._ask, in_flight=in_flight, progress=progress, on_refusal=on_refusal
        )
        async for result in found:
            yield result

    async def slots(self, process: str, *, after: int = -1, follow: bool = False) -> AsyncIterator[LogSlot]:
        """Yield the slots of a process's log in order, from the one after the nonce `after`.

        With `follow` the iteration never ends, and continues as messages arrive.
        """
        async for slot in following(self._client, self._try, process, after, follow):
            yield slot

    async def results(self, process: str, *, after: int = -1, follow: bool = False) -> AsyncIterator[Result]:
        """Yield the results of a process in the order of its log, including errors, each once it is
        evaluated.

        `index` is the nonce: to continue later, pass it as `after`. With `follow` the iteration never ends.
        """
        async for slot in self.slots(process, after=after, follow=follow):
            raw = await self._try(partial(self._client.result, process, slot.message))
            yield result_of(raw, process, slot.message, index=slot.nonce)

    async def log_batches(
        self, processes: str | Iterable[str], *, after: int = -1, data: bool = False
    ) -> AsyncIterator[pa.RecordBatch]:
        """Yield the logs of one or more processes as Arrow record batches.

        The columns are those of `aoray.client.arrow`. The arguments are those of `log`.
        """
        asked = [processes] if isinstance(processes, str) else processes
        async for batch in batches(self._client, self._try, asked, after=after, data=data):
            yield batch

    async def log(self, processes: str | Iterable[str], *, after: int = -1, data: bool = False) -> pa.Table:
        """Return the logs of one or more processes as one Arrow table, in memory.

        Args:
            processes: One process id, or several.
            after: Only slots after this nonce.
            data: Whether to include the messages' data, not only its size.
        """
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
        """Make a signed item, in a thread if signing takes long: an RSA signature takes 8 ms."""
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
    """Return a connection for `async with`; the arguments are those of `aoray.connect`."""
    return AsyncConnection(client_of(url, wallet, ray_address, namespace), timeout_s)


def client_of(
    url: str | None, wallet: Wallet | None, ray_address: str | None, namespace: str | None
) -> Client:
    """Return the client for the arguments of `connect`. Raises `ClientError` or `Unavailable`."""
    signer = wallet_of(wallet)
    if ray_address is None and namespace is None:
        return Client(url or os.environ.get("AORAY_URL", "http://127.0.0.1:4000"), signer)
    if url is not None:
        raise ClientError("a computer is reached by HTTP (url) or by Ray (ray_address), not by both")
    from aoray.client.ray_transport import connect_ray

    transport = connect_ray(ray_address or "auto", namespace)
    return Client(transport.url, signer, transport)
