"""The state of outbox messages: kept once settled, final where it is final, paged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aoray.settings import Settings
from aoray.storage.factory import open_results
from aoray.storage.records import STATES, Delivery, DeliveryState, ResultRow, Settlement
from aoray.storage.results import Results

NO_END = 2**62
BEGIN = (-1, NO_END)


@pytest.fixture
def results(stored: Settings) -> Iterator[Results]:
    store = open_results(stored)
    store.commit(
        {"p": 1}, [ResultRow("p", n, f"m{n}", f"a{n}", n, 7, b"{}", False, "", False) for n in range(4)]
    )
    yield store
    store.close()


def delivery(nonce: int, place: int, state: DeliveryState, attempts: int = 1) -> Delivery:
    return Delivery("p", nonce, place, "message", state, f"i{place}", "t", attempts, "", 5, 6)


def settle(results: Results, nonce: int, *deliveries: Delivery, done: bool = True) -> None:
    results.deliveries.settle([Settlement("p", nonce, deliveries, done)])


def test_rows_and_the_mark_are_written_together(results: Results) -> None:
    settle(results, 0, delivery(0, 0, "delivered"), delivery(0, 1, "uploaded"))
    settle(results, 1, delivery(1, 0, "pending"), done=False)
    assert [each.state for each in results.deliveries.of("p", 0)] == ["delivered", "uploaded"]
    assert sorted(results.unpushed(10)) == [("p", 1), ("p", 2), ("p", 3)]
    assert results.deliveries.untried("p", 0, NO_END, 10) == [2, 3]


@pytest.mark.parametrize("state", STATES[1:])
def test_what_is_final_never_becomes_pending_again(results: Results, state: DeliveryState) -> None:
    settle(results, 0, delivery(0, 0, "pending"), done=False)
    settle(results, 0, delivery(0, 0, state, 2))
    settle(results, 0, delivery(0, 0, "pending", 9), done=False)
    assert results.deliveries.of("p", 0) == [delivery(0, 0, state, 2)]


@pytest.mark.parametrize("state", ["delivered", "uploaded"])
def test_what_has_arrived_stays_so_whatever_a_later_attempt_comes_to(
    results: Results, state: DeliveryState
) -> None:
    settle(results, 0, delivery(0, 0, state))
    for later in STATES:
        settle(results, 0, delivery(0, 0, later, 2))
        assert results.deliveries.of("p", 0)[0].state in ("delivered", "uploaded")


def test_a_dead_one_may_yet_be_delivered(results: Results) -> None:
    settle(results, 0, delivery(0, 0, "dead"))
    settle(results, 0, delivery(0, 0, "delivered", 2))
    assert results.deliveries.of("p", 0) == [delivery(0, 0, "delivered", 2)]


def test_pages_go_on_where_the_last_one_ended_in_every_state(results: Results) -> None:
    rows = [delivery(nonce, place, STATES[(nonce + place) % 5]) for nonce in range(4) for place in range(7)]
    for nonce in range(4):
        settle(results, nonce, *(each for each in rows if each.nonce == nonce))
    for state in (None, *STATES):
        found: list[Delivery] = []
        after = BEGIN
        while page := results.deliveries.page("p", after, NO_END, state, 3):
            found += page
            after = page[-1].nonce, page[-1].place
        assert found == [each for each in rows if state in (None, each.state)]
    assert results.deliveries.page("p", (1, NO_END), 2, None, 99) == [
        each for each in rows if each.nonce == 2
    ]
