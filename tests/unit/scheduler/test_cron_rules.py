"""The rules of ticks: due once each, never piled up, and made up for as the policy says."""

from __future__ import annotations

import pytest
from clocked_ticker import POLICIES
from hypothesis import given
from hypothesis import strategies as st

from aoray import limits
from aoray.protocol.cron import Missed
from aoray.scheduler.cron_rules import due, first_after


def test_a_live_tick_is_made_when_it_is_due_and_not_before() -> None:
    assert due(100, 10, 99, 0, waiting=False, missed="one") == ([], 100, 0)
    assert due(100, 10, 100, 0, waiting=False, missed="one") == ([100], 110, 0)
    assert due(100, 10, 109, 0, waiting=False, missed="one") == ([100], 110, 0)


@pytest.mark.parametrize("missed", POLICIES)
def test_behind_a_slow_process_or_a_late_look_ticks_do_not_pile_up(missed: Missed) -> None:
    assert due(100, 10, 145, 0, waiting=False, missed=missed) == ([140], 150, 4)
    assert due(100, 10, 145, 0, waiting=True, missed=missed) == ([], 150, 5)


def test_missed_ticks_follow_the_policy() -> None:
    assert due(100, 10, 145, 145, waiting=False, missed="one") == ([140], 150, 4)
    assert due(100, 10, 145, 145, waiting=True, missed="one") == ([], 150, 5)
    assert due(100, 10, 145, 145, waiting=False, missed="none") == ([], 150, 5)
    assert due(100, 10, 145, 130, waiting=False, missed="none") == ([140], 150, 4)
    assert due(100, 10, 145, 145, waiting=True, missed="all") == ([100, 110, 120, 130, 140], 150, 0)
    assert due(100, 10, 145, 130, waiting=False, missed="all") == ([100, 110, 120, 140], 150, 1)
    assert due(100, 10, 145, 130, waiting=True, missed="all") == ([100, 110, 120], 150, 2)


def test_all_that_were_missed_are_bounded_however_long_it_was() -> None:
    found = due(0, 1000, 10**15, 10**15 + 1, waiting=False, missed="all")
    assert len(found.times) == limits.CRON_CATCH_UP_MAX
    assert found.times[-1] == 10**15 and found.next == 10**15 + 1000
    assert found.skipped == 10**12 - limits.CRON_CATCH_UP_MAX + 1


@given(
    st.integers(0, 1000),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 200), st.booleans(), st.integers(0, 5000)), max_size=20),
    st.sampled_from(POLICIES),
)
def test_each_due_time_is_decided_once_whenever_somebody_looks(
    first: int, step: int, looks: list[tuple[int, bool, int]], missed: Missed
) -> None:
    now, following, made, skipped = 0, first, [], 0
    for later, waiting, since in looks:
        now += later
        found = due(following, step, now, since, waiting=waiting, missed=missed)
        assert found.next > now
        assert waiting is False or missed == "all" or not found.times
        assert all(time <= now and (time - first) % step == 0 for time in found.times)
        made, skipped, following = made + found.times, skipped + found.skipped, found.next
    assert made == sorted(set(made))
    assert len(made) + skipped == (following - first) // step


def test_a_grid_is_on_both_sides_of_its_origin() -> None:
    found = [first_after(1000, 10, now) for now in (979, 980, 1000, 1001, 1009, 1010)]
    assert found == [980, 990, 1010, 1010, 1010, 1020]
