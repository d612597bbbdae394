"""One shard's commits, without Ray: G1 and G3 hold whatever batches, restarts and crashes come."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ordering import PROCESS_TAGS, SCHEDULER, SOME_ID, assign, check_process, committer, message, spawn

from aoray.cluster.names import own_actor
from aoray.contracts.shard import Receipt, Submission
from aoray.errors import AorayError, MalformedInput, UnknownProcess
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.scheduler.committer import Committer
from aoray.scheduler.placement import Placement
from aoray.storage.log import SqliteLog
from aoray.storage.log_reader import LogReader


def receipts(outcomes: Sequence[Receipt | AorayError]) -> list[Receipt]:
    found = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    assert len(found) == len(outcomes)
    return found


def commit(writer: Committer, *batch: Submission) -> list[Receipt]:
    return receipts(writer.commit(batch, now_ms=1, block_height=0).outcomes)


def test_processes_spread_over_the_pool_and_stay_where_they_are(tmp_path: Path) -> None:
    writer = committer(tmp_path / "log", pool=3)
    processes = [spawn() for _ in range(6)]
    actors = [receipt.actor for receipt in commit(writer, *processes)]
    assert sorted(actors) == sorted(2 * [f"process-actor-{i}" for i in range(3)])
    writer.close()
    again = committer(tmp_path / "log", pool=3)
    assert [r.actor for r in commit(again, *(message(p.process_id) for p in processes))] == actors
    assert sorted(r.actor for r in commit(again, *(spawn() for _ in range(3)))) == sorted(set(actors))


def test_a_smaller_pool_places_again_and_raises_the_term(tmp_path: Path) -> None:
    writer = committer(tmp_path / "log", pool=2)
    processes = [spawn() for _ in range(2)]
    commit(writer, *processes)
    writer.close()
    smaller = committer(tmp_path / "log", pool=1)
    committed = smaller.commit([message(p.process_id) for p in processes], now_ms=1, block_height=0)
    assert {r.actor for r in receipts(committed.outcomes)} == {"process-actor-0"}
    assert sorted(work.term for work in committed.work["process-actor-0"]) == [1, 2]
    assert sorted(
        state.term for state in smaller.log.processes(p.process_id for p in processes).values()
    ) == [1, 2]


def test_a_process_that_asks_for_it_gets_an_actor_of_its_own(tmp_path: Path) -> None:
    own = spawn(("Actor", "own"))
    committed = committer(tmp_path / "log").commit([own], now_ms=1, block_height=0)
    assert receipts(committed.outcomes)[0].actor == own_actor(own.process_id)
    assert list(committed.work) == [own_actor(own.process_id)]


def test_work_carries_each_new_entry_once(tmp_path: Path) -> None:
    writer, process = committer(tmp_path / "log"), spawn()
    sent = message(process.process_id)
    committed = writer.commit([process, sent, sent], now_ms=1, block_height=0)
    (works,) = committed.work.values()
    assert [(work.term, work.entry.nonce) for work in works] == [(1, 0), (1, 1)]
    names = [(receipt.process_id, receipt.message_id) for receipt in receipts(committed.outcomes)]
    ids = [(each.process_id, each.message_id) for each in (process, sent, sent)]
    assert names == ids
    assert not writer.commit([sent, process], now_ms=1, block_height=0).work


def test_what_has_its_slot_costs_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, process = committer(tmp_path / "log"), spawn()
    commit(writer, process)
    monkeypatch.setattr(writer.log, "append", None)  # a call would fail
    assert [receipt.nonce for receipt in commit(writer, process)] == [0]


def test_the_gateway_whose_submission_was_ordered_is_told_and_knows_it(tmp_path: Path) -> None:
    writer, process = committer(tmp_path / "log"), spawn()
    sent = message(process.process_id)
    batch = [process, sent._replace(gateway="gateway-0"), sent._replace(gateway="gateway-1")]
    committed = writer.commit(batch, now_ms=1, block_height=0)
    assert [receipt.is_new for receipt in receipts(committed.outcomes)] == [True, True, False]
    [[_, work]] = committed.work.values()
    assert work.gateway == "gateway-0"
    assert [receipt.is_new for receipt in commit(writer, *batch)] == [False] * 3


def test_locate_tells_the_actor_and_the_term(tmp_path: Path) -> None:
    writer, process = committer(tmp_path / "log"), spawn()
    (receipt,) = commit(writer, process)
    (name, unknown), by_actor = writer.locate([process.process_id, SOME_ID])
    assert name == receipt.actor and isinstance(unknown, UnknownProcess)
    assert by_actor == {name: {process.process_id: 1}}


def test_lagging_are_those_with_entries_beyond_their_last_result(tmp_path: Path) -> None:
    done: dict[str, int] = {}
    writer = committer(tmp_path / "log", pool=1, last_nonces=done)
    processes = [spawn() for _ in range(5)]
    commit(writer, *processes, *(message(p.process_id) for p in processes))
    for process, nonce in zip(processes, (1, 1, 0, 0, -1), strict=True):
        done[process.process_id] = nonce
    found: dict[str, int] = {}
    after = ""
    while True:
        page, after = writer.processes_behind(after, 2, "process-actor-0")
        found |= page.get("process-actor-0", {})
        if not after:
            break
    assert found == {process.process_id: 1 for process in processes[2:]}


def test_the_results_of_a_page_are_looked_up_at_once(tmp_path: Path) -> None:
    writer = committer(tmp_path / "log", pool=1)
    processes = [spawn() for _ in range(5)]
    commit(writer, *processes)
    asked: list[Sequence[str]] = []
    writer._last_nonces = lambda process_ids: asked.append(process_ids) or {}
    _, after = writer.processes_behind("", 3)
    writer.processes_behind(after, 3)
    assert [len(each) for each in asked] == [3, 2]
    assert {pid for each in asked for pid in each} == {process.process_id for process in processes}


class DiesAt(SqliteLog):
    """A log whose process dies at an append, before or after the commit."""

    dies = ""

    def append(self, *arguments: object) -> None:
        if DiesAt.dies == "before":
            raise KeyboardInterrupt
        super().append(*arguments)  # type: ignore[arg-type]
        if DiesAt.dies == "after":
            raise KeyboardInterrupt


class Shard(RuleBasedStateMachine):
    """Any sequence of batches (with duplicates), restarts and crashes."""

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "log"
        self.sent = [spawn()]
        self.promised: dict[tuple[str, str], Receipt] = {}
        self.now = 1000
        self.restart()

    @rule()
    def restart(self) -> None:
        DiesAt.dies = ""
        if hasattr(self, "writer"):
            self.writer.close()
        self.writer = Committer(lambda: DiesAt(self.path), Placement(2), SCHEDULER, lambda _: {})

    @rule(step=st.integers(-500, 500))
    def clock(self, step: int) -> None:
        self.now += step

    @rule(
        choices=st.lists(
            st.tuples(st.sampled_from(["new", "again", "assign", "spawn"]), st.integers(0)), max_size=12
        ),
        dies=st.sampled_from(["", "", "before", "after"]),
    )
    def batch(self, choices: list[tuple[str, int]], dies: str) -> None:
        submissions = [self.choose(kind, number) for kind, number in choices]
        DiesAt.dies = dies
        try:
            outcomes = self.writer.commit(submissions, now_ms=self.now, block_height=0).outcomes
        except KeyboardInterrupt:
            self.restart()
            return
        for submission, outcome in zip(submissions, outcomes, strict=True):
            if isinstance(outcome, Receipt):
                pair = submission.process_id, submission.message_id
                # What died after its commit was promised to nobody, and is not new when it comes again.
                assert not (outcome.is_new and pair in self.promised)
                promised = outcome._replace(is_new=False)
                assert self.promised.setdefault(pair, promised) == promised
            else:
                assert isinstance(outcome, UnknownProcess)

    def choose(self, kind: str, number: int) -> Submission:
        some = self.sent[number % len(self.sent)]
        if kind == "again":
            return some
        if kind == "assign":
            return assign(self.sent[number // 7 % len(self.sent)].process_id, some)
        made = spawn() if kind == "spawn" else message(some.process_id)
        self.sent.append(made)
        return made

    @invariant()
    def the_log_keeps_what_was_promised(self) -> None:
        reader = LogReader(self.path)
        for process_id in reader.process_ids():
            check_process(reader.entries(process_id))
        for (process_id, message_id), receipt in self.promised.items():
            entry = reader.entry(process_id, message_id)
            assert entry is not None
            assert (entry.nonce, entry.assignment_id, entry.timestamp) == receipt[3:4] + receipt[
                2:3
            ] + receipt[4:5]
        reader.close()

    def teardown(self) -> None:
        self.writer.close()
        self.directory.cleanup()


TestShard = Shard.TestCase
TestShard.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_spawn_may_name_an_address_that_this_scheduler_had(tmp_path: Path) -> None:
    """What an older process spawns names its own scheduler; `aoray verify` follows the hand-over."""
    old = generate_ed25519().address
    tags = [(name, old if name == "Scheduler" else value) for name, value in PROCESS_TAGS]
    for earlier, refused in (((), True), ((old,), False)):
        writer = Committer(
            lambda: SqliteLog(tmp_path / "log"), Placement(2), SCHEDULER, lambda _: {}, earlier
        )
        [outcome] = writer.commit([spawn(tags=tags)], now_ms=1_700_000_000_000, block_height=7).outcomes
        assert isinstance(outcome, MalformedInput) == refused
        assert not refused or SCHEDULER.address in outcome.hint  # type: ignore[union-attr]
        writer.close()
