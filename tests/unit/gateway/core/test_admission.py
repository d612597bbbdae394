"""Rates: nobody gets more than flows in and the burst, whatever is forgotten; nobody pays for another."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from fake_arweave import MODULE
from fake_computer import Computer
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from legacy_units import messenger_unit

from aoray.errors import ClientError, RateLimited
from aoray.gateway import apps
from aoray.gateway.core.admission import READ_COSTS, Admission, read_cost
from aoray.gateway.legacy.dialect import DIALECT
from aoray.protocol.ans104.items import build, parse
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.settings import Settings
from aoray.util.rates import Rates
from aoray.web.rate_limit import address_of, networks

RATE, BURST = 4.0, 3.0
STEPS = st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.25, 0.3, 2.0]))


@given(st.lists(STEPS, max_size=120), st.integers(1, 4))
def test_no_key_gets_more_than_the_burst_and_what_flows_in_whatever_is_forgotten(
    steps: list[tuple[int, float]], keys_max: int
) -> None:
    rates = Rates(RATE, BURST, keys_max=keys_max)
    now = 1000.0
    taken: dict[int, list[float]] = defaultdict(list)
    for key, pause in steps:
        now += pause
        if rates.take(str(key), now) == 0:
            taken[key].append(now)
        assert len(rates) <= keys_max
    for times in taken.values():
        for (first, start), (last, end) in itertools.combinations(enumerate(times), 2):
            assert last - first + 1 <= BURST + RATE * (end - start) + 1e-6


@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.7]), max_size=60))
def test_who_waits_as_long_as_it_is_told_is_let_in(pauses: list[float]) -> None:
    rates = Rates(RATE, BURST)
    now = 0.0
    for pause in pauses:
        now += pause
        wait = rates.take("a", now)
        if wait:
            assert rates.take("a", now) == wait  # a refusal costs nothing
            now += wait
            assert rates.take("a", now) == 0


def test_one_key_does_not_pay_for_another_and_what_is_full_is_forgotten() -> None:
    rates = Rates(RATE, BURST, keys_max=1000)
    for number in range(500):
        assert rates.take(str(number), 5.0) == 0
    assert [rates.take("0", 5.0) == 0 for _ in range(4)] == [True, True, False, False]
    for number in range(1000, 1500):
        assert rates.take(str(number), 50.0) == 0
    assert len(rates) == 500


def test_a_forgotten_key_gets_no_new_burst() -> None:
    rates = Rates(RATE, BURST, keys_max=10)
    while rates.take("hot", 0.0) == 0:
        continue
    for number in range(100):
        rates.take(str(number), 0.0)
    assert rates.take("hot", 0.0) > 0
    assert rates.take("hot", 0.26) == 0
    assert rates.take("hot", 0.26) > 0


def test_who_is_forgotten_is_who_took_longest_ago() -> None:
    rates = Rates(RATE, BURST, keys_max=2)
    for key, tokens in (("first", 1), ("second", 1), ("third", BURST)):
        assert rates.take(key, 0.0, tokens) == 0
    assert rates.take("unknown", 0.0, BURST) > 0  # it begins where the first stood
    assert rates.take("unknown", 0.0, BURST - 1) == 0


def test_several_tokens_are_taken_at_once_or_not_at_all() -> None:
    rates = Rates(RATE, BURST)
    assert rates.take("a", 0.0, BURST - 1) == 0
    assert rates.take("a", 0.0, 2) == pytest.approx(1 / RATE)
    assert rates.take("a", 0.0) == 0


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0.5), (1, 0)])
def test_a_rate_is_positive_and_a_burst_holds_one(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="a rate is positive"):
        Rates(rate, burst)
    assert Rates(1, 1).take("a", 0.0) == 0


def scope(peer: str, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return {"client": (peer, 5), "headers": headers, "method": "POST"}


PROXIES = networks("10.0.0.0/8, 192.168.1.1")


@pytest.mark.parametrize(
    ("seen", "trusted", "address"),
    [
        (scope("1.2.3.4", "5.6.7.8"), (), "1.2.3.4"),
        (scope("1.2.3.4", "5.6.7.8"), PROXIES, "1.2.3.4"),
        (scope("10.1.1.1"), PROXIES, "10.1.1.1"),
        (scope("10.1.1.1", "5.6.7.8"), PROXIES, "5.6.7.8"),
        (scope("10.1.1.1", "9.9.9.9, 5.6.7.8, 192.168.1.1"), PROXIES, "5.6.7.8"),
        (scope("10.1.1.1", "9.9.9.9", "5.6.7.8"), PROXIES, "5.6.7.8"),
        (scope("10.1.1.1", "10.2.2.2"), PROXIES, "10.2.2.2"),
        (scope("10.1.1.1", "9.9.9.9, nonsense"), PROXIES, "10.1.1.1"),
        (scope("10.1.1.1", "9.9.9.9, nonsense, 10.3.3.3"), PROXIES, "10.3.3.3"),
        (scope("10.1.1.1", "\xff,"), PROXIES, "10.1.1.1"),
        (scope("::ffff:1.2.3.4"), (), "1.2.3.4"),
        (scope("2001:db8:1:2:3:4:5:6"), (), "2001:db8:1:2::/64"),
        (scope("fe80::1%eth0"), (), "fe80::/64"),
        ({"client": None, "headers": []}, (), "local"),
    ],
)
def test_an_address_is_the_peer_or_what_a_trusted_proxy_says(
    seen: dict[str, Any], trusted: Any, address: str
) -> None:
    assert address_of(seen, trusted) == address


def test_a_proxy_that_is_not_a_network_is_refused_by_name() -> None:
    for wrong in ("10.0.0.0/99", "proxy.example"):
        with pytest.raises(ClientError, match="AORAY_TRUSTED_PROXIES"):
            Admission(Settings(trusted_proxies=wrong))


def test_nothing_is_limited_unless_a_setting_says_so() -> None:
    admission = Admission(Settings())
    for _ in range(10_000):
        admission.request(scope("1.2.3.4"))
        admission.wallet("w")


@pytest.mark.parametrize("path", ["/mint/x/5", "/mine", "/mine/100"])
def test_a_get_that_writes_is_charged_as_what_writes(path: str) -> None:
    admission = Admission(Settings(rate_per_address=2.0, rate_burst_seconds=1.0), clock=lambda: 100.0)
    get = scope("1.2.3.4") | {"method": "GET"}
    for _ in range(2):
        admission.request(get | {"path": path})
    with pytest.raises(RateLimited):
        admission.request(get | {"path": path})
    admission.request(get | {"path": "/height"})


@pytest.mark.parametrize(
    "route", ["decision", "monitor", "outbox", "results", "graphql", "mint", "mine", "chunk", "v1/tx"]
)
def test_a_get_that_is_more_than_a_look_at_a_row_is_charged(route: str) -> None:
    """Those of decisions and monitors are calls of the shard, in the thread that orders messages."""
    assert read_cost({"path": f"/{route}/{'A' * 43}"}, {**READ_COSTS, **DIALECT.read_costs}) > 0


def limited(tmp_path: Path, **settings: Any) -> Computer:
    """A gateway whose clock stands still."""
    (tmp_path / "lua-module.json").write_bytes(orjson.dumps({"id": MODULE}))
    computer = Computer(tmp_path, rate_burst_seconds=1.0, **settings)
    computer.gateway.admission._clock = lambda: 100.0
    return computer


async def test_a_wallet_over_its_rate_gets_429_and_others_do_not(tmp_path: Path) -> None:
    computer = limited(tmp_path, rate_per_wallet=3.0)
    pid = await computer.spawn()
    async with computer.http(messenger_unit(computer.gateway)) as http:
        items = [computer.message_item(pid, data=str(n).encode()) for n in range(3)]
        statuses = [(await http.post("/", content=item.raw)).status_code for item in items]
        assert statuses == [202, 202, 429]
        refused = await http.post("/", content=items[2].raw)
        assert refused.headers["retry-after"] == "1"
        body = refused.json()
        assert (body["code"], body["wallet"]) == ("rate_limited", computer.user.address)
        # What is scheduled already costs its wallet nothing: anybody may send it again.
        for _ in range(5):
            assert (await http.post("/", content=items[0].raw)).status_code == 202
        computer.user = generate_ed25519()
        assert (await http.post("/", content=computer.message_item(pid).raw)).status_code == 202
    assert computer.gateway.counts()["refused_by_wallet_total"] == 2


async def test_nobody_uses_up_the_rate_of_another_wallet(tmp_path: Path) -> None:
    computer = limited(tmp_path, rate_per_wallet=2.0)
    pid = await computer.spawn()
    victim = computer.message_item(pid).raw
    nowhere = build(computer.user, target=MODULE, tags=parse(victim).tags, data=b"x").raw
    async with computer.http(messenger_unit(computer.gateway)) as http:
        for _ in range(5):
            forged = victim[:-1] + b"!"
            assert (await http.post("/", content=forged)).status_code == 400
            assert (await http.post("/", content=nowhere)).status_code == 404
        assert (await http.post("/", content=victim)).status_code == 202


async def test_an_address_over_its_rate_may_still_read(tmp_path: Path) -> None:
    computer = limited(tmp_path, rate_per_address=2.0)
    pid = await computer.spawn()
    async with computer.http(apps.all_units(computer.gateway, APIRouter())) as http:
        for path, status in (
            ("/", 400),
            ("/dry-run", 400),
            ("/nowhere", 429),
            (f"/dry-run?process-id={pid}", 429),
        ):
            response = await http.post(path, content=b"x")
            assert response.status_code == status, path
        assert response.headers["retry-after"] == "1"
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.json()["address"] == "127.0.0.1"
        for path in (f"/result/{pid}?process-id={pid}", "/health", "/metrics", f"/results/{pid}"):
            assert (await http.get(path)).status_code == 200, path
        assert (await http.options("/")).status_code == 204


async def test_what_the_messenger_pushes_has_no_rate(tmp_path: Path) -> None:
    computer = limited(tmp_path, rate_per_wallet=2.0, rate_per_address=2.0)
    sender = await computer.spawn()
    to_self = {"Target": sender, "Data": "x", "Tags": []}
    computer.evaluate = lambda entry: {
        **{"Messages": [to_self] * 30 if entry.nonce == 1 else []},
        **{"Spawns": [], "Assignments": [], "Output": ""},
    }
    await computer.send(sender)
    while len(computer.gateway.lookups.reader.entries(sender, -1, 99, 99)) < 32:
        await computer.sleep(0)
    with pytest.raises(RateLimited):
        await computer.send(sender, data=b"third")
