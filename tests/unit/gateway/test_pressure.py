"""Who is refused when results are late, and who is not."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.gateway.pressure import Pressure

FREE = 10
LAG_S = limits.RESULT_LAG_SECONDS_MAX


@pytest.fixture
def pressure(monkeypatch: pytest.MonkeyPatch) -> Pressure:
    """With many messages of a hot process awaited since second 0."""
    monkeypatch.setattr(limits, "RESULTS_AWAITED_FREE", FREE)
    pressure = Pressure()
    for number in range(3 * FREE):
        pressure.accepted(("hot", str(number)), "actor", 0)
    return pressure


def test_nobody_is_refused_before_results_are_late(pressure: Pressure) -> None:
    pressure.delivered([("hot", "0")], LAG_S / 2)
    assert not pressure.refuses("hot", "actor", LAG_S / 2)


def test_a_hot_process_is_refused_and_one_beside_it_is_not(pressure: Pressure) -> None:
    now_s = LAG_S + 1
    pressure.accepted(("calm", "0"), "actor", now_s)
    pressure.delivered([("hot", "0"), ("calm", "0")], now_s)
    assert pressure.refuses("hot", "actor", now_s)
    assert not pressure.refuses("calm", "actor", now_s)


def test_all_of_an_actor_are_refused_when_its_youngest_result_is_late(pressure: Pressure) -> None:
    now_s = LAG_S + 1
    pressure.delivered([("hot", "0")], now_s)
    assert pressure.refuses("calm", "actor", now_s)
    assert not pressure.refuses("calm", "another", now_s)


def test_who_was_refused_is_let_in_when_the_burst_is_over_or_nothing_is_known(pressure: Pressure) -> None:
    now_s = LAG_S + 1
    pressure.delivered([("hot", "0")], now_s)
    assert not pressure.refuses("hot", "actor", now_s + limits.LAG_KNOWN_SECONDS)
    pressure.delivered([("hot", str(number)) for number in range(2 * FREE)], now_s)
    assert not pressure.refuses("hot", "actor", now_s)
    assert len(pressure) == FREE
