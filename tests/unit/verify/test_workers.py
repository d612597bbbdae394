"""Pages of a log are checked here, or by other OS processes, which end with whoever started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from auditor import PAIRS, Auditor
from ordering import SCHEDULER

from aoray import limits
from aoray.errors import LogFault
from aoray.protocol.ans104.items import build, parse
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import wait_gone
from aoray.verify import rules, workers
from aoray.verify.rules import ProcessFacts
from aoray.verify.workers import SlotPage, VerifyPool


def facts_of(auditor: Auditor) -> ProcessFacts:
    return rules.facts_of(parse(auditor.pairs[0][0]))


def page(auditor: Auditor, start: int = 0, end: int = PAIRS) -> SlotPage:
    before = auditor.pairs[start - 1][1] if start else b""
    pairs = [(assignment, message) for message, assignment in auditor.pairs[start:end]]
    return SlotPage(start, auditor.pairs[0][1], before, pairs)


def test_pages_are_judged_apart_as_the_whole_log_is(auditor: Auditor) -> None:
    facts = facts_of(auditor)
    whole = workers.check_page(facts, page(auditor))
    for cut in range(1, PAIRS):
        parts = workers.check_page(facts, page(auditor, 0, cut)) + workers.check_page(
            facts, page(auditor, cut)
        )
        assert parts == whole
    assert [(each.head.nonce, each.entry.message_id) for each in whole] == list(enumerate(auditor.ids))
    assert [each.is_assigned for each in whole] == [False] * (PAIRS - 1) + [True]
    assert {(each.entry.item, each.entry.assignment) for each in whole} == {(b"", b"")}


@pytest.mark.parametrize("nonce", [0, 3])
@pytest.mark.parametrize("which", ["message", "assignment"])
def test_an_item_that_cannot_be_read_is_a_fault_of_its_slot(auditor: Auditor, nonce: int, which: str) -> None:
    message, assignment = auditor.pairs[nonce]
    auditor.pairs[nonce] = (b"junk", assignment) if which == "message" else (message, b"junk")
    facts = rules.facts_of(parse(message)) if nonce == 0 else facts_of(auditor)
    asked = page(auditor)._replace(spawned=assignment) if nonce == 0 else page(auditor)
    with pytest.raises(LogFault, match=f"^nonce {nonce}: an item of it cannot be read: ") as caught:
        workers.check_page(facts, asked)
    found = {"process_id": facts.process_id, "nonce": nonce, "item": ""}
    assert caught.value.details == found


def test_a_first_slot_whose_time_is_not_a_number_is_a_fault(auditor: Auditor) -> None:
    tags = parse(auditor.pairs[0][1]).tags
    changed = [Tag(name, "x") if name == "Timestamp" else Tag(name, value) for name, value in tags]
    auditor.pairs[0] = auditor.pairs[0][0], build(SCHEDULER, tags=changed).raw
    with pytest.raises(LogFault, match=r"^nonce 0: .* Timestamp is not a number"):
        workers.check_page(facts_of(auditor), page(auditor))


@pytest.mark.parametrize(
    ("cores", "judges"), [(1, 1), (limits.VERIFY_WORKERS_MAX, limits.VERIFY_WORKERS_MAX), (99, 4)]
)
def test_a_long_log_is_judged_by_as_many_as_there_are_cores_within_a_bound(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch, cores: int, judges: int
) -> None:
    started = []

    class Pool:
        def __init__(self, width: int, *_: Any) -> None:
            started.append(width)

        def submit(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    alone = VerifyPool(facts_of(auditor), limits.VERIFY_APART_SLOTS_MIN - 1)
    alone.close()
    assert (alone.width, started) == (1, [])
    apart = VerifyPool(facts_of(auditor), limits.VERIFY_APART_SLOTS_MIN)
    assert (apart.width, started) == (1 + judges, [judges])  # one page more is on its way


async def test_a_short_log_is_judged_here_as_by_os_processes(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []
    for apart_from in (PAIRS + 1, PAIRS):
        monkeypatch.setattr(limits, "VERIFY_APART_SLOTS_MIN", apart_from)
        judges = VerifyPool(facts_of(auditor), PAIRS)
        try:
            judged.append(await judges.check_page(page(auditor)))
        finally:
            judges.close()
    assert judged[0] == judged[1] and len(judged[0]) == len(page(auditor).pairs)


async def test_ctrl_c_is_not_for_those_who_judge(auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERIFY_APART_SLOTS_MIN", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # one of them, which has begun
    judges = VerifyPool(facts_of(auditor), PAIRS)
    try:
        judged = await judges.check_page(page(auditor))
        for child in multiprocessing.active_children():
            assert child.pid
            os.kill(child.pid, signal.SIGINT)
        assert await judges.check_page(page(auditor)) == judged
    finally:
        judges.close()


STARTER = """
import os
import sys
from aoray.verify.workers import VerifyPool
from aoray.protocol.ans104.items import parse
from aoray.verify.rules import facts_of
judges = VerifyPool(facts_of(parse(bytes.fromhex(sys.stdin.readline()))), 10**6)
print(judges._executor.submit(os.getpid).result(), flush=True)
sys.stdin.read()
"""


def test_those_who_judge_end_with_the_one_who_started_them(auditor: Auditor) -> None:
    command, pipe = [sys.executable, "-c", STARTER], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as starter:
        assert starter.stdin and starter.stdout
        print(auditor.pairs[0][0].hex(), file=starter.stdin, flush=True)
        judge = int(starter.stdout.readline())
        try:
            starter.kill()
            assert not wait_gone([judge], 30), "it goes on alone"
        finally:
            for pid in wait_gone([judge], 0):
                os.kill(pid, signal.SIGKILL)
