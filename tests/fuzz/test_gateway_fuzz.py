"""Whatever is asked of whichever route, the answer is no 500, and nothing grows (guarantee G7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from fake_arweave import MODULE
from fake_computer import Computer
from fuzz_requests import Request, Served, check, requests
from fuzz_strategies import damaged, deep, fuzz, levels, spelled, values
from hypothesis import strategies as st
from legacy_units import compute_unit, messenger_unit, scheduler_unit

from aoray import limits
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.gateway import apps
from aoray.protocol.ans104.bundles import BUNDLE_TAGS, pack
from aoray.protocol.ans104.items import build
from aoray.util.bounded_dict import BoundedDict


@pytest.fixture
def computer(tmp_path: Path, runner: asyncio.Runner) -> Computer:
    (tmp_path / "lua-module.json").write_bytes(orjson.dumps({"id": MODULE}))

    async def make() -> Computer:
        return Computer(tmp_path)

    return runner.run(make())


@pytest.fixture
def arweave(tmp_path: Path) -> Iterator[ArweaveStore]:
    with ArweaveStore(tmp_path / "arweave.sqlite") as store:
        yield store


def test_any_request_to_any_route_is_answered(
    computer: Computer, arweave: ArweaveStore, runner: asyncio.Runner
) -> None:
    process = runner.run(computer.spawn())
    message = runner.run(computer.send(process))
    item, spawn = computer.message_item(process), computer.process_item()
    bundle = build(computer.user, tags=BUNDLE_TAGS, data=pack([item, spawn]))
    for each in (item, bundle, build(computer.user, data=bytes(300_000))):
        arweave.put(each)
    known = [process, message, item.id, bundle.id, MODULE, arweave.tip().id]
    bodies = st.one_of(
        st.sampled_from([b"", item.raw, spawn.raw, bundle.raw]),
        st.sampled_from([item.raw, spawn.raw, bundle.raw]).flatmap(damaged),
        values.map(spelled),
        levels.map(deep),
        st.binary(max_size=300),
    )
    gateway, routes = computer.gateway, router(arweave)
    units = [
        *[Served(apps.all_units(gateway, routes))] * 10,  # the others have but a few routes of their own
        Served(apps.all_units(gateway, None)),
        Served(messenger_unit(gateway)),
        Served(scheduler_unit(gateway)),
        Served(compute_unit(gateway)),
        Served(apps.arweave_unit(gateway, routes)),
    ]

    described = {(method.lower(), path) for unit in units for method, path, *_ in unit.operations}
    assert described == set(apps.table(apps.DIALECTS)), "what is described is there, and the other way round"

    @fuzz(100, st.sampled_from(units).flatmap(lambda unit: several(unit, known, bodies)))
    def ask(asked: tuple[Served, list[Request]]) -> None:
        served, some = asked
        for request in some:
            check(request, served.ask(runner, request))

    ask()
    assert gateway.in_flight.requests == 0 and gateway.in_flight.bodies.bytes == 0, (
        "what was counted in was counted out"
    )
    assert len(gateway.pending_results) == 0 and not +gateway.under_way
    check_bounds(gateway)


def several(
    unit: Served, known: list[str], bodies: st.SearchStrategy[bytes]
) -> st.SearchStrategy[tuple[Served, list[Request]]]:
    """One after another: what one leaves behind, another may find."""
    return st.tuples(st.just(unit), st.lists(requests(unit, known, bodies), min_size=5, max_size=10))


def check_bounds(gateway: object) -> None:
    """What a gateway remembers of strangers' requests is bounded, each by a bound of limits.py."""
    seen, waiting = set(), [gateway]
    bounded = 0
    while waiting:
        held = waiting.pop()
        if id(held) in seen or not type(held).__module__.startswith("aoray"):
            continue
        seen.add(id(held))
        if isinstance(held, BoundedDict):
            bounded += 1
            assert len(held) <= held._entries_max
            continue
        for name, value in vars(held).items() if hasattr(held, "__dict__") else ():
            if isinstance(value, dict | set | list) and name != "__dict__":
                assert len(value) < 1_000, (type(held), name, len(value))
            waiting.append(value)
    assert bounded >= 5
    assert limits.RECEIPTS_MAX < 10**6
