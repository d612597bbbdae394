"""Images of a guest's memory, and how a memory goes back to an image, which makes a message all-or-nothing.

An image is the content of a memory at a snapshot (instance.py). On Linux all instances of a module share the
image of its memory after boot: a sparse memfd, mapped privately over each guest's memory, so that a write
copies a single page. The pages that an instance has written are stored in one of two ways:

* Up to OVERLAY_BYTES_MAX in an `Overlay`: the instance's pages as the XOR with the shared pages, compressed.
  An instance takes the memory of its pages and about a tenth of that for the overlay; compacted, only the
  overlay. A snapshot takes 0.5 ms.
* Beyond that in a `MappedImage` of its own, which the guest's memory maps instead of the shared image. A
  snapshot writes only what was written since the last one (0.3 ms for an aos message), and a rollback drops
  it. Compacted, it becomes an overlay too, if it has at most REST_BYTES_MAX: that takes 4 ms for an aos
  process, which then takes two fifths.

Where the kernel does not tell which pages were written, `Copies` does the same with complete copies.

The unit of hashes and checkpoints is UNIT bytes on every machine, whatever its page size. A shared image is
never written. On failure: `Unavailable`.
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
    """The content of a memory at a snapshot. `size` is in bytes; an image that is `shared` is never
    written."""

    size: int
    shared: bool
    partial: bool  # whether `pages` are only those over a shared image; else they are all that are not zero

    def pages(self) -> Iterator[MemoryPage]:
        """Yield offset and content of the pages, in order. Some of them may be equal to those of the shared
        image, or zero."""

    def gather(self, offsets: Sequence[int]) -> bytes:
        """Return the pages at these offsets, one after another, with zeros beyond the end."""

    def held(self) -> int:
        """Return the bytes of memory that the image takes."""

    def close(self) -> None:
        """Release the memory of the image."""


class Pages(Protocol):
    """A method to keep images and to bring memories (given by base address and size) to them."""

    def capture(self, base: int, size: int) -> Image:
        """Return a shared image of a memory."""

    def build(self, shared: Image, changes: Changes) -> Image:
        """Return an image, given its differences from a shared image."""

    def attach(self, base: int, image: Image) -> None:
        """Bring any memory of the image's size to the image."""

    def detach(self, base: int, size: int, image: Image) -> None:
        """Make a memory that was just attached independent of the image."""

    def roll_back(self, base: int, image: Image) -> None:
        """Bring a memory back to the image to which it was attached; it has the image's size."""

    def snapshot(self, base: int, size: int, image: Image) -> Image:
        """Return an image of the memory, updated from `image`: the same object or another; never a shared
        image."""

    def held(self, base: int, size: int, image: Image) -> int:
        """Return the bytes that a memory and its image take, without what is shared."""

    def compact(self, base: int, image: Image, shared: Image) -> Image:
        """Release what a memory takes besides its image, and return its image from now on. `roll_back` must
        be called before the memory is used again."""


def xor(one: Buffer, other: Buffer) -> memoryview:
    """Return the XOR of two byte strings of the same length, which is a multiple of 8."""
    words = [
        pa.Array.from_buffers(pa.uint64(), len(text) // 8, [None, pa.py_buffer(text)])
        for text in (one, other)
    ]
    return memoryview(pc.bit_wise_xor(*words).buffers()[1]).cast("B")


def differing(image: Image, shared: Image, offsets: Sequence[int]) -> bytes:
    """Return the pages of an image at these offsets, as the XOR with those of a shared image."""
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
        """Set the size of the image in bytes."""
        os.ftruncate(self.fd, size)
        self.size = size

    def held(self) -> int:
        """Return the bytes that the operating system takes for the image."""
        return 512 * os.fstat(self.fd).st_blocks

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield offset and content of the blocks that were ever written."""
        end = 0
        while end < self.size:
            try:
                start = os.lseek(self.fd, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data follows
                    return
                raise
            end = os.lseek(self.fd, start, os.SEEK_HOLE)
            for offset in range(start, end, BLOCK):
                yield offset, os.pread(self.fd, min(BLOCK, end - offset), offset)

    def pages(self) -> Iterator[MemoryPage]:
        """Yield offset and content of the pages that are not zero, in order."""
        for start, block in self.blocks():
            for page in _sliced(range(start, start + len(block), UNIT), block):
                if page[1] != ZEROS:
                    yield page

    def gather(self, offsets: Sequence[int]) -> bytes:
        """Return the pages at these offsets, one after another, with zeros beyond the end."""
        view = self._view
        if view:
            pages = (view[offset : offset + UNIT] if offset < self.size else ZEROS for offset in offsets)
        else:
            pages = (os.pread(self.fd, UNIT, offset).ljust(UNIT, b"\0") for offset in offsets)
        return b"".join(pages)

    def copy(self) -> MappedImage:
        """Return a copy that is not shared."""
        image = MappedImage(self.size, shared=False)
        for offset, data in self.blocks():
            _written_whole(image.fd, data, offset)
        return image

    def close(self) -> None:
        """Close the memfd."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._view = memoryview(b"")

    def __del__(self) -> None:
        self.close()


class Overlay:
    """The pages of one instance over a shared image."""

    shared = False
    partial = True

    def __init__(self, under: MappedImage, size: int, offsets: Sequence[int], data: Buffer) -> None:
        """Compress the pages at `offsets`: `data` is their XOR with the pages of `under`."""
        self.under, self.size, self._offsets = under, size, array("Q", offsets)
        self._packed: bytes = _CODEC.compress(data, asbytes=True)

    def pages(self) -> Iterator[MemoryPage]:
        """Yield offset and content of the instance's pages, in order."""
        yield from _sliced(self._offsets, self._content())

    def lay_over(self, base: int) -> None:
        """Write the instance's pages into a memory that shows the shared pages."""
        room, content = memory.view(base, self.size), self._content()
        for n, offset in enumerate(self._offsets):
            room[offset : offset + UNIT] = content[n * UNIT : (n + 1) * UNIT]

    def _content(self) -> memoryview:
        data = _CODEC.decompress(self._packed, len(self._offsets) * UNIT)
        return xor(data, self.under.gather(self._offsets))

    def gather(self, offsets: Sequence[int]) -> bytes:
        """Return the pages at these offsets, one after another, with zeros beyond the end."""
        own = dict(self.pages())
        return b"".join(own.get(offset) or self.under.gather([offset]) for offset in offsets)

    def held(self) -> int:
        """Return the bytes of the compressed pages."""
        return len(self._packed)

    def close(self) -> None:
        """Release the compressed pages."""
        self._packed = b""


def _written_whole(fd: int, data: bytes, offset: int) -> None:
    """Write all of the data, since a file system that is nearly full may write only a part at once."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def _compared(own: MappedImage, under: MappedImage) -> tuple[list[int], Buffer]:
    """Return the offsets at which an image, which started as a copy of another, differs from that, and the
    XOR of those pages."""
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
    """The method with images in memfds, mapped privately over the guests' memories. `written` finds the pages
    that were written."""

    def __init__(self, written: Callable[[int, int], Runs]) -> None:
        self._written = written

    def capture(self, base: int, size: int) -> MappedImage:
        """Return a shared image of a memory, in a memfd."""
        image = MappedImage(size, shared=True)
        for start, end in memory.nonzero(base, size):
            memory.write_file(image.fd, base + start, start, end - start)
        return image

    def build(self, shared: Image, changes: Changes) -> MappedImage | Overlay:
        """Return an overlay for few differences from a shared image, or a mapped image for many."""
        assert isinstance(shared, MappedImage)
        if len(changes.data) <= limits.OVERLAY_BYTES_MAX:
            return Overlay(shared, changes.memory_bytes, changes.offsets, changes.data)
        image = shared.copy()
        image.resize(changes.memory_bytes)
        for offset, page in _sliced(changes.offsets, xor(changes.data, shared.gather(changes.offsets))):
            _written_whole(image.fd, page, offset)
        return image

    def attach(self, base: int, image: Image) -> None:
        """Map the image over a memory of the same size."""
        if isinstance(image, Overlay):
            self._map_under(base, image)
            image.lay_over(base)
        else:
            assert isinstance(image, MappedImage)
            memory.map_file(base, image.size, image.fd)

    def detach(self, base: int, size: int, image: Image) -> None:
        """Copy an image that a later snapshot would write into, and map the copy."""
        if isinstance(image, MappedImage) and not image.shared:  # a later snapshot would write into it
            copy = image.copy()
            memory.map_file(base, size, copy.fd)
            copy.close()

    def _map_under(self, base: int, image: Overlay) -> None:
        memory.map_file(base, image.under.size, image.under.fd)
        memory.map_zeros(base + image.under.size, image.size - image.under.size)

    def roll_back(self, base: int, image: Image) -> None:
        """Discard what was written since the snapshot."""
        memory.drop(base, image.size)
        if isinstance(image, Overlay):
            image.lay_over(base)

    def held(self, base: int, size: int, image: Image) -> int:
        """Return the bytes of the pages that were written, and of the image unless it is shared."""
        written = sum(end - start for start, end in self._written(base, size))
        return written + (0 if image.shared else image.held())

    def compact(self, base: int, image: Image, shared: Image) -> Image:
        """Release the written pages; turn a mapped image of at most REST_BYTES_MAX into an overlay."""
        assert isinstance(shared, MappedImage)
        if isinstance(image, MappedImage) and not image.shared and image.held() <= limits.REST_BYTES_MAX:
            image = Overlay(shared, image.size, *_compared(image, shared))
            self._map_under(base, image)
        else:
            memory.drop(base, image.size)
        return image

    def snapshot(self, base: int, size: int, image: Image) -> Image:
        """Update the mapped image of the memory, or return a new overlay, or a mapped image if too many pages
        were written."""
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
        """Write the changed pages to the image. The guest's copies of a few pages stay, equal to the image:
        the guest will write the same pages again, and a page fault takes three times as long as a copy."""
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
        """Yield offset and content of the pages that are not zero, in order."""
        for offset in range(0, self.size, UNIT):
            page = bytes(self.data[offset : offset + UNIT])
            if page != ZEROS:
                yield offset, page

    def gather(self, offsets: Sequence[int]) -> bytes:
        """Return the pages at these offsets, one after another, with zeros beyond the end."""
        return b"".join(bytes(self.data[offset : offset + UNIT]).ljust(UNIT, b"\0") for offset in offsets)

    def held(self) -> int:
        """Return the size of the buffer in bytes."""
        return len(self.data)

    def close(self) -> None:
        """Release the buffer."""
        self.data = bytearray()


class Copies:
    """The method with complete copies: slow (10 ms for aos), but it works everywhere."""

    def capture(self, base: int, size: int) -> CopiedImage:
        """Return a shared copy of a memory."""
        return CopiedImage(bytearray(memory.view(base, size)), shared=True)

    def build(self, shared: Image, changes: Changes) -> CopiedImage:
        """Return a copy of the shared image with the differences."""
        assert isinstance(shared, CopiedImage)
        data = shared.data.ljust(changes.memory_bytes, b"\0")
        for offset, page in _sliced(changes.offsets, xor(changes.data, shared.gather(changes.offsets))):
            data[offset : offset + UNIT] = page
        return CopiedImage(data, shared=False)

    def attach(self, base: int, image: Image) -> None:
        """Copy the image into a memory of the same size."""
        assert isinstance(image, CopiedImage)
        memory.view(base, image.size)[:] = image.data

    roll_back = attach

    def detach(self, base: int, size: int, image: Image) -> None:
        """Do nothing, since the memory has its own copy."""

    def held(self, base: int, size: int, image: Image) -> int:
        """Return the size of the memory, and of the image unless it is shared."""
        return size + (0 if image.shared else image.size)

    def compact(self, base: int, image: Image, shared: Image) -> Image:
        """Return the image unchanged, since the memory can't be released."""
        return image

    def snapshot(self, base: int, size: int, image: Image) -> Image:
        """Copy the memory into the image, or into a new one."""
        assert isinstance(image, CopiedImage)
        if image.shared or size != image.size:
            return CopiedImage(bytearray(memory.view(base, size)), shared=False)
        image.data[:] = memory.view(base, size)
        return image


# --- choice ------------------------------------------------------------------------------------------------


@functools.cache
def best() -> Pages:
    """Return the fastest method that works on this machine; each is tried on a memory of three pages."""
    if not hasattr(os, "memfd_create") or not Path("/proc/self/pagemap").exists():
        return Copies()
    for written in (written_by_scan, written_by_pagemap):
        pages = CopyOnWrite(written)
        if works(pages):
            return pages
    return Copies()


def works(pages: CopyOnWrite) -> bool:
    """Return whether this method can take a snapshot of a memory and roll it back, and leaves pages shared
    that are only read."""
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
