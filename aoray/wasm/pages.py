"""Images of a guest's memory, and the way back to one: what makes a message all-or-nothing.

An image is the content of a memory at a fold (instance.py). On Linux it is a sparse memfd, mapped
privately over the guest's memory: the guest's writes make copies of single pages, which a rollback
throws away (0.1 ms), and which a fold writes to the memfd (0.3 ms for an aos message). The kernel says
which pages were written (`PAGEMAP_SCAN`, or /proc/self/pagemap before Linux 6.7). Where any of that is
missing, `Copies` does the same with whole copies.

A shared image (a module booted, for all its processes) is never written; a fold makes a copy of it
first.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from aoray.errors import Unavailable
from aoray.limits import KIB, MIB

PAGE = mmap.PAGESIZE
_BLOCK = 64 * KIB
_ZEROS = bytes(_BLOCK)
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

# Up to here, a fold or rollback leaves the guest its copies of pages, in step with the image, instead of
# dropping them: it will write the same ones again, and a page fault takes three times as long as a copy.
KEPT_PAGES_BYTES_MAX = 4 * MIB

Runs = Iterable[tuple[int, int]]  # from, to: offsets in a memory


class Image(Protocol):
    """The content of a memory. `size` in bytes; `shared` images are not written."""

    size: int
    shared: bool

    def runs(self) -> Iterator[tuple[int, bytes]]:
        """Offset and content of what is not zero (and perhaps some that is)."""

    def close(self) -> None:
        """Give the room back."""


class Pages(Protocol):
    """A way to keep images, and to bring a memory (base address, size) to one."""

    def capture(self, base: int, size: int) -> Image:
        """A shared image of a memory as it is."""

    def build(self, size: int, runs: Iterable[tuple[int, bytes]]) -> Image:
        """An image from its content."""

    def attach(self, base: int, image: Image) -> None:
        """Bring any memory of the image's size to the image."""

    def roll_back(self, base: int, image: Image) -> None:
        """Bring a memory that was attached to the image back to it; it has the image's size."""

    def fold(self, base: int, size: int, image: Image) -> Image:
        """The image brought up to the memory: the same one, or an own copy of a shared one."""


def find(address: int, byte: int, size: int) -> int:
    """Offset of the first such byte at an address, or -1."""
    found = _libc.memchr(address, byte, size)
    return -1 if found is None else int(found) - address


def _checked(result: int | None, what: str) -> int:
    if result is None or result < 0 or result == 2**64 - 1:
        error = ctypes.get_errno()
        raise Unavailable(f"{what} failed: {os.strerror(error)}", errno=error)
    return result


def nonzero(base: int, size: int) -> Iterator[tuple[int, int]]:
    """The blocks of a memory that are not all zero."""
    for offset in range(0, size, _BLOCK):
        step = min(_BLOCK, size - offset)
        if _libc.memcmp(base + offset, _ZEROS_AT, step):
            yield offset, offset + step


# --- copy on write ------------------------------------------------------------------------------------------


class MappedImage:
    """An image in a memfd."""

    fd = -1

    def __init__(self, size: int, *, shared: bool) -> None:
        self.fd = os.memfd_create("aoray-image")
        self.shared = shared
        self.resize(size)

    def resize(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        self.size = size

    def write(self, address: int, offset: int, size: int) -> None:
        while size:
            done = _checked(_libc.pwrite(self.fd, address, size, offset), "Writing a memory image")
            address, offset, size = address + done, offset + done, size - done

    def read(self, address: int, offset: int, size: int) -> None:
        while size:
            done = _checked(_libc.pread(self.fd, address, size, offset), "Reading a memory image")
            address, offset, size = address + done, offset + done, size - done

    def runs(self) -> Iterator[tuple[int, bytes]]:
        end = 0
        while end < self.size:
            try:
                start = os.lseek(self.fd, end, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            end = os.lseek(self.fd, start, os.SEEK_HOLE)
            for offset in range(start, end, _BLOCK):
                yield offset, os.pread(self.fd, min(_BLOCK, end - offset), offset)

    def copy(self) -> MappedImage:
        image = MappedImage(self.size, shared=False)
        for offset, data in self.runs():
            os.pwrite(image.fd, data, offset)
        return image

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()


class CopyOnWrite:
    """Images in memfds, mapped privately over the guests' memories."""

    def __init__(self, written: Callable[[int, int], Runs]) -> None:
        self._written = written

    def capture(self, base: int, size: int) -> MappedImage:
        image = MappedImage(size, shared=True)
        for start, end in nonzero(base, size):
            image.write(base + start, start, end - start)
        return image

    def build(self, size: int, runs: Iterable[tuple[int, bytes]]) -> MappedImage:
        image = MappedImage(size, shared=False)
        for offset, data in runs:
            os.pwrite(image.fd, data, offset)
        return image

    def attach(self, base: int, image: Image) -> None:
        assert isinstance(image, MappedImage)
        if image.size:
            _checked(_libc.mmap(base, image.size, _READ_WRITE, _MAP, image.fd, 0), "Mapping a memory image")

    def roll_back(self, base: int, image: Image) -> None:
        assert isinstance(image, MappedImage)
        runs, few = self._runs(base, image.size)
        if few:
            for start, end in runs:
                image.read(base + start, start, end - start)
        else:
            self._drop(base, image.size)

    def fold(self, base: int, size: int, image: Image) -> Image:
        assert isinstance(image, MappedImage)
        own = image.copy() if image.shared else image
        grown = size > own.size
        if grown:
            own.resize(size)
        runs, few = self._runs(base, size)
        for start, end in runs:
            own.write(base + start, start, end - start)
        if grown or own is not image:
            self.attach(base, own)
        elif not few:
            self._drop(base, size)
        return own

    def _runs(self, base: int, size: int) -> tuple[list[tuple[int, int]], bool]:
        """The written runs of a memory, and whether they are so few that the copies are better kept."""
        runs = list(self._written(base, size))
        return runs, sum(end - start for start, end in runs) <= KEPT_PAGES_BYTES_MAX

    def _drop(self, base: int, size: int) -> None:
        """Let the kernel forget the copies of pages: the image shows through again."""
        if size:
            _checked(_libc.madvise(base, size, _DONTNEED), "Rolling a memory back")


class _Scan(ctypes.Structure):
    """`struct pm_scan_arg`."""

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
    """The runs of private pages, by `PAGEMAP_SCAN`. Pages that were only read do not count."""
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


os.register_at_fork(after_in_child=_pagemap.cache_clear)  # the file is that of the process that opened it

_PRIVATE = re.compile(rb"[\x80-\x9f\xc0-\xdf\x40-\x5f]+")  # present or swapped, and of no file


def written_by_pagemap(base: int, size: int) -> Iterator[tuple[int, int]]:
    """The same by reading a word for each page."""
    words = os.pread(_pagemap(), size // PAGE * 8, base // PAGE * 8)
    for run in _PRIVATE.finditer(words[7::8]):
        yield run.start() * PAGE, run.end() * PAGE


# --- copies -------------------------------------------------------------------------------------------------


class CopiedImage:
    """An image in a buffer."""

    def __init__(self, data: bytearray, *, shared: bool) -> None:
        self.data, self.shared, self.size = data, shared, len(data)

    def runs(self) -> Iterator[tuple[int, bytes]]:
        for offset in range(0, self.size, _BLOCK):
            block = bytes(self.data[offset : offset + _BLOCK])
            if block != _ZEROS[: len(block)]:
                yield offset, block

    def close(self) -> None:
        self.data = bytearray()


class Copies:
    """Whole copies: slow (10 ms for aos), and right everywhere."""

    def capture(self, base: int, size: int) -> CopiedImage:
        return CopiedImage(bytearray(_view(base, size)), shared=True)

    def build(self, size: int, runs: Iterable[tuple[int, bytes]]) -> CopiedImage:
        data = bytearray(size)
        for offset, run in runs:
            data[offset : offset + len(run)] = run
        return CopiedImage(data, shared=False)

    def attach(self, base: int, image: Image) -> None:
        assert isinstance(image, CopiedImage)
        _view(base, image.size)[:] = image.data

    roll_back = attach

    def fold(self, base: int, size: int, image: Image) -> Image:
        assert isinstance(image, CopiedImage)
        if image.shared or size != image.size:
            return CopiedImage(bytearray(_view(base, size)), shared=False)
        image.data[:] = _view(base, size)
        return image


def _view(base: int, size: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size).from_address(base)).cast("B")


# --- which --------------------------------------------------------------------------------------------------


@functools.cache
def best() -> Pages:
    """The fastest way that works on this machine: each is tried on a memory of three pages."""
    if not hasattr(os, "memfd_create") or not Path("/proc/self/pagemap").exists():
        return Copies()
    for written in (written_by_scan, written_by_pagemap):
        pages = CopyOnWrite(written)
        if works(pages):
            return pages
    return Copies()


def works(pages: CopyOnWrite) -> bool:
    room = mmap.mmap(-1, 3 * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(room))
    try:
        image = pages.build(3 * PAGE, [(0, b"kept")])
        pages.attach(base, image)
        room[PAGE : PAGE + 3] = b"new"
        seen = room[2 * PAGE : 2 * PAGE + 1] == b"\0"  # a page that is only read
        folded = pages.fold(base, 3 * PAGE, image)
        room[0:4] = b"gone"
        pages.roll_back(base, folded)
        return seen and room[0:4] == b"kept" and room[PAGE : PAGE + 3] == b"new"
    except (OSError, Unavailable):
        return False
