"""Images: a memory goes back to exactly what was folded, wherever and however much was written."""

from __future__ import annotations

import ctypes
import mmap
import random
from collections.abc import Iterator

import pytest
from image_ways import WAYS

from aoray.wasm import pages
from aoray.wasm.memory import written_by_scan

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
            image, model = way.fold(base, size, image), bytes(memory[:size])
        elif size == image.size:
            if turn % 2:
                image = way.rest(base, image, shared)
            way.roll_back(base, image)
        assert bytes(memory[: image.size]) == model[: image.size]
    offsets = tuple(range(0, image.size, pages.UNIT))
    assert image.gather(offsets) == model
    content = dict(image.pages())
    changed = tuple(content) if image.partial else offsets
    changes = pages.Changes(image.size, (), changed, pages.differing(image, shared, changed))
    rebuilt = way.build(shared, changes)
    memory[: image.size] = bytes(image.size)
    way.attach(base, rebuilt)
    assert bytes(memory[: image.size]) == model
    assert content.items() <= {offset: model[offset : offset + pages.UNIT] for offset in offsets}.items()


def test_a_shared_image_is_never_written(way: pages.Pages, room: tuple[mmap.mmap, int]) -> None:
    memory, base = room
    shared = way.capture(base, 4 * PAGE)
    way.attach(base, shared)
    memory[0] = 1
    own = way.fold(base, 4 * PAGE, shared)
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
