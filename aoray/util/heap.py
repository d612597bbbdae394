"""How an actor's heap is kept small: when garbage is collected, and that large blocks go back to the system.

Called once, when an actor begins. Messages leave few cycles of references, and looking at all objects takes
long, so actors do that seldom. glibc raises the size from which it maps a block by itself with each large one
that is freed, up to 32 MiB; what is smaller is kept by the heap of the thread that asked for it, and there
are eight heaps a processor. So uploads of 20 MiB would hold 20 MiB in each of them for as long as the actor
lives: the size is fixed here, and every large block goes back when it is freed. C libraries that have no
`mallopt` (musl) do so anyway.

What is small and freed stays with the heap of its thread too, below whatever is still held; so now and then
all of it is given back.
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
    """Return freed memory to the system: otherwise the allocators keep small pieces."""
    pa.default_memory_pool().release_unused()
    if hasattr(_libc, "malloc_trim"):  # glibc
        _libc.malloc_trim(0)


async def give_back_forever() -> None:
    """Give freed memory back now and again, in a thread, for as long as an actor lives."""
    while True:
        await asyncio.sleep(GIVE_BACK_SECONDS)
        await asyncio.to_thread(give_back)
