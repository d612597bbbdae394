"""Retries: a request that is refused for now is sent again, within the time that a call has.

A rate limit (429) and a full queue (503) say how long to wait; a computer that does not answer is tried again
with backoff. Retrying is safe, since everything that a client sends is signed once: the same item has the
same id, and is scheduled once. Waits are varied a little, so that clients that were refused together do not
return together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aoray.client.transports import is_patient
from aoray.errors import AorayError, Unavailable
from aoray.util.backoff import Backoff

BACKOFF = Backoff(0.05, 2.0)
SPREAD = 0.25

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], seconds_max: float) -> T:
    """Repeat `call` while that may help, and return its result. After `seconds_max`, raise the last
    refusal."""
    refused: AorayError | None = None
    failures = 0
    try:
        async with asyncio.timeout(seconds_max):
            while True:
                try:
                    return await call()
                except AorayError as error:
                    if not is_patient(error):
                        raise
                    refused = error
                failures += 1
                await asyncio.sleep(wait_s(refused, BACKOFF.after(failures)))
    except TimeoutError as error:
        raise refused or Unavailable(
            f"no answer within {seconds_max:g} s", hint="Give it longer: connect(…, timeout_s=…)."
        ) from error


def wait_s(refused: AorayError, backoff_s: float) -> float:
    """Return the seconds to wait after a refusal: the time that it asks for, or the backoff, and up to a
    quarter more."""
    said = refused.details.get("retry_after_s")
    base = float(said) if isinstance(said, int | float) else backoff_s
    return base * (1 + SPREAD * random.random())
