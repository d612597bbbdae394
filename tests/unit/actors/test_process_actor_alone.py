"""The process actor without Ray, over a real log, store and engine: order, replay, fences, faults."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from actor_rig import GUEST, House, counts, nonces
from forged_keys import Nobody
from ordering import MESSAGE_TAGS, SOME_ID, message
from polling import until

from aoray.contracts.shard import Submission
from aoray.errors import Unavailable
from aoray.protocol.ans104.items import build
from aoray.protocol.tags import Tag
from aoray.storage.files import LocalFiles


async def test_messages_are_evaluated_and_their_results_delivered(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    sent = house.send(process.process_id, "a", "b", "c")
    await actor.assign(process.work + sent.work)
    boot = await house.result(actor, process.process_id, process.process_id)
    results = await house.results_of(actor, sent)
    assert counts([boot, *results]) == [1, 2, 3, 4]
    assert nonces([boot, *results]) == [0, 1, 2, 3]
    assert [result["Output"]["message"]["Data"] for result in results] == ["a", "b", "c"]
    assert list(boot) == ["Messages", "Assignments", "Spawns", "Output", "GasUsed"]
    assert list(await house.result(actor, process.process_id, sent.assignment_id)) == list(boot)


async def test_the_order_is_that_of_the_nonces_whatever_arrives_when(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    sent = house.send(process.process_id, *"abcdefgh")
    await actor.assign(sent.work[::-1])
    await actor.assign(sent.work[2:4] + process.work + sent.work[:1])
    await actor.assign(sent.work)
    results = await house.results_of(actor, sent)
    assert nonces(results) == list(range(1, 9))
    assert counts(results) == list(range(2, 10))
    assert (await actor.stats())["evaluated"] == 9


async def test_what_was_never_told_is_read_from_the_log(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    house.send(process.process_id, *"abc")
    await actor.activate([(process.process_id, process.work[0].term)])
    await until(lambda: house.results.last_nonce(process.process_id) == 3)
    lost = house.send(process.process_id, *"def")
    last = house.send(process.process_id, "g")
    await actor.assign(last.work)
    assert nonces(await house.results_of(actor, last)) == [7]
    assert nonces(await house.results_of(actor, lost)) == [4, 5, 6]


async def test_a_second_watch_looks_for_what_was_lost(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    await actor.assign(process.work)
    await house.result(actor, process.process_id, process.process_id)
    lost = house.send(process.process_id, "lost")
    await actor.watch([(process.process_id, lost.message_id)], "gateway-0")
    assert nonces([await house.result(actor, process.process_id, lost.message_id)]) == [1]


async def test_who_waits_for_the_next_slot_is_told_and_wakes_nobody(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    await actor.assign(process.work)
    await house.result(actor, process.process_id, process.process_id)
    for _ in range(2):  # asked again after a while, as a gateway does
        await actor.watch([(process.process_id, "1")], "gateway-0")
    assert not actor._planner.processes[process.process_id].log_may_have_more
    sent = house.send(process.process_id, "next")
    await actor.assign(sent.work)
    assert nonces([await house.gateway.heard(process.process_id, "1")]) == [1]


async def test_messages_do_not_wait_until_an_actor_has_looked_for_what_crashes_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aoray.limits.SWEEP_AFTER_SECONDS", 0)
    lists, goes_on = threading.Event(), threading.Event()

    class SlowFiles(LocalFiles):
        def names(self) -> list[str]:
            lists.set()
            goes_on.wait(20)
            return super().names()

    monkeypatch.setattr("aoray.storage.files.LocalFiles", SlowFiles)
    left = house.settings.data / "checkpoints" / "left-by-a-crash"
    left.parent.mkdir()
    left.touch()
    actor = house.actor()
    await until(lists.is_set)
    process = house.spawn()
    await actor.assign(process.work)
    assert counts([await house.result(actor, process.process_id, process.process_id)]) == [1]
    assert left.exists()
    goes_on.set()
    await until(lambda: not left.exists())


async def test_a_long_log_is_replayed_in_pages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoray.limits.REPLAY_PAGE_ENTRIES", 4)
    actor = house.actor()
    process = house.spawn()
    sent = house.send(process.process_id, *(str(number) for number in range(30)))
    await actor.activate([(process.process_id, 1)])
    assert nonces(await house.results_of(actor, sent)) == list(range(1, 31))


async def test_a_log_that_holds_an_item_of_a_refused_form_is_replayed_to_the_same_state(house: House) -> None:
    """Ordered before the form was refused, it is in the state: the log's bytes are run as ordered."""
    process = house.spawn()
    tags = [Tag(*tag) for tag in MESSAGE_TAGS]
    weak = build(Nobody(), target=process.process_id, tags=tags, data=b"weak")
    sent = house.commit(
        message(process.process_id, data=b"a"),
        Submission("message", process.process_id, weak.id, weak.raw),
        message(process.process_id, data=b"b"),
    )
    found = []
    for place in (None, house.settings.data / "elsewhere"):
        actor = house.actor(data=place)
        await actor.activate([(process.process_id, process.work[0].term)])
        found.append(await house.results_of(actor, sent))
    assert found[0] == found[1] and counts(found[0]) == [2, 3, 4]
    assert found[0][1]["Output"]["message"]["Data"] == "weak"


async def test_a_replay_gives_the_same_results_and_writes_and_pushes_nothing_again(house: House) -> None:
    first = house.actor()
    process = house.spawn()
    sent = house.send(process.process_id, "a", "@out", "!trap", "@again", "b")
    await first.assign(process.work + sent.work)
    await house.results_of(first, sent)
    stored = house.stored(process.process_id)
    assert [(await house.gateway.pushed.get())[:2] for _ in range(2)] == [
        (process.process_id, 2),
        (process.process_id, 4),
    ]

    second = house.actor()
    await second.activate([(process.process_id, process.work[0].term)])
    more = house.send(process.process_id, "c")
    await second.assign(more.work)
    assert counts(await house.results_of(second, more)) == [6]
    assert house.stored(process.process_id)[:-1] == stored
    assert (await second.stats())["replayed"] == 6
    assert (await second.stats())["evaluated"] == 1
    assert house.gateway.pushed.empty()
    assert await first.memory(process.process_id) == await second.memory(process.process_id)


async def test_a_log_without_results_gives_the_same_results_elsewhere(
    house: House, tmp_path: Path, compiled: Path
) -> None:
    actor = house.actor()
    process = house.spawn()
    sent = house.send(process.process_id, "a", "@out", "!trap", "b")
    await actor.assign(process.work + sent.work)
    await house.results_of(actor, sent)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("log-0.sqlite", "log-0.sqlite-wal"):
        shutil.copy(tmp_path / name, elsewhere)
    fresh = House(elsewhere, compiled)
    third = fresh.actor()
    await third.activate([(process.process_id, 1)])
    await until(lambda: fresh.results.last_nonce(process.process_id) == 4)
    assert fresh.stored(process.process_id) == house.stored(process.process_id)
    await fresh.close()


async def test_a_successor_fences_its_predecessor(house: House) -> None:
    old, new = house.actor("process-actor-0"), house.actor("process-actor-1")
    moved, stays = house.spawn(), house.spawn()
    await old.assign(moved.work + stays.work)
    await house.result(old, moved.process_id, moved.process_id)
    await house.result(old, stays.process_id, stays.process_id)

    await new.activate([(moved.process_id, moved.work[0].term + 1)])
    for_moved, for_stays = house.send(moved.process_id, "a"), house.send(stays.process_id, "b")
    assert counts([await new.dry_run(moved.process_id, {"Data": "x"})]) == [3]
    rows_by_new = house.stored(moved.process_id)
    late = house.send(moved.process_id, "late")
    await old.assign(for_moved.work + late.work + for_stays.work)
    assert counts(await house.results_of(old, for_stays)) == [2]
    await until(lambda: moved.process_id not in old._planner.processes)
    assert house.stored(moved.process_id) == rows_by_new

    await old.assign(late.work)
    await old.activate([(moved.process_id, moved.work[0].term)])
    with pytest.raises(Unavailable):
        await old.dry_run(moved.process_id, {"Data": "x"})
    assert counts([await new.dry_run(moved.process_id, {"Data": "x"})]) == [4]
    assert counts(await house.results_of(new, late)) == [3]


async def test_a_trap_is_the_result_of_its_message_alone(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    sent = house.send(process.process_id, "a", "!", "b")
    await actor.assign(process.work + sent.work)
    good, trapped, after = await house.results_of(actor, sent)
    assert counts([good, after]) == [2, 3]
    assert trapped["Error"]
    assert (trapped["Messages"], trapped["Output"]) == ([], "")
    page, _ = house.results.page(process.process_id)
    assert [row.nonce for row in page] == [0, 1, 3]


async def test_processes_take_turns(house: House) -> None:
    actor = house.actor()
    processes = [house.spawn() for _ in range(3)]
    sent = [house.send(process.process_id, *(str(number) for number in range(40))) for process in processes]
    for process, batch in zip(processes, sent, strict=True):
        await actor.assign(process.work + batch.work)
    for batch in sent:
        assert counts(await house.results_of(actor, batch)) == list(range(2, 42))


async def test_an_assigned_message_begins_a_chain_of_its_own(house: House) -> None:
    actor = house.actor()
    process, other = house.spawn(), house.spawn()
    submission = message(other.process_id, ("Pushed-For", "x" * 43), data=b"@news")
    assigned = house.assign(process.process_id, submission, "Data")
    await actor.assign(process.work + assigned.work)
    result = await house.result(actor, process.process_id, assigned.assignment_id)
    seen = result["Output"]["message"]
    assert seen["Target"] == other.process_id
    assert "Data" not in seen
    direct = house.commit(submission)
    await actor.assign(other.work + direct.work)
    await house.result(actor, other.process_id, direct.message_id)
    row = house.results.at(other.process_id, 1)
    assert row is not None
    assert row.pushed_for == direct.message_id  # a wallet's claim to another chain is not passed on
    row = house.results.at(process.process_id, 1)
    assert row is not None
    assert row.pushed_for == assigned.assignment_id


async def test_a_fault_of_the_machine_starts_the_process_again_and_skips_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = house.actor()
    process, other = house.spawn(), house.spawn()
    sent = house.send(process.process_id, "a", "b", "c")
    faults = iter([ValueError("a bug")])
    evaluate = actor._evaluation._run_entry

    def faulty(resident: object, entry: object, *rest: object) -> bool:
        if entry == sent.work[1].entry and (fault := next(faults, None)):
            raise fault
        return evaluate(resident, entry, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(actor._evaluation, "_run_entry", faulty)
    await actor.assign(process.work + sent.work + other.work)
    assert counts(await house.results_of(actor, sent)) == [2, 3, 4]
    assert counts([await house.result(actor, other.process_id, other.process_id)]) == [1]
    assert (await actor.stats())["faults"] == 1


async def test_a_store_that_fails_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = house.actor()
    process = house.spawn()
    faults = iter([Unavailable("the disk is full")])
    commit = actor._evaluation._results.commit

    def faulty(terms: dict[str, int], rows: list[object]) -> None:
        if rows and (fault := next(faults, None)):
            raise fault
        commit(terms, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(actor._evaluation._results, "commit", faulty)
    await actor.assign(process.work)
    assert counts([await house.result(actor, process.process_id, process.process_id)]) == [1]


async def test_a_message_to_itself_is_announced_as_any(house: House) -> None:
    actor = house.actor(f"process-{SOME_ID}")
    process = house.spawn(GUEST.id, ("Tag", "x"))
    sent = house.send(process.process_id, "@self")
    await actor.assign(process.work + sent.work)
    assert (await house.gateway.pushed.get())[:2] == (process.process_id, 1)
    assert house.results.unpushed(10) == [(process.process_id, 1)]
    assert (await actor.ready())["actor"] == f"process-{SOME_ID}"
