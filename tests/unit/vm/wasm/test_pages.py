"""Images: a memory goes back to exactly what was folded, wherever and however much was written."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from image_ways import WAYS

from aoray import limits
from aoray.errors import Unavailable
from aoray.vm.interface import UNIT, Changes
from aoray.vm.wasm import pages
from aoray.vm.wasm.memory import Runs, written_by_scan

PAGE, PAGES = pages.PAGE, 4096  # more than are kept as copies


@pytest.fixture
def room() -> Iterator[tuple[mmap.mmap, int]]:
    memory = mmap.mmap(-1, PAGE * PAGES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    yield memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> pages.Pages:
    chosen = WAYS[request.param]
    if isinstance(chosen, pages.CopyOnWrite) and not pages.works(chosen):
        pytest.skip("not on this kernel")
    return chosen


@pytest.mark.parametrize("written", [1, 40, 1500])
def test_folds_and_rollbacks_follow_a_model(
    way: pages.Pages, room: tuple[mmap.mmap, int], written: int
) -> None:
    memory, base = room
    chance = random.Random(written)
    size = PAGE * PAGES // 2
    memory[5 * PAGE : 5 * PAGE + 4] = b"boot"
    shared = image = way.capture(base, size)
    way.attach(base, image)
    model = bytes(memory[:size])
    for turn in range(12):
        for page in chance.sample(range(size // PAGE), written):
            memory[page * PAGE + turn] = chance.randrange(256)
        if turn == 6:  # it grew
            size = PAGE * PAGES
            memory[size - 1] = 7
        if turn % 3 == 0:
            image, model = way.snapshot(base, size, image), bytes(memory[:size])
        elif size == image.size:
            if turn % 2:
                image = way.compact(base, image, shared)
            way.roll_back(base, image)
        assert bytes(memory[: image.size]) == model[: image.size]
    offsets = tuple(range(0, image.size, UNIT))
    assert image.gather(offsets) == model
    content = dict(image.pages())
    changed = tuple(content) if image.partial else offsets
    changes = Changes(image.size, (), changed, pages.differing(image, shared, changed))
    rebuilt = way.build(shared, changes)
    memory[: image.size] = bytes(image.size)
    way.attach(base, rebuilt)
    assert bytes(memory[: image.size]) == model
    assert content.items() <= {offset: model[offset : offset + UNIT] for offset in offsets}.items()


def test_a_shared_image_is_never_written(way: pages.Pages, room: tuple[mmap.mmap, int]) -> None:
    memory, base = room
    shared = way.capture(base, 4 * PAGE)
    way.attach(base, shared)
    memory[0] = 1
    own = way.snapshot(base, 4 * PAGE, shared)
    assert own is not shared
    assert not own.shared
    way.attach(base, shared)
    assert memory[0] == 0


def test_copy_on_write_is_what_this_machine_uses() -> None:
    """All machines that this is developed on have it; others skip by losing this one test."""
    assert isinstance(pages.best(), pages.CopyOnWrite)


def test_pages_that_were_only_read_do_not_count(room: tuple[mmap.mmap, int]) -> None:
    way = WAYS["scan"]
    if not pages.works(way):  # type: ignore[arg-type]
        pytest.skip("not on this kernel")
    memory, base = room
    memory[0] = ord("x")
    way.attach(base, way.capture(base, PAGE * PAGES))
    assert sum(memory[::PAGE]) == ord("x")
    memory[9 * PAGE] = 1
    assert list(written_by_scan(base, PAGE * PAGES)) == [(9 * PAGE, 10 * PAGE)]


Room = tuple[mmap.mmap, int]


@pytest.fixture
def mapping() -> pages.CopyOnWrite:
    way = WAYS["scan"]
    assert isinstance(way, pages.CopyOnWrite)
    if not pages.works(way):
        pytest.skip("not on this kernel")
    return way


def write(memory: mmap.mmap, count: int, byte: int = 1, first: int = 0) -> None:
    """So many pages, one after another."""
    for page in range(first, first + count):
        memory[page * PAGE] = byte


def written(base: int, count: int = PAGES) -> int:
    return sum(end - start for start, end in written_by_scan(base, count * PAGE)) // PAGE


def test_a_process_costs_its_own_pages_and_what_is_kept_of_them(
    mapping: pages.CopyOnWrite, room: Room
) -> None:
    memory, base = room
    size = 8 * PAGE
    write(memory, 8)
    shared = mapping.capture(base, size)
    mapping.attach(base, shared)
    assert mapping.held(base, size, shared) == 0
    write(memory, 2, 5)
    assert mapping.held(base, size, shared) == 2 * PAGE
    own = mapping.snapshot(base, size, shared)
    assert 0 < own.held() < PAGE
    assert mapping.held(base, size, own) == 2 * PAGE + own.held()
    assert mapping.compact(base, own, shared) is own
    assert mapping.held(base, size, own) == own.held()
    own.close()
    assert own.held() == 0


def test_a_copy_costs_all_of_a_memory(room: Room) -> None:
    way, (_, base) = WAYS["copies"], room
    shared = way.capture(base, 3 * PAGE)
    assert (shared.held(), way.held(base, 3 * PAGE, shared)) == (3 * PAGE, 3 * PAGE)
    own = way.snapshot(base, 3 * PAGE, shared)
    assert way.held(base, 3 * PAGE, own) == 6 * PAGE
    assert way.compact(base, own, shared) is own
    own.close()
    assert own.held() == 0


def test_up_to_a_bound_the_own_pages_are_kept_compressed_and_beyond_it_as_an_image(
    mapping: pages.CopyOnWrite, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OVERLAY_BYTES_MAX", 3 * PAGE)
    memory, base = room
    size = 16 * PAGE
    shared = mapping.capture(base, size)
    mapping.attach(base, shared)
    write(memory, 3)
    own = mapping.snapshot(base, size, shared)
    assert isinstance(own, pages.Overlay) and own.partial
    assert [offset for offset, _ in own.pages()] == [0, PAGE, 2 * PAGE]
    assert written(base, 16) == 3  # the guest goes on with its pages
    write(memory, 4, 2)
    own = mapping.snapshot(base, size, own)
    assert isinstance(own, pages.MappedImage) and not own.shared
    assert (own.held(), written(base, 16)) == (4 * PAGE, 0)
    for count, kept in ((3, 3), (4, 0)):  # a few pages stay, in step with the image; many go
        write(memory, count, 3 + count)
        assert mapping.snapshot(base, size, own) is own
        assert written(base, 16) == kept
        assert own.gather([0, 2 * PAGE]) == bytes(memory[:PAGE]) + bytes(memory[2 * PAGE : 3 * PAGE])
    for count, kind in ((3, pages.Overlay), (4, pages.MappedImage)):
        offsets = tuple(range(0, count * PAGE, PAGE))
        changes = Changes(size, (), offsets, pages.differing(own, shared, offsets))
        assert isinstance(mapping.build(shared, changes), kind)


def test_an_image_of_its_own_grows_with_its_memory(
    mapping: pages.CopyOnWrite, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OVERLAY_BYTES_MAX", 0)
    memory, base = room
    image: pages.Image = mapping.capture(base, 4 * PAGE)
    mapping.attach(base, image)
    write(memory, 2)
    own = mapping.snapshot(base, 4 * PAGE, image)
    write(memory, 2, 2, 7)  # of a memory of nine pages now
    assert mapping.snapshot(base, 9 * PAGE, own) is own
    assert (own.size, written(base, 9)) == (9 * PAGE, 0)
    write(memory, 9, 5)
    mapping.roll_back(base, own)
    assert [memory[page * PAGE] for page in range(9)] == [1, 1, 0, 0, 0, 0, 0, 2, 2]


def test_an_image_of_its_own_is_compressed_at_rest_up_to_a_bound(
    mapping: pages.CopyOnWrite, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OVERLAY_BYTES_MAX", 0)
    memory, base = room
    write(memory, 16, 9)
    size = 16 * PAGE
    shared = mapping.capture(base, size)
    mapping.attach(base, shared)
    write(memory, 4)
    own = mapping.snapshot(base, size, shared)
    model = bytes(memory[:size])
    for most, rests in ((own.held() - 1, False), (own.held(), True)):
        monkeypatch.setattr(limits, "REST_BYTES_MAX", most)
        write(memory, 2, 7)
        resting = mapping.compact(base, own, shared)
        assert (isinstance(resting, pages.Overlay), resting is own) == (rests, not rests)
        assert written(base, 16) == 0
        mapping.roll_back(base, resting)
        assert bytes(memory[:size]) == model
    assert [offset for offset, _ in resting.pages()] == [page * PAGE for page in range(4)]


def test_beyond_its_end_an_image_is_zeros(way: pages.Pages, room: Room) -> None:
    memory, base = room
    write(memory, 4)
    shared = way.capture(base, 3 * PAGE)
    way.attach(base, shared)
    write(memory, 1, 2)
    own = way.snapshot(base, 3 * PAGE, shared)
    for image, first in ((shared, 1), (own, 2)):
        gathered = image.gather([0, 2 * PAGE, 3 * PAGE, 4 * PAGE])
        assert [gathered[at] for at in range(0, 4 * PAGE, PAGE)] == [first, 1, 0, 0]
        assert len(gathered) == 4 * PAGE


@pytest.mark.parametrize("overlay_max", [limits.OVERLAY_BYTES_MAX, 0], ids=["overlay", "image"])
def test_a_memory_that_was_detached_keeps_its_content_whatever_becomes_of_the_image(
    way: pages.Pages, room: Room, monkeypatch: pytest.MonkeyPatch, overlay_max: int
) -> None:
    monkeypatch.setattr(limits, "OVERLAY_BYTES_MAX", overlay_max)
    memory, base = room
    size, other = 4 * PAGE, 8 * PAGE
    shared = way.capture(base, size)
    way.attach(base, shared)
    write(memory, 2)
    own = way.snapshot(base, size, shared)
    way.attach(base + other, own)
    way.detach(base + other, size, own)
    write(memory, 2, 2)
    way.snapshot(base, size, own)
    assert [memory[other + page * PAGE] for page in range(4)] == [1, 1, 0, 0]


def test_an_image_is_written_whole_though_the_system_takes_a_part(
    mapping: pages.CopyOnWrite, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OVERLAY_BYTES_MAX", 0)
    memory, base = room
    content = random.Random(1).randbytes(4 * PAGE)
    memory[: 4 * PAGE] = content
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:100], at))
    shared = mapping.capture(base, 4 * PAGE)
    memory[PAGE : 2 * PAGE] = content[:PAGE]
    offsets = (PAGE,)
    own = mapping.snapshot(base, 4 * PAGE, shared)
    changes = Changes(4 * PAGE, (), offsets, pages.differing(own, shared, offsets))
    built = mapping.build(shared, changes)
    assert isinstance(built, pages.MappedImage)
    every = range(0, 4 * PAGE, PAGE)
    assert built.gather(every) == own.gather(every) == content[:PAGE] * 2 + content[2 * PAGE :]


def test_an_image_that_is_closed_has_given_its_file_back(mapping: pages.CopyOnWrite, room: Room) -> None:
    image = mapping.capture(room[1], PAGE)
    fd = image.fd
    image.close()
    image.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def nothing(base: int, size: int) -> Runs:
    return []


def everything(base: int, size: int) -> Runs:
    return [(0, size)]


def unknown(error: Exception) -> Callable[[int, int], Runs]:
    def ask(base: int, size: int) -> Runs:
        raise error

    return ask


@pytest.mark.parametrize("asked", [nothing, everything, unknown(OSError("no")), unknown(Unavailable("no"))])
def test_a_way_that_does_not_say_what_was_written_is_not_used(asked: Any) -> None:
    assert not pages.works(pages.CopyOnWrite(asked))
