"""Images of a guest's memory, and the way back to one: what makes a message all-or-nothing.

An image is the content of a memory at a snapshot (instance.py). On Linux all instances of a module share the
image of its memory after boot: a sparse memfd, mapped privately over each guest's memory, so that writes
make copies of single pages. What an instance has written itself is one of two things:

* up to OVERLAY_BYTES_MAX an `Overlay`: the own pages as they differ from the shared ones (XOR), compressed.
  An instance costs its own pages and some tenth of them; at rest, only the tenth. A snapshot takes 0.5 ms.
* beyond, a `MappedImage` of its own, which the guest's memory maps in place of the shared one: a snapshot
  writes only what was written since the last one (0.3 ms for an aos message), a rollback drops it. At rest it
  is an overlay too, up to REST_BYTES_MAX of them: 4 ms for an aos process, which then holds two fifths.

Where the kernel does not say which pages were written, `Copies` does the same with whole copies.

The unit of hashes and checkpoints is UNIT bytes on every machine, whatever the size of its pages. A shared
image is never written. On failure: `Unavailable`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from aoray import limits
from aoray.errors import Unavailable
from aoray.vm.interface import UNIT, Changes, MemoryPage
from aoray.vm.wasm import memory
from aoray.vm.wasm.memory import BLOCK, PAGE, Runs, written_by_pagemap, written_by_scan

ZEROS = bytes(UNIT)
_CODEC: Any = pa.Codec("lz4_raw")

Buffer = bytes | memoryview


class Image(Protocol):
    """The content of a memory. `size` in bytes; `shared` images are not written."""

    size: int
    shared: bool
    partial: bool  # `pages` are those that may differ from the shared image beneath; else all but zeros

    def pages(self) -> Iterator[MemoryPage]:
        """Yield offset and content of the pages, in order (and perhaps some more than there must be)."""

    def gather(self, offsets: Sequence[int]) -> bytes:
        """Return the pages at these offsets, one after another; zeros beyond the end."""

    def held(self) -> int:
        """Return the bytes that the image takes."""

    def close(self) -> None:
        """Release the memory of the image."""


class Pages(Protocol):
    """A way to keep images, and to bring a memory (base address, size) to one."""

    def capture(self, base: int, size: int) -> Image:
        """Return a shared image of a memory as it is."""

    def build(self, shared: Image, changes: Changes) -> Image:
        """Build an image from its differences to a shared one."""

    def attach(self, base: int, image: Image) -> None:
        """Bring any memory of the image's size to the image."""

    def detach(self, base: int, size: int, image: Image) -> None:
        """Have a memory that was just attached keep its content, whatever becomes of the image."""

    def roll_back(self, base: int, image: Image) -> None:
        """Bring a memory that was attached to the image back to it; it has the image's size."""

    def snapshot(self, base: int, size: int, image: Image) -> Image:
        """Return the image brought up to the memory: the same one, or another (in place of a shared one,
        always)."""

    def held(self, base: int, size: int, image: Image) -> int:
        """Return the bytes that a memory and its image take, beside what is shared."""

    def compact(self, base: int, image: Image, shared: Image) -> Image:
        """Release what a memory holds besides its image, which may be another from here on; `roll_back`
        comes before the memory is used again."""


def xor(one: Buffer, other: Buffer) -> memoryview:
    """Return where two byte strings of the same length (a multiple of 8) differ."""
    words = [
        pa.Array.from_buffers(pa.uint64(), len(text) // 8, [None, pa.py_buffer(text)])
        for text in (one, other)
    ]
    return memoryview(pc.bit_wise_xor(*words).buffers()[1]).cast("B")


def differing(image: Image, shared: Image, offsets: Sequence[int]) -> bytes:
    """Return pages of an image as they differ from a shared one's."""
    return bytes(xor(image.gather(offsets), shared.gather(offsets)))


def _units(runs: Runs) -> list[int]:
    return [offset for start, end in runs for offset in range(start, end, UNIT)]


def _sliced(offsets: Sequence[int], data: Buffer) -> Iterator[MemoryPage]:
    for n, offset in enumerate(offsets):
        yield offset, bytes(data[n * UNIT : (n + 1) * UNIT])


# --- copy on write ------------------------------------------------------------------------------------------


class MappedImage:
    """An image in a memfd."""

    fd = -1
    partial = False

    def __init__(self, size: int, *, shared: bool) -> None:
        self.fd = os.memfd_create("aoray-image")
        self.shared = shared
        self.resize(size)
        self._view = memoryview(mmap.mmap(self.fd, size, prot=mmap.PROT_READ) if shared and size else b"")

    def resize(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        self.size = size

    def held(self) -> int:
        """Return the bytes that the system keeps for the image."""
        return 512 * os.fstat(self.fd).st_blocks

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the blocks that were ever written."""
        end = 0
        while end < self.size:
            try:
                start = os.lseek(self.fd, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return
                raise
            end = os.lseek(self.fd, start, os.SEEK_HOLE)
            for offset in range(start, end, BLOCK):
                yield offset, os.pread(self.fd, min(BLOCK, end - offset), offset)

    def pages(self) -> Iterator[MemoryPage]:
        for start, block in self.blocks():
            for page in _sliced(range(start, start + len(block), UNIT), block):
                if page[1] != ZEROS:
                    yield page

    def gather(self, offsets: Sequence[int]) -> bytes:
        view = self._view
        if view:
            pages = (view[offset : offset + UNIT] if offset < self.size else ZEROS for offset in offsets)
        else:
            pages = (os.pread(self.fd, UNIT, offset).ljust(UNIT, b"\0") for offset in offsets)
        return b"".join(pages)

    def copy(self) -> MappedImage:
        image = MappedImage(self.size, shared=False)
        for offset, data in self.blocks():
            _written_whole(image.fd, data, offset)
        return image

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._view = memoryview(b"")

    def __del__(self) -> None:
        self.close()


class Overlay:
    """A shared image, and over it the pages of one instance."""

    shared = False
    partial = True

    def __init__(self, under: MappedImage, size: int, offsets: Sequence[int], data: Buffer) -> None:
        """`data` are the pages at `offsets` as they differ from those under them."""
        self.under, self.size, self._offsets = under, size, array("Q", offsets)
        self._packed: bytes = _CODEC.compress(data, asbytes=True)

    def pages(self) -> Iterator[MemoryPage]:
        yield from _sliced(self._offsets, self._content())

    def lay_over(self, base: int) -> None:
        """Write the own pages into a memory that shows the shared ones."""
        room, content = memory.view(base, self.size), self._content()
        for n, offset in enumerate(self._offsets):
            room[offset : offset + UNIT] = content[n * UNIT : (n + 1) * UNIT]

    def _content(self) -> memoryview:
        data = _CODEC.decompress(self._packed, len(self._offsets) * UNIT)
        return xor(data, self.under.gather(self._offsets))

    def gather(self, offsets: Sequence[int]) -> bytes:
        own = dict(self.pages())
        return b"".join(own.get(offset) or self.under.gather([offset]) for offset in offsets)

    def held(self) -> int:
        return len(self._packed)

    def close(self) -> None:
        self._packed = b""


def _written_whole(fd: int, data: bytes, offset: int) -> None:
    """All of it: a file system that is nearly full takes a part."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def _compared(own: MappedImage, under: MappedImage) -> tuple[list[int], Buffer]:
    """Where an image, which began as a copy of another, differs from it; and those pages, XORed."""
    offsets, found = [], []
    for start, block in own.blocks():
        units = range(start, start + len(block), UNIT)
        for (offset, page), (_, other) in zip(
            _sliced(units, block), _sliced(units, under.gather(units)), strict=True
        ):
            if page != other:
                offsets.append(offset)
                found.append(page)
    return offsets, xor(b"".join(found), under.gather(offsets))


class CopyOnWrite:
    """Images in memfds, mapped privately over the guests' memories."""

    def __init__(self, written: Callable[[int, int], Runs]) -> None:
        self._written = written

    def capture(self, base: int, size: int) -> MappedImage:
        image = MappedImage(size, shared=True)
        for start, end in memory.nonzero(base, size):
            memory.write_file(image.fd, base + start, start, end - start)
        return image

    def build(self, shared: Image, changes: Changes) -> MappedImage | Overlay:
        assert isinstance(shared, MappedImage)
        if len(changes.data) <= limits.OVERLAY_BYTES_MAX:
            return Overlay(shared, changes.memory_bytes, changes.offsets, changes.data)
        image = shared.copy()
        image.resize(changes.memory_bytes)
        for offset, page in _sliced(changes.offsets, xor(changes.data, shared.gather(changes.offsets))):
            _written_whole(image.fd, page, offset)
        return image

    def attach(self, base: int, image: Image) -> None:
        if isinstance(image, Overlay):
            self._map_under(base, image)
            image.lay_over(base)
        else:
            assert isinstance(image, MappedImage)
            memory.map_file(base, image.size, image.fd)

    def detach(self, base: int, size: int, image: Image) -> None:
        if isinstance(image, MappedImage) and not image.shared:  # a snapshot writes into it
            copy = image.copy()
            memory.map_file(base, size, copy.fd)
            copy.close()

    def _map_under(self, base: int, image: Overlay) -> None:
        memory.map_file(base, image.under.size, image.under.fd)
        memory.map_zeros(base + image.under.size, image.size - image.under.size)

    def roll_back(self, base: int, image: Image) -> None:
        memory.drop(base, image.size)
        if isinstance(image, Overlay):
            image.lay_over(base)

    def held(self, base: int, size: int, image: Image) -> int:
        written = sum(end - start for start, end in self._written(base, size))
        return written + (0 if image.shared else image.held())

    def compact(self, base: int, image: Image, shared: Image) -> Image:
        assert isinstance(shared, MappedImage)
        if isinstance(image, MappedImage) and not image.shared and image.held() <= limits.REST_BYTES_MAX:
            image = Overlay(shared, image.size, *_compared(image, shared))
            self._map_under(base, image)
        else:
            memory.drop(base, image.size)
        return image

    def snapshot(self, base: int, size: int, image: Image) -> Image:
        runs = list(self._written(base, size))
        count = sum(end - start for start, end in runs)
        if isinstance(image, MappedImage) and not image.shared:
            self._write_back(base, size, image, runs, count)
            return image
        under = image.under if isinstance(image, Overlay) else image
        assert isinstance(under, MappedImage)
        if count > limits.OVERLAY_BYTES_MAX:
            own = under.copy()
            own.resize(size)
            for start, end in runs:
                memory.write_file(own.fd, base + start, start, end - start)
            self.attach(base, own)
            return own
        offsets = _units(runs)
        room = memory.view(base, size)
        content = b"".join(room[start:end] for start, end in runs)
        return Overlay(under, size, offsets, xor(content, under.gather(offsets)))

    def _write_back(self, base: int, size: int, own: MappedImage, runs: Runs, count: int) -> None:
        """A few copies are kept, in step with the image: the guest will write the same pages again, and a
        page fault takes three times as long as a copy."""
        grown = size > own.size
        if grown:
            own.resize(size)
        for start, end in runs:
            memory.write_file(own.fd, base + start, start, end - start)
        if grown:
            self.attach(base, own)
        elif count > limits.OVERLAY_BYTES_MAX:
            memory.drop(base, size)


# --- copies -------------------------------------------------------------------------------------------------


class CopiedImage:
    """An image in a buffer."""

    partial = False

    def __init__(self, data: bytearray, *, shared: bool) -> None:
        self.data, self.shared, self.size = data, shared, len(data)

    def pages(self) -> Iterator[MemoryPage]:
        for offset in range(0, self.size, UNIT):
            page = bytes(self.data[offset : offset + UNIT])
            if page != ZEROS:
                yield offset, page

    def gather(self, offsets: Sequence[int]) -> bytes:
        return b"".join(bytes(self.data[offset : offset + UNIT]).ljust(UNIT, b"\0") for offset in offsets)

    def held(self) -> int:
        return len(self.data)

    def close(self) -> None:
        self.data = bytearray()


class Copies:
    """The way of whole copies: slow (10 ms for aos), and right everywhere."""

    def capture(self, base: int, size: int) -> CopiedImage:
        return CopiedImage(bytearray(memory.view(base, size)), shared=True)

    def build(self, shared: Image, changes: Changes) -> CopiedImage:
        assert isinstance(shared, CopiedImage)
        data = shared.data.ljust(changes.memory_bytes, b"\0")
        for offset, page in _sliced(changes.offsets, xor(changes.data, shared.gather(changes.offsets))):
            data[offset : offset + UNIT] = page
        return CopiedImage(data, shared=False)

    def attach(self, base: int, image: Image) -> None:
        assert isinstance(image, CopiedImage)
        memory.view(base, image.size)[:] = image.data

    roll_back = attach

    def detach(self, base: int, size: int, image: Image) -> None:
        """Do nothing: a copy is detached."""

    def held(self, base: int, size: int, image: Image) -> int:
        return size + (0 if image.shared else image.size)

    def compact(self, base: int, image: Image, shared: Image) -> Image:
        return image  # a copy is always there

    def snapshot(self, base: int, size: int, image: Image) -> Image:
        assert isinstance(image, CopiedImage)
        if image.shared or size != image.size:
            return CopiedImage(bytearray(memory.view(base, size)), shared=False)
        image.data[:] = memory.view(base, size)
        return image


# --- which --------------------------------------------------------------------------------------------------


@functools.cache
def best() -> Pages:
    """Return the fastest way that works on this machine: each is tried on a memory of three pages."""
    if not hasattr(os, "memfd_create") or not Path("/proc/self/pagemap").exists():
        return Copies()
    for written in (written_by_scan, written_by_pagemap):
        pages = CopyOnWrite(written)
        if works(pages):
            return pages
    return Copies()


def works(pages: CopyOnWrite) -> bool:
    """Return whether a memory can be snapshotted and rolled back this way, and a page that is only read
    stays shared."""
    room = mmap.mmap(-1, 3 * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(room))
    try:
        room[0:4] = b"kept"
        image = pages.capture(base, 3 * PAGE)
        pages.attach(base, image)
        room[PAGE : PAGE + 3] = b"new"
        seen = room[2 * PAGE : 2 * PAGE + 1] == b"\0"
        folded = pages.snapshot(base, 3 * PAGE, image)
        offsets = {offset // PAGE for offset, _ in folded.pages()}
        room[0:4] = b"gone"
        pages.roll_back(base, folded)
        return seen and offsets == {1} and room[0:4] == b"kept" and room[PAGE : PAGE + 3] == b"new"
    except (OSError, Unavailable):
        return False
