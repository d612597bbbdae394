"""Waits between attempts double, and have a bound."""

from __future__ import annotations

from aoray.util.backoff import Backoff


def test_a_wait_is_twice_the_last_one_up_to_the_longest_however_often_it_fails() -> None:
    backoff = Backoff(0.1, 1.0)
    assert [backoff.after(failures) for failures in range(6)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert backoff.after(10**9) == 1.0
