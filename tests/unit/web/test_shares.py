"""One key alone never has more than half, and there is room for whoever comes next."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aoray.web.shares import Shares


@given(st.integers(2, 60), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=80))
def test_what_is_held_stays_within_the_bound_and_nobody_has_more_than_half(
    most: int, asked: list[tuple[str, int]]
) -> None:
    shares, held = Shares(most), Counter[str]()
    for key, amount in asked:
        if shares.take(key, amount):
            held[key] += amount
        assert shares.held == held.total() <= most
        assert shares.take("new", 1) == (shares.most - held.total() >= 2)
        if shares.of("new"):
            shares.give("new")
    if len(held) == 1:
        assert held.total() <= most // 2
    for key, amount in held.items():
        shares.give(key, amount)
    assert shares.held == 0 and not any(shares.of(key) for key in "abc")
