"""Memory of an actor's heap: when garbage is collected, and how freed memory returns to the operating system.

An actor calls `prepare` when it starts. Messages leave few reference cycles, and a collection visits all
objects, so actors collect garbage seldom. glibc maps large blocks separately from some size on, and raises
this size, up to 32 MiB, with each large block that is freed. Smaller blocks stay in the heap of the thread
that allocated them, and there are eight heaps for each core; so uploads of 20 MiB could hold 20 MiB in each
heap for as long as the actor lives. Therefore the size is fixed here, and every large block returns to the
system when it is freed. C libraries without `mallopt` (musl) do this anyway.

Small freed blocks stay in the heap of their thread too, below blocks that are still used; so from time to
time all freed memory is returned.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from typing import Any

import pyarrow as pa

MAPPED_FROM_BYTES = 1 << 20
GIVE_BACK_SECONDS = 60.0
_M_MMAP_THRESHOLD = -3  # malloc.h
_libc: Any = ctypes.CDLL(None)


def prepare(collect_after: tuple[int, int, int]) -> None:
    """Set the thresholds of the garbage collector (`gc.set_threshold`), and the size from which malloc maps
    blocks."""
    gc.set_threshold(*collect_after)
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)


def give_back() -> None:
    """Return freed memory to the operating system, which the allocators would keep otherwise."""
    pa.default_memory_pool().release_unused()
    if hasattr(_libc, "malloc_trim"):  # glibc
        _libc.malloc_trim(0)


async def give_back_forever() -> None:
    """Return freed memory from time to time, in a thread, for as long as the actor lives."""
    while True:
        await asyncio.sleep(GIVE_BACK_SECONDS)
        await asyncio.to_thread(give_back)
