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


@pytest.mark.parametrize("order", [1, -1])
def test_the_lag_of_an_actor_is_its_least_in_whichever_order_results_come(
    pressure: Pressure, order: int
) -> None:
    now_s = LAG_S + 1
    pressure.accepted(("calm", "0"), "actor", now_s)
    pressure.delivered([("hot", "0"), ("calm", "0")][::order], now_s)
    assert not pressure.refuses("other", "actor", now_s)


def test_what_is_awaited_is_known_until_it_is_delivered_or_forgotten(pressure: Pressure) -> None:
    assert ("hot", "0") in pressure and ("hot", "1") in pressure and ("calm", "0") not in pressure
    pressure.delivered([("hot", "0")], 1)
    pressure.forget(("hot", "1"))
    assert ("hot", "0") not in pressure and ("hot", "1") not in pressure and ("hot", "2") in pressure


def test_who_was_refused_is_let_in_when_the_burst_is_over_or_nothing_is_known(pressure: Pressure) -> None:
    now_s = LAG_S + 1
    pressure.delivered([("hot", "0")], now_s)
    assert not pressure.refuses("hot", "actor", now_s + limits.LAG_KNOWN_SECONDS)
    pressure.delivered([("hot", str(number)) for number in range(2 * FREE)], now_s)
    assert not pressure.refuses("hot", "actor", now_s)
    assert len(pressure) == FREE


SILENCE_S = limits.RESULT_SILENCE_SECONDS_MAX


def test_what_is_for_an_actor_that_gives_nothing_is_refused_but_for_one_message_a_second(
    pressure: Pressure,
) -> None:
    assert not pressure.stands_still("hot", "actor", SILENCE_S)
    now_s = SILENCE_S + limits.RESULT_SILENCE_TRY_SECONDS
    for name in ("hot", "calm"):
        assert not pressure.stands_still("calm", "another", now_s)
        assert not pressure.stands_still(name, "actor", now_s)
        assert pressure.stands_still(name, "actor", now_s)
        assert pressure.stands_still(name, "actor", now_s + 0.99 * limits.RESULT_SILENCE_TRY_SECONDS)
        now_s += limits.RESULT_SILENCE_TRY_SECONDS


def test_one_result_says_that_it_goes_on_even_if_the_others_were_lost(pressure: Pressure) -> None:
    now_s = SILENCE_S + 1
    pressure.accepted(("calm", "0"), "actor", now_s)
    pressure.delivered([("calm", "0")], now_s)
    assert not pressure.stands_still("calm", "actor", now_s)
    assert not pressure.stands_still("other", "actor", now_s)
    assert not pressure.stands_still("hot", "actor", now_s), "one is tried"
    assert pressure.stands_still("hot", "actor", now_s), "this process still gives nothing"
    pressure.delivered([("hot", "0")], now_s)
    assert not pressure.stands_still("hot", "actor", now_s)


def test_what_nobody_awaits_any_more_is_not_owed(pressure: Pressure) -> None:
    now_s = SILENCE_S + 1
    for number in range(3 * FREE):
        pressure.forget(("hot", str(number)))
        pressure.forget(("hot", str(number)))
    assert not pressure.stands_still("hot", "actor", now_s)
    assert pressure._debts == {}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECEIPTS_MAX", 5)
    pressure = Pressure()
    for number in range(50):
        pressure.accepted((f"p{number % 7}", str(number // 2)), f"actor-{number % 3}", number)
    assert sum(debt.count for debt in pressure._debts.values()) == 2 * len(pressure) <= 10
