"""A guest's memory at the level of the operating system: mapping, reading, searching, and which pages were
written.

These are thin bindings of the C library (ctypes), where Python has none or copies too often. Addresses are
numbers, and callers are responsible for them. The kernel tells which pages of a private mapping were written:
by `PAGEMAP_SCAN`, or by /proc/self/pagemap before Linux 6.7. On failure: `Unavailable`, with the errno.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from aoray.errors import Unavailable
from aoray.limits import KIB

PAGE = mmap.PAGESIZE
BLOCK = 64 * KIB
_ZEROS = bytes(BLOCK)
_ZEROS_AT = ctypes.cast(ctypes.c_char_p(_ZEROS), ctypes.c_void_p).value

_libc: Any = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_int64)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.pwrite.restype = _libc.pread.restype = ctypes.c_ssize_t
_libc.pwrite.argtypes = _libc.pread.argtypes = (
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int64,
)
_libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_libc.memchr.restype = ctypes.c_void_p
_libc.memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)

_MAP = mmap.MAP_PRIVATE | 0x10 | 0x4000  # MAP_FIXED, MAP_NORESERVE
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_DONTNEED = 4

Runs = Iterable[tuple[int, int]]  # from, to: offsets in a memory


def find(address: int, byte: int, size: int) -> int:
    """Return the offset of the first such byte in `size` bytes at an address, or -1."""
    found = _libc.memchr(address, byte, size)
    return -1 if found is None else int(found) - address


def nonzero(base: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the blocks of a memory that are not all zero, as (start, end) offsets."""
    for offset in range(0, size, BLOCK):
        step = min(BLOCK, size - offset)
        if _libc.memcmp(base + offset, _ZEROS_AT, step):
            yield offset, offset + step


def view(base: int, size: int) -> memoryview:
    """Return a memory as a writable buffer."""
    return memoryview((ctypes.c_ubyte * size).from_address(base)).cast("B")


def map_file(base: int, size: int, fd: int) -> None:
    """Map the beginning of a file privately over a memory."""
    if size:
        _checked(_libc.mmap(base, size, _READ_WRITE, _MAP, fd, 0), "Mapping a memory image")


def map_zeros(base: int, size: int) -> None:
    """Map zeros over a memory."""
    if size:
        flags = _MAP | mmap.MAP_ANONYMOUS
        _checked(_libc.mmap(base, size, _READ_WRITE, flags, -1, 0), "Mapping zeros")


def drop(base: int, size: int) -> None:
    """Discard the private pages of a memory, so that it shows again what is mapped there."""
    if size:
        _checked(_libc.madvise(base, size, _DONTNEED), "Rolling a memory back")


def write_file(fd: int, address: int, offset: int, size: int) -> None:
    """Write `size` bytes of memory at an address into a file at an offset."""
    while size:
        done = _checked(_libc.pwrite(fd, address, size, offset), "Writing a memory image")
        address, offset, size = address + done, offset + done, size - done


def read_file(fd: int, address: int, offset: int, size: int) -> None:
    """Read `size` bytes of a file at an offset into memory at an address."""
    while size:
        done = _checked(_libc.pread(fd, address, size, offset), "Reading a memory image")
        address, offset, size = address + done, offset + done, size - done


def _checked(result: int | None, what: str) -> int:
    if result is None or result < 0 or result == 2**64 - 1:
        error = ctypes.get_errno()
        raise Unavailable(f"{what} failed: {os.strerror(error)}", errno=error)
    return result


# --- which pages were written -------------------------------------------------------------------------------


class _Scan(ctypes.Structure):
    """The kernel's `struct pm_scan_arg`."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages",
                     "inverted", "mask", "anyof", "returned")
    )  # fmt: skip


_FILE, _PRESENT, _SWAPPED, _ZERO_PAGE = 1 << 2, 1 << 3, 1 << 4, 1 << 5
_SCAN_RUNS = 1024
_PAGEMAP_SCAN = 0xC0606610


@functools.cache
def _pagemap() -> int:
    return os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)


def written_by_scan(base: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of private pages, found by `PAGEMAP_SCAN`. Pages that were only read do not count."""
    found = (ctypes.c_uint64 * (3 * _SCAN_RUNS))()
    scan = _Scan(size=ctypes.sizeof(_Scan), start=base, end=base + size, vec=ctypes.addressof(found))
    scan.vec_len, scan.anyof, scan.returned = _SCAN_RUNS, _PRESENT | _SWAPPED, _PRESENT
    scan.inverted = scan.mask = _FILE | _ZERO_PAGE
    while scan.start < base + size:
        count = _checked(
            _libc.ioctl(_pagemap(), ctypes.c_ulong(_PAGEMAP_SCAN), ctypes.byref(scan)), "PAGEMAP_SCAN"
        )
        words = found[: 3 * count]
        for start, end in zip(words[::3], words[1::3], strict=True):
            yield start - base, end - base
        scan.start = scan.walk_end


os.register_at_fork(after_in_child=_pagemap.cache_clear)  # an open pagemap shows the process that opened it

_PRIVATE = re.compile(rb"[\x80-\x9f\xc0-\xdf\x40-\x5f]+")  # present or swapped, not of a file


def written_by_pagemap(base: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of private pages, found by reading one word for each page. Beyond the end of a mapped
    file, pages that were only read may count."""
    words = os.pread(_pagemap(), size // PAGE * 8, base // PAGE * 8)
    for run in _PRIVATE.finditer(words[7::8]):
        yield run.start() * PAGE, run.end() * PAGE
