"""Answers on their way out: what a client does not read yet is bounded, and large ones wait on disk.

Where in a request's journey: the last stop before the connection. Up to `limits.ANSWER_PLAIN_BYTES` are
written as they are. What is larger is held for as long as its client reads: in memory up to
`limits.ANSWER_MEMORY_BYTES`, counted for its address; beyond that in a file without a name, of which a piece
at a time is in memory. A connection that does not read is cut off after a while (`connection`), so nothing
is held without end.

On failure: `Overloaded`, before anything is sent, for an address that holds too much already, and
`Unavailable` when there is no room on the disk.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import IO

from starlette.types import Message, Send

from aoray import limits
from aoray.errors import AorayError, Overloaded, Unavailable
from aoray.web.crowd import Crowd

TOO_MANY = "answers that were not read yet fill the room that there is for them"
READ_HINT = "Read them, or close their connections."


def check_unread(crowd: Crowd, who: str, size: int) -> None:
    """Refuse an answer of this size for an address that reads too little of what it asked for."""
    if size > limits.ANSWER_PLAIN_BYTES and not crowd.unread.fits(who, size):
        raise Overloaded(TOO_MANY, hint=READ_HINT, retry_after_s=1)


class DeferredSend:
    """The sending side of one request: an ASGI `send` that holds a large body back until `finish`.

    By then the application is done with it, so it is in memory no more.
    """

    def __init__(self, send: Send, crowd: Crowd, who: str, folder: Path) -> None:
        self._send = send
        self._crowd = crowd
        self._who = who
        self._folder = folder
        self._start: Message | None = None
        self._error: AorayError | None = None
        self._file: IO[bytes] | None = None
        self._size = 0

    async def send(self, message: Message) -> None:
        """Send as ASGI's `send` does. The start of the response waits for what follows it."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        body = message.get("body", b"")
        if len(body) > limits.ANSWER_MEMORY_BYTES and not message.get("more_body"):
            await self._put_aside(body)
            return
        try:
            check_unread(self._crowd, self._who, len(body))
        except Overloaded as error:
            self._error = error
            return
        start, self._start = self._start, None
        await self._send(start)
        await self._send(message)

    async def _put_aside(self, body: bytes) -> None:
        if not self._crowd.spooled.take(self._who, len(body)):
            self._error = Overloaded(TOO_MANY, hint=READ_HINT, retry_after_s=1)
            return
        self._size = len(body)
        try:
            self._file = await asyncio.to_thread(_written, self._folder, body)
        except Unavailable as error:
            self._error = error

    async def finish(self) -> AorayError | None:
        """Send what was held back; or return the fault, if nothing is sent yet."""
        if self._error is not None or self._file is None:
            return self._error
        assert self._start
        await self._send(self._start)
        for at in range(0, self._size, limits.DATA_CHUNK_BYTES):
            piece = await asyncio.to_thread(_piece, self._file, at)
            more = at + len(piece) < self._size
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        return None

    def close(self) -> None:
        """Release what is held back."""
        if self._file is not None:
            self._file.close()
        if self._size:
            self._crowd.spooled.give(self._who, self._size)


def _written(folder: Path, body: bytes) -> IO[bytes]:
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
        try:
            file.write(body)
            file.flush()
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise Unavailable(
            f"there is no room for a large answer: {error.strerror}", hint="Try again."
        ) from error
    return file


def _piece(file: IO[bytes], at: int) -> bytes:
    file.seek(at)
    return file.read(limits.DATA_CHUNK_BYTES)
