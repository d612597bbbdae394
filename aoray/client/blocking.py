"""`aoray.connect`: the connection for programs without asyncio.

A thread runs an event loop with an `AsyncConnection`; each method here passes its call to that loop and
waits. There is no second client: names, arguments, types and errors are those of `connection`.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sized
from concurrent.futures import CancelledError
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from aoray.client.concurrency import OnRefusal
from aoray.client.connection import IN_FLIGHT, TIMEOUT_S, AsyncConnection, client_of
from aoray.client.models import Message, Result, Spawn, Spawned
from aoray.client.transports import closed
from aoray.client.wallets import Wallet, new_wallet

if TYPE_CHECKING:
    import pyarrow as pa

P = ParamSpec("P")
T = TypeVar("T")
END: Any = object()


def waiting(
    method: Callable[Concatenate[AsyncConnection, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Connection, P], T]:
    """Turn a coroutine method into one that waits for its result."""

    @wraps(method)
    def call(self: Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._connection, *args, **kwargs))

    return call


def iterating(
    method: Callable[Concatenate[AsyncConnection, P], AsyncIterator[T]],
) -> Callable[Concatenate[Connection, P], Iterator[T]]:
    """Turn an asynchronous iterator method into one that returns a plain iterator."""

    @wraps(method)
    def call(self: Connection, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._iterate(method(self._connection, *args, **kwargs))

    return call


class Connection:
    """A connection to one computer, with one wallet, for programs without asyncio.

    `aoray.connect` makes it. It is a context manager; leaving it, or `close`, ends the calls that are in
    progress. Threads may share it.
    """

    def __init__(self, make: Callable[[], AsyncConnection]) -> None:
        self._loop = LoopThread()
        try:
            self._connection = self._loop.run(_entered(make))
        except BaseException:
            self._loop.stop()
            raise
        self.url = self._connection.url
        self.address = self._connection.address
        self._finish = weakref.finalize(self, _finish, self._loop, self._connection)  # at exit at the latest

    def __repr__(self) -> str:
        return repr(self._connection).replace("AsyncConnection", "Connection")

    def __enter__(self) -> Self:
        if not self._finish.alive:
            raise closed(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; what was sent continues on the computer.

        Every later call raises `ClientError`, and so does a call that another thread waits for.
        """
        self._finish()

    health = waiting(AsyncConnection.health)
    status = waiting(AsyncConnection.status)
    spawn = waiting(AsyncConnection.spawn)
    send = waiting(AsyncConnection.send)
    result = waiting(AsyncConnection.result)
    ask = waiting(AsyncConnection.ask)
    eval = waiting(AsyncConnection.eval)
    dryrun = waiting(AsyncConnection.dryrun)
    assign = waiting(AsyncConnection.assign)
    monitor = waiting(AsyncConnection.monitor)
    unmonitor = waiting(AsyncConnection.unmonitor)
    monitored = waiting(AsyncConnection.monitored)
    trace = waiting(AsyncConnection.trace)
    publish_module = waiting(AsyncConnection.publish_module)
    slots = iterating(AsyncConnection.slots)
    results = iterating(AsyncConnection.results)
    log = waiting(AsyncConnection.log)
    log_batches = iterating(AsyncConnection.log_batches)

    def spawn_many(
        self,
        spawns: int | Iterable[Spawn],
        *,
        in_flight: int = IN_FLIGHT,
        progress: str = "",
        on_refusal: OnRefusal | None = None,
    ) -> Iterator[Spawned]:
        """Spawn many processes, at most `in_flight` at once, and yield their ids as they are made. See
        `AsyncConnection.spawn_many`."""
        wanted = spawns if isinstance(spawns, int) else in_thread(spawns)
        return self._iterate(
            self._connection.spawn_many(wanted, in_flight=in_flight, progress=progress, on_refusal=on_refusal)
        )

    def send_many(
        self,
        messages: Iterable[Message],
        *,
        in_flight: int = IN_FLIGHT,
        progress: str = "",
        on_refusal: OnRefusal | None = None,
    ) -> Iterator[Result]:
        """Send many messages, at most `in_flight` of them unanswered, and yield their results as they arrive.
        See `AsyncConnection.send_many`."""
        return self._iterate(
            self._connection.send_many(
                in_thread(messages), in_flight=in_flight, progress=progress, on_refusal=on_refusal
            )
        )

    spawn_many.__doc__ = AsyncConnection.spawn_many.__doc__
    send_many.__doc__ = AsyncConnection.send_many.__doc__

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run(call)
        except LoopStopped:
            raise closed(self.url) from None

    def _iterate(self, found: AsyncIterator[T]) -> Iterator[T]:
        try:
            while (each := self._run(_next(found))) is not END:
                yield each
        finally:
            if self._finish.alive:
                self._run(_close(found))


class LoopStopped(Exception):
    """The event loop accepts no more calls."""


class LoopThread:
    """An event loop in a thread of its own, for calls from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()  # a call is either passed on before the stop, or refused
        self._stopping = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="aoray-connection", daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return its result. Raises `LoopStopped` if the loop has ended."""
        with self._lock:
            if self._stopping:
                call.close()
                raise LoopStopped
            running = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return running.result()
        except CancelledError:
            raise LoopStopped from None
        except BaseException:  # Ctrl-C must not leave the call running
            running.cancel()
            raise

    def stop(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Cancel the calls in progress, run `last`, and end the thread."""
        with self._lock:
            self._stopping = True
            stopped = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        if threading.current_thread() is self._thread:  # garbage collection runs in that thread
            return
        stopped.result()
        self._thread.join()
        self._loop.close()

    async def _end(self, last: Coroutine[Any, Any, None] | None) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        try:
            if last is not None:
                await last
            await asyncio.get_running_loop().shutdown_asyncgens()
        finally:
            self._loop.call_soon(self._loop.stop)


def _finish(loop: LoopThread, connection: AsyncConnection) -> None:
    loop.stop(connection.close())


def in_thread(items: Iterable[T]) -> Iterable[T] | AsyncIterable[T]:
    """Iterate over an iterable in a thread of its own, since it may use this very connection, which would
    then wait for itself. An iterable with a length is returned as it is."""
    return items if isinstance(items, Sized) else _in_thread(iter(items))


async def _in_thread(iterator: Iterator[T]) -> AsyncIterator[T]:
    while (item := await asyncio.to_thread(next, iterator, END)) is not END:
        yield item


async def _entered(make: Callable[[], AsyncConnection]) -> AsyncConnection:
    return await make().__aenter__()


async def _next(found: AsyncIterator[T]) -> T:
    return await anext(found, END)


async def _close(found: Any) -> None:
    await found.aclose()


def connect(
    url: str | None = None,
    *,
    wallet: Wallet | None = None,
    timeout_s: float = TIMEOUT_S,
    ray_address: str | None = None,
    namespace: str | None = None,
) -> Connection:
    """Connect to a computer, and check that it answers.

    With `ray_address` this program is a driver on the computer's Ray cluster, and uses Ray calls instead of
    HTTP: the same requests, with the same checks. A program that had joined Ray before stays joined.

    Args: url: The computer; by default `AORAY_URL`, or http://127.0.0.1:4000. wallet: A key file, a private
    JWK (RFC 7517), or a signer such as `aoray.new_wallet()`. By default the wallet of the command line:
    `AORAY_WALLET`, or `~/.aoray/wallet.json`, made on first use. timeout_s: Seconds that one call may take in
    all, with its retries. ray_address: The Ray cluster: `auto`, or as `aoray up` prints it. namespace: Which
    computer of the cluster, if it has several.

    Returns: The connection, to be used with `with`, or closed.

    Raises: Unavailable: Nothing answers there. ClientError: The arguments contradict each other, or the
    wallet can't be used.
    """
    client = client_of(url, wallet, ray_address, namespace)  # Ray wants to be joined in the main thread
    return Connection(lambda: AsyncConnection(client, timeout_s))


def log(processes: str | Iterable[str], url: str | None = None, *, data: bool = False) -> pa.Table:
    """Return the logs of one or more processes as an Arrow table, without a wallet.

    Args:
        processes: One process id, or several.
        url: The computer, as for `connect`.
        data: Whether to include the messages' data, not only its size.

    Raises:
        UnknownProcess: The computer has no such process.
        Unavailable: The computer does not answer.
    """
    with connect(url, wallet=new_wallet()) as ao:  # reading needs no particular wallet
        return ao.log(processes, data=data)
