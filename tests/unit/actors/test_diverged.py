"""Whoever evaluates again compares with what is stored: a process whose results differ is stopped, alone,
with both results kept (G10)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from actor_rig import House, Sent, counts, sleeps
from click.testing import CliRunner, Result
from polling import until

from aoray import limits
from aoray.actors.process_actor import ProcessActor
from aoray.cli.main import main
from aoray.errors import Diverged
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.runtime.unit_keys import locked
from aoray.scheduler.attester import Attester
from aoray.storage.log import Log

FALSE = b'{"Messages":[],"Assignments":[],"Spawns":[],"Output":"another","GasUsed":1}'


async def evaluated(house: House) -> tuple[Sent, Sent]:
    """Two processes with a few results, by an actor that is gone; the second result of the first is false."""
    actor = house.actor()
    spawned = house.spawn(), house.spawn()
    sent = [house.send(each.process_id, "a", "b", "c") for each in spawned]
    await actor.assign([work for each in (*spawned, *sent) for work in each.work])
    for each in sent:
        await house.results_of(actor, each)
    await actor.close()
    house._actors.remove(actor)
    house.gateway.delivered.clear()
    with sqlite3.connect(house.settings.data / "results.sqlite") as db:
        where = "WHERE process_id = ? AND nonce = 2"
        db.execute(f"UPDATE results SET result = ? {where}", (FALSE, spawned[0].process_id))
    return spawned


async def restarted(house: House, spawned: tuple[Sent, Sent]) -> ProcessActor:
    """Another actor, which is given more of both."""
    actor = house.actor()
    more = [house.send(each.process_id, "d") for each in spawned]
    await actor.assign([work for each in more for work in each.work])
    assert counts(await house.results_of(actor, more[1])) == [5]
    return actor


async def test_a_process_whose_results_differ_when_it_is_evaluated_again_is_stopped_alone(
    house: House,
) -> None:
    spawned = await evaluated(house)
    actor = await restarted(house, spawned)
    process_id = spawned[0].process_id
    await until(lambda: process_id in actor._planner.halted)
    found = house.results.diverged()
    assert list(found) == [process_id]
    assert (found[process_id].nonce, found[process_id].stored) == (2, FALSE)
    assert b'"count":"0003"' in found[process_id].evaluated
    assert house.results.last_nonce(process_id) == 3, "nothing is evaluated after it"
    for asked in (actor.dry_run(process_id, {}), actor.memory(process_id)):
        with pytest.raises(Diverged, match=f"process {process_id} is stopped: slot 2"):
            await asked
    stats = await actor.stats()
    assert (stats["diverged"], stats["waiting"]) == (1, 0)


async def test_it_stays_stopped_over_a_restart_whatever_is_sent(house: House) -> None:
    spawned = await evaluated(house)
    first = await restarted(house, spawned)
    process_id = spawned[0].process_id
    await until(lambda: process_id in first._planner.halted)
    later = house.actor()
    await later.activate([(process_id, 1)])
    await until(lambda: process_id in later._planner.halted)
    await later.assign(house.send(process_id, "e").work)
    assert house.results.last_nonce(process_id) == 3


async def test_from_a_checkpoint_too_and_by_pages_of_a_long_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A false result behind the newest checkpoint is found, one before it costs nothing."""
    actor, process = house.actor(), house.spawn()
    sent = house.send(process.process_id, "a", "b")
    await actor.assign(process.work + sent.work)
    await house.results_of(actor, sent)
    await sleeps(actor, process.process_id)
    monkeypatch.setattr(limits, "CHECKPOINT_COSTS", 10**9)
    more = house.send(process.process_id, *"cdefghijklmn")
    await actor.assign(more.work)
    await house.results_of(actor, more)
    with sqlite3.connect(house.settings.data / "results.sqlite") as db:
        where = "WHERE process_id = ? AND nonce = 13"
        db.execute(f"UPDATE results SET result = ? {where}", (FALSE, process.process_id))
    later = house.actor()
    await later.assign(house.send(process.process_id, "o").work)
    await until(lambda: process.process_id in later._planner.halted)
    assert house.results.diverged()[process.process_id].nonce == 13
    assert (await later.stats())["restored"] == 1


async def test_its_attestations_stop(house: House) -> None:
    spawned = await evaluated(house)
    actor = await restarted(house, spawned)
    await until(lambda: spawned[0].process_id in actor._planner.halted)

    async def on_log(function: Callable[[Log], Any]) -> Any:
        return function(house._committer.log)

    attester = Attester(on_log, house.results, generate_ed25519())
    await attester.attest_all()
    cursors = house._committer.log.attested.cursors([each.process_id for each in spawned])
    assert [cursors[each.process_id].nonce for each in spawned] == [-1, 4]


def recheck(house: House, process_id: str) -> Result:
    words = ["process", "recheck", process_id, "--data", str(house.settings.data), "--json"]
    return CliRunner().invoke(main, words)


async def test_the_operator_has_it_evaluated_again_when_the_reason_is_gone(house: House) -> None:
    spawned = await evaluated(house)
    process_id = spawned[0].process_id
    assert recheck(house, process_id).exit_code == 1, "it is not stopped yet"
    first = await restarted(house, spawned)
    await until(lambda: process_id in first._planner.halted)
    with locked(house.settings.data):
        refused = recheck(house, process_id)
    assert refused.exit_code == 1
    assert "in use" in refused.output
    found = house.results.diverged()[process_id]
    again = recheck(house, process_id)
    assert again.exit_code == 0, again.output
    assert orjson.loads(again.output)["nonce"] == found.nonce == 2
    still = house.actor()
    await still.activate([(process_id, 1)])
    await until(lambda: process_id in still._planner.halted)  # since it still differs
    with sqlite3.connect(house.settings.data / "results.sqlite") as db:
        where = "WHERE process_id = ? AND nonce = 2"
        db.execute(f"UPDATE results SET result = ? {where}", (found.evaluated, process_id))
    assert recheck(house, process_id).exit_code == 0
    later = house.actor()
    sent = house.send(process_id, "e")
    await later.assign(sent.work)
    assert counts(await house.results_of(later, sent)) == [6]
