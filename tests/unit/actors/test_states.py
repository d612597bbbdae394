"""The state of a process is the same whichever way it was reached: evaluated live, hibernated and woken
between any two messages, replayed from its log, or replayed on another machine from Arweave alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
import pytest
from actor_rig import GUEST, House, counts, module_item, sleeps, state_of
from fastapi import FastAPI
from ordering import SCHEDULER, bundle, spawn
from programs import AOS_FOLDER

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.modules.lua import LUA_WASM
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.assignments import LogEntry
from aoray.protocol.tags import Tag
from aoray.verify.replay import replayed

EMSCRIPTEN = Tag("Module-Format", "wasm64-unknown-emscripten-draft_2024_02_15")
LUA = (
    "x = 1",
    "error('no')",
    "t = {} for i = 1, 30000 do t[i] = 'entry ' .. i end return #t",
    "x = x + 1 while true do end",
    "t = nil collectgarbage() x = x + 1 return x .. math.random(9) .. os.date('%A')",
)
SQL = (
    "db = require('lsqlite3').open_memory() db:exec('create table t (n integer primary key, text)')",
    "error('no')",
    "db:exec('begin') for n = 1, 3000 do db:exec('insert into t values (' .. n .. ', \"abc\")') end "
    "return db:exec('commit')",
    "db:exec('delete from t where n % 3 = 0') while true do end",
    "for row in db:nrows('select count(*) c, sum(n) s from t') do return row.c .. ' ' .. row.s end",
)
PROGRAMS = {
    "lua": LUA,
    "aos": LUA,
    "sqlite": SQL,
    "counter": ("a", "!", "x" * 20_000, "~", "b"),
}
MARKS = {name: [pytest.mark.node, pytest.mark.long] for name in ("aos", "sqlite")}
FAILS = [False, True, False, True, False]


def module_of(name: str) -> DataItem:
    if name == "counter":
        return GUEST
    if name == "lua":
        return module_item(LUA_WASM.read_bytes())
    file = {"aos": "aos2_0_6.wasm", "sqlite": "sqlite.wasm"}[name]
    return module_item((AOS_FOLDER / file).read_bytes(), EMSCRIPTEN)


async def on_another_machine(
    folder: Path, compiled: Path, module: DataItem, entries: Sequence[LogEntry], to: int
) -> str:
    """The state hash that a stranger finds who has only Arweave."""
    with ArweaveStore(folder / "arweave.sqlite", trusted=[SCHEDULER.address]) as store:
        store.put(module)
        store.put(bundle(SCHEDULER, [(entry.item, entry.assignment) for entry in entries]))
        app = FastAPI()
        app.include_router(router(store))
        async with (
            ArweaveClient("http://arweave", transport=httpx.ASGITransport(app)) as client,
            replayed(client, entries[0].process_id, to=to, compiled=compiled) as run,
        ):
            return str(run.report()["state_sha256"])


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in PROGRAMS])
async def test_the_state_is_the_same_whichever_way_it_was_reached(
    house: House, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_COSTS", 10**9)  # only when it hibernates
    module = module_of(name)
    house.arweave.items[module.id] = module
    tags = (("Data-Protocol", "ao"), ("Type", "Process"), ("Module", module.id))
    limit = ("Compute-Limit", "1000000000")
    process = house.commit(spawn(("Scheduler", SCHEDULER.address), limit, tags=tags))
    process_id, term = process.process_id, process.work[0].term

    live, sleeper = house.actor(), house.actor("process-actor-1", tmp_path / "sleeper")
    await live.assign(process.work)
    await sleeper.assign(process.work)
    await house.results_of(live, process)
    expected, entries, results = [state_of(live, process_id)], [process.work[0].entry], []
    for text in PROGRAMS[name]:
        sent = house.commit(house.eval(process_id, text))
        await live.assign(sent.work)
        results += await house.results_of(live, sent)
        expected.append(state_of(live, process_id))
        entries.append(sent.work[0].entry)
        await sleeper.memory(process_id)
        await sleeps(sleeper, process_id)
        await sleeper.assign(sent.work)
        await sleeper.memory(process_id)
        assert state_of(sleeper, process_id) == expected[-1]
    stats = await sleeper.stats()
    assert (stats["restored"], stats["replayed"]) == (len(PROGRAMS[name]), 0)
    chained = any(row.parent for row in sleeper._evaluation._checkpoints.of(process_id, 99))
    assert chained == (name != "counter"), "large states are kept as what changed"
    assert ["Error" in result for result in results] == FAILS
    if name == "counter":
        assert counts([results[-1]]) == [4]
    else:
        assert {"lua": "2", "aos": "2", "sqlite": "3000 4501500"}[name] in orjson.dumps(results).decode()
    assert [one == other for one, other in pairwise(expected)] == FAILS

    replayer = house.actor("process-actor-2")
    await replayer.activate([(process_id, term + 1)])
    await replayer.memory(process_id)
    assert (await replayer.stats())["replayed"] == len(entries)
    assert state_of(replayer, process_id) == expected[-1]

    for to in (3, len(entries) - 1):
        folder = tmp_path / f"elsewhere-{to}"
        folder.mkdir()
        assert await on_another_machine(folder, compiled, module, entries, to) == expected[to]
