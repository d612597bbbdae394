"""Request bodies: read whole, and bounded in size, in time, and in what is in memory of all of them at once.

The first thing a route does with a POST. What a request announces is refused before it is read; what comes
without an announcement (chunked) is counted as it comes.

On failure: `TooLarge` beyond the bound of the route; `Overloaded` when too much is in memory;
`MalformedInput` when a length is not a number, or the body does not arrive in its time. Bytes are given back
in every case.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from aoray.errors import MalformedInput, Overloaded, TooLarge
from aoray.web.shares import WHO


class BodyBudget:
    """The bodies in memory, `bytes` of them in all. An address that has more than one of them has no more
    than half of the room that others leave."""

    def __init__(self) -> None:
        self.bytes = 0
        self._of: Counter[str] = Counter()

    @asynccontextmanager
    async def read(
        self, request: Request, *, bytes_max: int, total_bytes_max: int, seconds_max: float
    ) -> AsyncIterator[bytes]:
        """Read one body, which is counted while it is used."""
        announced, who = _announced(request), str(request.scope.get(WHO, ""))
        self._check(announced, bytes_max, announced, total_bytes_max, who)
        chunks: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(seconds_max):
                    async for chunk in request.stream():
                        size += len(chunk)
                        self.bytes += len(chunk)
                        self._of[who] += len(chunk)
                        # What was announced was let in: who comes later does not push it out.
                        self._check(size, bytes_max, 0, total_bytes_max, "" if announced else who)
                        chunks.append(chunk)
            except TimeoutError as error:
                raise MalformedInput(
                    f"the body did not arrive within {seconds_max:g} seconds", field="body"
                ) from error
            yield b"".join(chunks)
        finally:
            self.bytes -= size
            self._of[who] -= size
            if not self._of[who]:
                del self._of[who]

    def check(self, size: int, *, total_bytes_max: int) -> None:
        """Refuse to keep a body that was read already, if there is no room; the caller counts it."""
        if self.bytes + size > total_bytes_max:
            raise _too_many()

    def _check(self, size: int, bytes_max: int, more: int, total_bytes_max: int, who: str = "") -> None:
        if size > bytes_max:
            raise TooLarge(f"the body is over {bytes_max} bytes", field="body", bytes_max=bytes_max)
        own = self._of[who] + more
        left_by_others = total_bytes_max - (self.bytes - self._of[who])
        is_greedy = bool(who) and own > size and 2 * own > left_by_others
        if is_greedy or self.bytes + more > total_bytes_max:
            raise _too_many()


def _too_many() -> Overloaded:
    return Overloaded("too many bodies are being read", hint="Try again.", retry_after_s=1)


def _announced(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    if not text.isdecimal():
        raise MalformedInput(f"Content-Length is {text[:40]!r}", field="content-length")
    return int(text)
