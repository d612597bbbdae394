"""A fair queue: everybody has a turn, nobody's order changes, and nobody fills it alone."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from aoray.util.fair_queue import FairQueue

Item = tuple[str, int]
KEYS = st.sampled_from("abcd")


def queue_of(*keys: str) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue()
    for number, key in enumerate(keys):
        put(queue, key, number)
    return queue


def put(
    queue: FairQueue[Item], key: str, number: int, count_max: int = 10**6, bytes_max: int = 10**9
) -> bool:
    return queue.put(key, (key, number), number % 7, count_max=count_max, bytes_max=bytes_max)


def test_one_among_thousands_of_anothers_is_next() -> None:
    queue = queue_of(*["hot"] * 5000, "other")
    assert [queue.take()[0] for _ in range(4)] == ["hot", "other", "hot", "hot"]


@given(st.lists(KEYS | st.none(), max_size=60))
def test_each_keys_order_stays_and_the_others_have_their_turns_between(
    steps: list[str | None],
) -> None:
    queue = queue_of()
    came: dict[str, list[int]] = defaultdict(list)
    taken: dict[str, list[int]] = defaultdict(list)
    waits: dict[str, int] = {}  # how many of others were taken since it came to the front of its own
    for number, key in enumerate(steps):
        if key is not None:
            put(queue, key, number)
            came[key].append(number)
            waits.setdefault(key, 0)
        elif queue:
            name, took = queue.take()
            taken[name].append(took)
            assert waits.pop(name) <= 3
            waits = {each: count + 1 for each, count in waits.items()}
            if len(came[name]) > len(taken[name]):
                waits[name] = 0
    left = list(queue)
    assert (len(left), queue.bytes) == (len(queue), sum(number % 7 for _, number in left))
    for key, numbers in came.items():
        assert taken[key] + [number for name, number in left if name == key] == numbers


@given(st.lists(KEYS, max_size=200), st.integers(1, 40), st.integers(1, 60))
def test_it_stays_within_its_bounds(keys: list[str], count_max: int, bytes_max: int) -> None:
    queue = queue_of()
    for number, key in enumerate(keys):
        put(queue, key, number, count_max, bytes_max)
        assert len(queue) <= count_max
        assert queue.bytes <= bytes_max


def test_who_fills_it_leaves_room_for_whoever_comes() -> None:
    queue = queue_of()
    for key, room in (("a", 500), ("b", 250), ("c", 125)):
        fitting = 0
        while put(queue, key, 0, 1000, 1):
            fitting += 1
        assert fitting == room
    queue.clear()
    assert (len(queue), queue.bytes, list(queue)) == (0, 0, [])
    assert not put(queue, "a", 2, 1000, 1)
    assert put(queue, "a", 1, 1000, 1)


def test_a_batch_holds_at_least_one_item_and_no_more_than_its_bytes() -> None:
    queue: FairQueue[int] = FairQueue()
    for size in (2**25, 2**24, 1, 1):
        assert queue.put("a", size, size, count_max=10, bytes_max=2**30)
    assert queue.take_batch(1000, 2**24) == [2**25]
    assert queue.take_batch(1000, 2**24) == [2**24]
    assert queue.take_batch(1, 2**24) == [1]
    assert queue.take_batch(1000, 2**24) == [1]
    assert queue.take_batch(1000, 2**24) == []
