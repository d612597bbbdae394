"""A gateway's height is believed as far as a chain can grow, and only when it is said twice."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import GENESIS_S, Heights
from aoray.errors import Unavailable
from aoray.limits import BLOCK_SECONDS_MIN, BLOCKS_AHEAD_MAX

NOW = 1_796_000_000.0


def test_a_height_that_no_chain_can_have_is_refused_and_named() -> None:
    heights = Heights(1_000, NOW)
    for said in (10**17, 1_001 + BLOCKS_AHEAD_MAX):
        with pytest.raises(Unavailable, match=str(said)):
            heights.look(said, NOW)
        assert heights.height == 1_000


def test_a_rise_is_accepted_when_it_is_said_twice_and_the_lower_of_the_two_counts() -> None:
    heights = Heights(1_000, NOW)
    assert heights.look(1_004, NOW + 10) and heights.height == 1_000
    assert heights.look(1_006, NOW + 20) and heights.height == 1_004
    assert not heights.look(1_004, NOW + 30) and heights.height == 1_004
    assert not heights.look(900, NOW + 40) and heights.height == 1_004  # a gateway that is behind


def test_one_that_was_away_for_long_may_rise_by_what_was_mined_meanwhile() -> None:
    heights, away_s = Heights(1_000, NOW), 30 * 86_400
    mined = away_s // 120
    assert heights.look(1_000 + mined, NOW + away_s)
    assert not heights.look(1_000 + mined, NOW + away_s + 1)
    assert heights.height == 1_000 + mined


def test_a_new_computer_believes_no_more_than_a_chain_of_arweaves_age() -> None:
    assert Heights().look(1_900_000, NOW)
    with pytest.raises(Unavailable):
        Heights().look(int((NOW - GENESIS_S) / BLOCK_SECONDS_MIN) + 10_000, NOW)


@given(st.lists(st.tuples(st.integers(0, 10**18), st.floats(0, 3600)), max_size=30))
def test_whatever_is_said_the_height_never_falls_nor_outruns_the_time(
    looks: list[tuple[int, float]],
) -> None:
    heights, now_s = Heights(1_000, NOW), NOW
    for said, later_s in looks:
        before, now_s = heights.height, now_s + later_s
        try:
            heights.look(said, now_s)
        except Unavailable:
            assert heights.height == before
        assert before <= heights.height <= 1_000 + BLOCKS_AHEAD_MAX + (now_s - NOW) / BLOCK_SECONDS_MIN


async def test_the_client_looks_twice_before_it_believes_a_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoray.arweave.client._LOOK_AGAIN_SECONDS", 0)
    said = iter([1_005, 1_000, 1_006, 1_006])
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"height": next(said)}))
    async with ArweaveClient("http://a", transport=transport, heights=Heights(1_000, NOW)) as client:
        assert [await client.height(), await client.height()] == [1_000, 1_006]
