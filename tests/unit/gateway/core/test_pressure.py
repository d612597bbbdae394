"""Who is refused when results are late, and who is not."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.gateway.core.pressure import Backpressure

FREE = 10
LAG_S = limits.RESULT_LAG_SECONDS_MAX


@pytest.fixture
def pressure(monkeypatch: pytest.MonkeyPatch) -> Backpressure:
    """With many messages of a hot process awaited since second 0."""
    monkeypatch.setattr(limits, "RESULTS_AWAITED_FREE", FREE)
    pressure = Backpressure()
    for number in range(3 * FREE):
        pressure.accepted(("hot", str(number)), "actor", 0)
    return pressure


def lets_in(pressure: Backpressure, process_id: str, actor: str, now_s: float) -> bool:
    """Whether a message is taken in, which verifies."""
    if pressure.refuses(process_id, actor, now_s):
        return False
    pressure.took_in(process_id, actor, now_s)
    return True


def test_nobody_is_refused_before_results_are_late(pressure: Backpressure) -> None:
    pressure.delivered([("hot", "0")], LAG_S / 2)
    assert not pressure.refuses("hot", "actor", LAG_S / 2)


def test_a_hot_process_is_refused_and_one_beside_it_is_not(pressure: Backpressure) -> None:
    now_s = LAG_S + 1
    pressure.accepted(("calm", "0"), "actor", now_s)
    pressure.delivered([("hot", "0"), ("calm", "0")], now_s)
    assert pressure.refuses("hot", "actor", now_s)
    assert not pressure.refuses("calm", "actor", now_s)


def test_all_of_an_actor_are_refused_when_its_youngest_result_is_late(pressure: Backpressure) -> None:
    now_s = LAG_S + 1
    pressure.delivered([("hot", "0")], now_s)
    assert not pressure.refuses("calm", "actor", now_s), "one is tried"
    assert lets_in(pressure, "calm", "actor", now_s), "whatever was asked for before that did not verify"
    assert pressure.refuses("calm", "actor", now_s + 0.99 * limits.RESULT_LAG_TRY_SECONDS)
    assert pressure.refuses("hot", "actor", now_s + limits.RESULT_LAG_TRY_SECONDS), "this one is late itself"
    assert not pressure.refuses("calm", "another", now_s)


@pytest.mark.parametrize("order", [1, -1])
def test_the_lag_of_an_actor_is_its_least_in_whichever_order_results_come(
    pressure: Backpressure, order: int
) -> None:
    now_s = LAG_S + 1
    pressure.accepted(("calm", "0"), "actor", now_s)
    pressure.delivered([("hot", "0"), ("calm", "0")][::order], now_s)
    assert not pressure.refuses("other", "actor", now_s)


def test_what_is_awaited_is_known_until_it_is_delivered_or_forgotten(pressure: Backpressure) -> None:
    assert ("hot", "0") in pressure and ("hot", "1") in pressure and ("calm", "0") not in pressure
    pressure.delivered([("hot", "0")], 1)
    pressure.forget(("hot", "1"))
    assert ("hot", "0") not in pressure and ("hot", "1") not in pressure and ("hot", "2") in pressure


def test_who_was_refused_is_let_in_when_the_burst_is_over_or_nothing_is_known(pressure: Backpressure) -> None:
    now_s = LAG_S + 1
    pressure.delivered([("hot", "0")], now_s)
    assert not pressure.refuses("hot", "actor", now_s + limits.LAG_KNOWN_SECONDS)
    pressure.delivered([("hot", str(number)) for number in range(2 * FREE)], now_s)
    assert not pressure.refuses("hot", "actor", now_s)
    assert len(pressure) == FREE


SILENCE_S = limits.RESULT_SILENCE_SECONDS_MAX


def test_what_is_for_an_actor_that_gives_nothing_is_refused_but_for_one_message_a_second(
    pressure: Backpressure,
) -> None:
    assert lets_in(pressure, "hot", "actor", SILENCE_S)
    now_s = SILENCE_S + limits.RESULT_SILENCE_TRY_SECONDS
    for name in ("hot", "calm"):
        assert lets_in(pressure, "calm", "another", now_s)
        assert not pressure.refuses(name, "actor", now_s), "to ask takes nobody's turn"
        assert lets_in(pressure, name, "actor", now_s)
        assert not lets_in(pressure, name, "actor", now_s)
        assert not lets_in(pressure, name, "actor", now_s + 0.99 * limits.RESULT_SILENCE_TRY_SECONDS)
        now_s += limits.RESULT_SILENCE_TRY_SECONDS


def test_one_result_says_that_it_goes_on_even_if_the_others_were_lost(
    pressure: Backpressure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESULT_LAG_SECONDS_MAX", 2 * SILENCE_S)  # so that this does not count here
    now_s = SILENCE_S + 1
    pressure.accepted(("calm", "0"), "actor", now_s)
    pressure.delivered([("calm", "0")], now_s)
    assert lets_in(pressure, "calm", "actor", now_s)
    assert lets_in(pressure, "other", "actor", now_s)
    assert lets_in(pressure, "hot", "actor", now_s), "one is tried"
    assert not lets_in(pressure, "hot", "actor", now_s), "this process still gives nothing"
    pressure.delivered([("hot", "0")], now_s)
    assert lets_in(pressure, "hot", "actor", now_s)


def test_what_nobody_awaits_any_more_is_not_owed(pressure: Backpressure) -> None:
    now_s = SILENCE_S + 1
    for number in range(3 * FREE):
        pressure.forget(("hot", str(number)))
        pressure.forget(("hot", str(number)))
    assert lets_in(pressure, "hot", "actor", now_s)
    assert pressure._debts == {}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECEIPTS_MAX", 5)
    pressure = Backpressure()
    for number in range(50):
        pressure.accepted((f"p{number % 7}", str(number // 2)), f"actor-{number % 3}", number)
    assert sum(debt.count for debt in pressure._debts.values()) == 2 * len(pressure) <= 10


def test_who_is_served_at_once_is_let_in_whatever_takes_long_on_the_same_actor(
    pressure: Backpressure,
) -> None:
    """Every second a message of somebody's ends that took long; another process's results come at once."""
    refused = 0
    for tenth in range(300):
        now_s = LAG_S + 1 + tenth / 10
        if tenth % 10 == 0:
            pressure.accepted(("long", str(tenth)), "actor", now_s - LAG_S - 1)
            pressure.delivered([("long", str(tenth))], now_s)
        if tenth % 7 == 1:
            if not lets_in(pressure, "calm", "actor", now_s):
                refused += 1
                continue
            pressure.accepted(("calm", str(tenth)), "actor", now_s)
            pressure.delivered([("calm", str(tenth))], now_s + 0.01)
    assert not refused
