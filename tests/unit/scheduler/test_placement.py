"""Where processes go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoray import limits
from aoray.cluster.names import own_actor, pool_actor
from aoray.scheduler.placement import Placement


def test_few_processes_each_have_an_actor_for_themselves() -> None:
    placement = Placement(4)
    assert {placement.choose(f"p{i}", False) for i in range(4)} == {pool_actor(i) for i in range(4)}


@given(
    st.integers(1, 8),
    st.integers(0, 20),
    st.dictionaries(st.integers(0, 7).map(pool_actor), st.integers(0, 9)),
)
def test_the_least_loaded_actor_is_chosen(pool: int, offset: int, counts: dict[str, int]) -> None:
    placement = Placement(pool, offset=offset)
    placement.load(counts)
    loads = {pool_actor(index): counts.get(pool_actor(index), 0) for index in range(pool)}
    for number in range(3 * pool):
        chosen = placement.choose(f"p{number}", False)
        assert loads[chosen] == min(loads.values())
        loads[chosen] += 1


def test_shards_begin_at_different_actors() -> None:
    assert [Placement(4, offset=i).choose("p", False) for i in range(4)] == [pool_actor(i) for i in range(4)]


def test_own_actors_do_not_load_the_pool() -> None:
    placement = Placement(2)
    assert placement.choose("p", True) == own_actor("p")
    assert [placement.choose(f"p{number}", False) for number in range(2)] == [pool_actor(0), pool_actor(1)]
    assert Placement(1, all_own=True).choose("p", False) == own_actor("p")


def test_a_choice_holds_while_it_could_be_made_again() -> None:
    placement = Placement(2)
    assert placement.holds(pool_actor(1), "p", False)
    assert not placement.holds(pool_actor(2), "p", False)
    assert not placement.holds("", "p", False)
    assert placement.holds(own_actor("p"), "p", True)
    assert not placement.holds(own_actor("p"), "p", False)
    assert not placement.holds(pool_actor(1), "p", True)
    assert not Placement(2, all_own=True).holds(pool_actor(1), "p", False)


def test_a_pool_of_nobody_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Placement(0)


def test_beyond_the_bound_a_process_that_asks_for_its_own_actor_shares_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "OWN_ACTORS_MAX", 2)
    placement = Placement(1)
    assert [placement.choose(name, True) for name in "pqr"] == [own_actor("p"), own_actor("q"), pool_actor(0)]
    assert placement.holds(pool_actor(0), "r", True)
    placement.load({own_actor("p"): 1, pool_actor(0): 1})
    assert not placement.holds(pool_actor(0), "r", True)
    assert placement.choose("r", True) == own_actor("r")
