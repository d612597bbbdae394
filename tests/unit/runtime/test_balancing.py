"""The rule that says which node each actor should be on: even, and settled when it has been followed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aoray.runtime.balancing import assign_nodes, moves

NODES = st.dictionaries(st.sampled_from("ABCDE"), st.integers(1, 4).map(float), min_size=1)
WHERE = st.dictionaries(st.integers(0, 20).map("actor-{}".format), st.sampled_from("ABCDEF"))
PINNED = st.lists(st.sampled_from("ABCDEF"), max_size=3)


@given(WHERE, NODES, PINNED)
def test_what_the_rule_leads_to_needs_no_move(
    where: dict[str, str], weights: dict[str, float], pinned: list[str]
) -> None:
    first = moves(where, weights, pinned)
    after = where | first
    assert set(after.values()) <= weights.keys()
    assert all(where[actor] != node for actor, node in first.items())
    assert moves(after, weights, pinned) == {}


@given(WHERE, NODES)
def test_no_node_has_more_than_another_could_take(where: dict[str, str], weights: dict[str, float]) -> None:
    counts = Counter((where | moves(where, weights)).values())
    for node, count in counts.items():
        assert all(count / weights[node] <= (counts[other] + 1) / weights[other] for other in weights)


def test_a_node_that_joins_takes_its_share_and_no_more_moves_than_that() -> None:
    where = dict(zip("abcdef", "AAABBB", strict=True))
    moved = moves(where, {"A": 1, "B": 1, "C": 1})
    assert len(moved) == 2 and set(moved.values()) == {"C"}


def test_the_actors_of_a_node_that_is_drained_leave_it() -> None:
    assert moves({"a": "A", "b": "B"}, {"B": 1}) == {"a": "B"}


def test_a_node_that_is_good_for_more_gets_more() -> None:
    chosen = Counter(assign_nodes(map(str, range(6)), [], {"A": 1, "B": 2}).values())
    assert chosen == {"A": 2, "B": 4}


def test_new_actors_go_where_there_are_few() -> None:
    assert assign_nodes(["new"], ["A"], {"A": 1, "B": 1}) == {"new": "B"}


def test_without_a_node_nobody_moves_and_nobody_is_placed() -> None:
    assert moves({"a": "A"}, {}) == {} and assign_nodes(["a"], [], {}) == {}
